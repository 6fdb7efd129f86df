"""What one request costs the store, as the server itself sees it: with everything turned on that a
configuration can turn on, an upload costs two round trips."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.ledger import blocks
from gateway.ledger.store import Store
from gateway.records.api_keys import ApiKeys, KeyPolicy
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import INGEST, block_opened
from tests.journeys.job_rig import JOBS, JobWishes
from tests.journeys.rig import Rig, Way, Wishes, running
from tests.journeys.s3_rig import ROUTE as S3
from tests.journeys.test_resumable import ROUTES as RESUMABLE
from tests.journeys.tus_client import ROUTES as TUS
from tests.stores import REAL, Flavour, RedisServers, open_flavour

PLAN = """
key_limits = { storage_bytes = 900_000 }
subject_limits = { creator = { storage_bytes = 800_000 } }
caps = { file_bytes = 700_000 }
rate = "10000/1m"
on_store_failure = { open = "1MiB" }
"""
UPLOAD = """
subject = { kind = "creator", id = "{name}" }
probe = { path = "/files/{name}" }
probe_headers = { X-Ours = "1" }
on_expiry = "commit"
commit_on = [409]
size_from = "size"
"""
EVERYTHING = (
    JOBS.format(upstream="http://127.0.0.1:1", **vars(JobWishes()))
    + TUS
    + RESUMABLE
    + S3.format(reserve='reserve = { storage_bytes = "body" }', more="")
)
OWNED = """
[[routes]]
name = "shared"
methods = ["GET"]
path = "/shared/{name...}"
upstream = "files"
policy = "download"
auth = []
account = "asset"
asset = "files/{name}"
"""


class Watching:
    """The commands that clients sent to the server meanwhile, in their order."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    @asynccontextmanager
    async def over(self, client: Redis) -> AsyncIterator[None]:
        began, ended = "watching begins", "watching ends"
        async with client.monitor() as monitor:
            await client.echo(began)
            yield
            await client.echo(ended)
            async with asyncio.timeout(5):
                async for seen in monitor.listen():
                    if ended in seen["command"]:
                        break
                    if seen["client_type"] != "lua":
                        self.commands.append(seen["command"].split()[0].upper())
        del self.commands[: 1 + self.commands.index("ECHO")]


async def still(rig: Rig) -> None:
    """What a gateway does beside its requests is none of theirs."""
    gateway = rig.gateway
    for duty in (gateway._reaper, gateway._doubts, gateway.jobs, gateway.uploads, gateway._watch):
        await duty.stop()
    await gateway._heartbeat.stop()
    # Nor is what it says of an account once every few seconds.
    gateway._heartbeat._note = gateway.ledger.on_reserving = lambda account: None


@pytest.fixture(params=REAL, ids=str)
async def real(request: pytest.FixtureRequest, redis_servers: RedisServers) -> AsyncIterator[Store]:
    flavour: Flavour = request.param
    opened = await open_flavour(flavour, redis_servers)
    yield opened
    await opened.close()


async def put(rig: Rig, key: str, name: str, **headers: str) -> int:
    async with rig.session.put(
        f"{rig.url}/files/{name}", data=b"x" * 100, headers={"X-API-Key": key, **headers}
    ) as answer:
        await answer.read()
        return answer.status


async def commands_of(rig: Rig, **headers: str) -> list[str]:
    """Of one upload by a key whose owner is known already."""
    _, key = await ApiKeys(rig.store.client).create(
        rig.account.id, KeyPolicy(limits={"storage_bytes": 500_000})
    )
    assert await put(rig, key, "warm") == 201
    await still(rig)
    # That the key is new has been told to every gateway, and may have come after the first use.
    assert await put(rig, key, "warm") == 201
    watching = Watching()
    assert isinstance(rig.store.client, Redis)
    async with watching.over(rig.store.client):
        assert await put(rig, key, "a", **headers) == 201
    return watching.commands


async def test_an_upload_costs_two_round_trips_whatever_is_turned_on(
    real: Store, tmp_path: Path
) -> None:
    wishes = Wishes(plan=PLAN, upload=UPLOAD, extra=EVERYTHING)
    async with running(real, tmp_path, wishes=wishes) as rig:
        assert await commands_of(rig) == ["EVALSHA", "EVALSHA"]
        assert (await rig.standing())[0] == 200


async def test_what_a_named_upload_costs_besides(real: Store, tmp_path: Path) -> None:
    """Its claim before, and its answer before it is charged."""
    wishes = Wishes(plan=PLAN, upload=UPLOAD, extra=EVERYTHING)
    async with running(real, tmp_path, wishes=wishes) as rig:
        commands = await commands_of(rig, **{"Idempotency-Key": "one"})
        assert [each.removesuffix("SHA") for each in commands] == ["EVAL"] * 4


async def test_what_it_costs_to_know_whose_a_stored_thing_is(real: Store, tmp_path: Path) -> None:
    """Where a route charges the owners of assets, who they are is one more round trip."""
    wishes = Wishes(plan=PLAN, upload=UPLOAD, extra=EVERYTHING + OWNED)
    async with running(real, tmp_path, wishes=wishes) as rig:
        commands = await commands_of(rig)
        assert commands[:2] == ["EVALSHA", "EVALSHA"]
        assert len(commands) == 3


@pytest.mark.parametrize("way", Way, ids=str)
async def test_an_upload_out_of_a_block_asks_the_store_nothing(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setattr(rigs, "way", way)
    monkeypatch.setattr(blocks, "SERVES_S", 60.0)
    wishes = Wishes(plan="block = { storage_bytes = 5_000, uploads = 100 }", extra=INGEST)
    async with running(real, tmp_path, wishes=wishes, audited=False) as rig:
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        assert await put(rig, rig.key, "warm") == 201
        await still(rig)
        watching = Watching()
        assert isinstance(rig.store.client, Redis)
        async with watching.over(rig.store.client):
            for size in (0, 100, 900):
                async with rig.session.post(
                    f"{rig.url}/ingest/a", data=b"x" * size, headers=rig.headers
                ) as answer:
                    assert answer.status == 201
        assert watching.commands == []
        await rig.gateway.ledger.stop()
        assert await rig.standing() == (1_100, 0)
