"""Requests that are stopped while they are being settled: what was done is charged all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DRAINING
from gateway.ledger.ledger import Ledger
from gateway.ledger.store import Store
from gateway.proxy.upstream import UpstreamConnection
from gateway.records.assets import Owners
from gateway.tasks import TaskSet
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Body, Close, Head, Repeat, Request, Wait

ON_EVERY_LOOP = True

SHARED = """
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

PURGE = """
[[routes]]
name = "purge"
methods = ["DELETE"]
path = "/purge/{name...}"
upstream = "files"
policy = "delete"
asset = "files/{name}"
reserve = { uploads = 1 }
"""


class Held:
    """A method that waits, each time it is called, until the test lets it go on."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        method: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def held(*args: Any, **named: Any) -> Any:
            self.began.set()
            await self.go_on.wait()
            return await method(*args, **named)

        patch.setattr(owner, name, held)


async def stopped(rig: Rig, request: asyncio.Task[Any], held: Held) -> Any:
    """The request's outcome, when the gateway stops it just then."""
    await held.began.wait()
    rig.gateway._watchdog.stop_all(DRAINING)
    done, _ = await asyncio.wait([request], timeout=0.05)
    held.go_on.set()
    return await request if not done else done.pop().result()


async def until_settled(rig: Rig) -> None:
    async with asyncio.timeout(5):
        while rig.gateway.metrics.pending_settlements.now():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_upload_that_is_stopped_while_its_owner_is_recorded(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, Owners, "record")
    async with running(fake, tmp_path, wishes=Wishes(extra=SHARED)) as rig:
        put = TaskSet().start(rig.put("a", b"x" * 100), name="put")
        assert (await stopped(rig, put, held))[0] == 503
        await until_settled(rig)
        assert await rig.standing() == (100, 0)
        assert await Owners(fake.client).find("files/a") == "acme"


async def test_an_early_yes_charges_what_had_been_passed_on(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 37: not what was waiting for room at that moment."""
    answer = asyncio.Event()
    early = [Head(), Body(1_000), Wait(answer), Answer(201, [(b"Connection", b"close")]), Close()]
    wishes = Wishes(upload='grow_step = "64KiB"')
    async with running(fake, tmp_path, early, wishes=wishes) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n".encode()
            + b"3e8\r\n%b\r\n" % (b"x" * 1_000)
        )
        await rig.upstream.until(lambda: rig.upstream.bytes_in > 1_000)
        held = Held(monkeypatch, Ledger, "grow")
        writer.write(b"186a0\r\n%b\r\n" % (b"x" * 100_000))
        await held.began.wait()
        answer.set()
        assert b" 201 " in await reader.readline()
        writer.close()
        held.go_on.set()
        await rig.settled()
        assert await rig.standing() == (1_000, 0)


async def test_a_client_that_leaves_while_the_last_bytes_are_being_taken_is_charged(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 30: the upstream may have them all, and store what it has."""
    monkeypatch.setattr(UpstreamConnection, "congested", True)
    held = Held(monkeypatch, UpstreamConnection, "drain")
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), Answer(201)]) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 100\r\n\r\n".encode()
            + b"x" * 100
        )
        await rig.upstream.until(lambda: rig.upstream.bytes_in > 100)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while rig.gateway._server and rig.gateway._server.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        held.go_on.set()
        await asyncio.sleep(0.01)
        go_on.set()
        await rig.settled()
        assert await rig.standing() == (100, 0)


async def test_a_delete_that_is_stopped_while_it_is_charged_gives_back(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always, wishes = [Repeat([Request(), Answer(200)])], Wishes(extra=PURGE)
    async with running(fake, tmp_path, always, wishes=wishes) as rig:
        await rig.put("a", b"x" * 100)
        held = Held(monkeypatch, Ledger, "commit")

        async def purge() -> int:
            async with rig.session.delete(f"{rig.url}/purge/a", headers=rig.headers) as answer:
                return answer.status

        assert await stopped(rig, TaskSet().start(purge(), name="purge"), held) == 503
        await until_settled(rig)
        assert await rig.standing() == (0, 0)
        assert await rig.standing("uploads") == (2, 0)
