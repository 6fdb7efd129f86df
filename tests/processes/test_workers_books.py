"""What workers hold in common: the journals, the Redis of their own, keys, certificates."""

import asyncio
import os
import signal
import ssl
from functools import partial
from pathlib import Path

from gateway.embedded.home import Home
from gateway.records.api_keys import ApiKeys
from tests.certificates import Authority
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed
from tests.processes.test_reload import RELOADED, shown, told
from tests.processes.test_workers import KILLED, LINES, lives
from tests.upstreams import Answer, Request, ScriptedUpstream, Wait

SIZE = 1_000
AWAY = ("the store", "settlement", KILLED, "it is started again")
"""What may be said while the store is away and workers die."""


async def journalled(
    house: House, acme: Customer, upstream: ScriptedUpstream, go_on: asyncio.Event
) -> None:
    """Uploads that are stored and answered while the store is away, at every worker."""
    (gateway,) = house.gateways
    uploads = [await house.upload(gateway, acme, f"u{n}", SIZE).begin(SIZE) for n in range(LINES)]
    await upstream.until(lambda: sum(r.ended for r in upstream.requests) == LINES)
    house.redis.kill()
    go_on.set()
    replies = [await upload.reply() for upload in uploads]
    assert [reply and reply.status for reply in replies] == [201] * LINES
    files = await asyncio.to_thread(journals, gateway)
    assert len(files) == 3
    assert all(files.values())


def journals(gateway: GatewayProcess) -> dict[str, int]:
    """The journals by their size."""
    directory = gateway.config_path.parent / "state" / "journal"
    return {path.name: path.stat().st_size for path in directory.glob("*.journal")}


async def test_the_journals_of_dead_workers_are_replayed_once(tmp_path: Path) -> None:
    """failure row 6; failure row 14: by those that take their places."""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=3, store_timeout="250ms")) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen += AWAY
        acme = await house.customer("acme")
        await journalled(house, acme, upstream, go_on)
        before = gateway.workers()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: gateway.said(KILLED) == 3, "their deaths are noticed")
        house.redis.start()
        await until(
            lambda: not set(before.values()) & set(gateway.workers().values()),
            "all have been replaced",
            within_s=40,
        )
        await house.settled(acme)
        await until(partial(_used, house, acme, LINES * SIZE), "all is charged")
        assert await gateway.metric("pending_settlements") == 0


async def test_the_journals_of_workers_there_are_no_more_of_are_replayed(tmp_path: Path) -> None:
    """failure row 6"""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=3, store_timeout="250ms")) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen += AWAY
        acme = await house.customer("acme")
        await journalled(house, acme, upstream, go_on)
        workers = gateway.workers().values()
        gateway.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(map(lives, workers)), "all are dead")
        house.redis.start()
        gateway.wishes = gateway.wishes.but(workers=1)
        await gateway.start()
        await until(partial(_used, house, acme, LINES * SIZE), "all is charged")
        assert len(await asyncio.to_thread(journals, gateway)) == 1


async def _used(house: House, customer: Customer, amount: int) -> bool:
    return await house.standing(customer) == (amount, 0)


async def test_a_revoked_key_is_refused_by_every_worker_at_once(tmp_path: Path) -> None:
    """failure row 49"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=3)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        lines = [house.kept(gateway, acme) for _ in range(LINES)]
        assert {(await line.ask("GET", "/v1/quota")).status for line in lines} == {200}
        keys = ApiKeys(house.store.client)
        (key,) = await keys.list(acme.id)
        await keys.revoke(acme.id, key.id)

        async def refused() -> bool:
            return {(await line.ask("GET", "/v1/quota")).status for line in lines} == {401}

        await until(refused, "all refuse it", within_s=2)


async def test_a_new_certificate_is_shown_by_every_worker(tmp_path: Path) -> None:
    """failure row 10: also by one that is started later."""
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    files = f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"'
    trust = ssl.create_default_context(cafile=authority.ca_file)
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2, server=files)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append(KILLED)

        async def certificates() -> set[bytes]:
            found = set()
            for _ in range(LINES):
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trust)
                found.add(shown(writer))
                writer.close()
                await writer.wait_closed()
            return found

        before = await certificates()
        authority.issue("localhost", "127.0.0.1")  # into the same files
        await told(gateway, RELOADED)
        after = await certificates()
        assert len(after) == 1
        assert not before & after
        pid = gateway.workers()[1]
        os.kill(pid, signal.SIGKILL)
        await until(lambda: gateway.workers()[1] != pid, "it is started again")
        assert await certificates() == after


async def test_their_own_redis_outlives_them_and_is_stopped_last(tmp_path: Path) -> None:
    gateway = GatewayProcess("own", tmp_path, Wishes("http://127.0.0.1:9", redis="auto", workers=2))
    try:
        await gateway.start()
        home = Home(tmp_path / "own" / "state" / "redis")
        redis = int(await asyncio.to_thread(home.pid.read_text))
        for number, pid in gateway.workers().items():
            os.kill(pid, signal.SIGKILL)
            await until(partial(_replaced, gateway, number, pid), "it is started again")
        assert await gateway.metric("store_up") == 1
        assert lives(redis)
        assert int(await asyncio.to_thread(home.pid.read_text)) == redis
        assert await gateway.stop() == 0
        await until(lambda: not lives(redis), "it has been stopped")
    finally:
        gateway.dispose()


def _replaced(gateway: GatewayProcess, number: int, pid: int) -> bool:
    return gateway.workers()[number] != pid
