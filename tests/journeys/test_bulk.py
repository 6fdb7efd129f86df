"""Large bodies through the whole gateway, moved by the kernel and with that turned off: the same
bytes, the same answers, the same books."""

import asyncio
import itertools
import json
import os
import random
import re
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DRAINING
from gateway.ledger.store import Store
from gateway.proxy.exchange import Exchange
from gateway.proxy.hold import Hold
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.tus_client import ROUTES as TUS_ROUTES
from tests.journeys.tus_client import TusClient
from tests.tus_upstream import TusServer
from tests.upstreams import Answer, Body, Close, Hang, Head, Repeat, Request, Reset, Send, Wait

ON_EVERY_LOOP = True
SIZE = 900_000
DATA = random.Random(2).randbytes(SIZE)
NOW = struct.pack("ii", 1, 0)
HEADS = {"PUT": f"PUT /files/a HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n",
         "GET": "GET /files/a HTTP/1.1\r\nHost: t\r\n"}  # fmt: skip


TIMED = """
[meters.seconds]
kind = "cumulative"
unit = "seconds"

[[routes]]
name = "timed"
methods = ["GET"]
path = "/timed/{name...}"
upstream = "files"
policy = "download"
strip_prefix = "/timed"
reserve = { seconds = "delivery_seconds" }
"""


class Spliced:
    """How often the kernel was asked to move bytes, and moved some."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        splice = os.splice

        def counted(*args: Any, **named: Any) -> int:
            moved = splice(*args, **named)
            self.bytes += moved
            return moved

        patch.setattr(os, "splice", counted)


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> Spliced:
    return Spliced(monkeypatch)


@pytest.fixture(params=["true", "false"], ids=["splice", "no-splice"])
def splice(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def wishes(splice: str, server: str = "", **more: str) -> Wishes:
    return Wishes(server=f"splice = {splice}\n{server}", **more)


@pytest.fixture
async def rig(fake: Store, tmp_path: Path, splice: str) -> AsyncIterator[Rig]:
    async with running(fake, tmp_path, wishes=wishes(splice)) as running_rig:
        yield running_rig


Raw = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def began(rig: Rig, method: str = "PUT", *more: str) -> Raw:
    """A request whose head, and nothing of its body, is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1 << 21)
    writer.write(head(rig, method, *more))
    return reader, writer


def head(rig: Rig, method: str, *more: str) -> bytes:
    lines = [f"X-API-Key: {rig.key}", *more, "", ""]
    return (HEADS[method] + "\r\n".join(lines)).encode()


def unmetered(rig: Rig, method: str) -> bytes:
    return head(rig, method).replace(b"/files/", b"/pass/")


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(status, body)"""
    async with asyncio.timeout(10):
        said = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"\r\nContent-Length: (\d+)\r\n", said)
    body = await reader.readexactly(int(found[1])) if found else b""
    return int(said.split()[1]), body


async def logged(rig: Rig) -> dict[str, Any]:
    """The log line of the last request that has ended."""
    async with asyncio.timeout(5):
        while b'"kind":"access"' not in rig.log_bytes().replace(b" ", b""):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    lines: list[dict[str, Any]] = [json.loads(line) for line in rig.log_bytes().splitlines()]
    return [line for line in lines if line.get("kind") == "access"][-1]


# -- all is well ----------------------------------------------------------------------------------


async def test_up_and_down_unchanged(rig: Rig, splice: str, spliced: Spliced) -> None:
    assert (await rig.put("a", DATA))[0] == 201
    assert rig.upstream.stored[b"/files/a"] == DATA
    assert await rig.standing() == (SIZE, 0)
    up = spliced.bytes
    assert await rig.get("a") == (200, DATA)
    await rig.settled()
    assert await rig.standing("egress_bytes") == (SIZE, 0)
    assert (up > 0, spliced.bytes > up) == ((splice == "true"),) * 2


async def test_both_connections_are_used_again(rig: Rig) -> None:
    """With the next request right behind the body, which is not a byte of it."""
    there, back = unmetered(rig, "PUT"), unmetered(rig, "GET")
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1 << 21)
    for _ in range(3):
        writer.write(there + DATA[:10])
        await moved(rig, 10)
        writer.write(DATA[10:] + back)
        assert (await answered(reader))[0] == 201
        assert await answered(reader) == (200, DATA)
    writer.close()
    assert rig.upstream.connections == 1


async def test_requests_behind_a_body_are_answered_in_turn(rig: Rig) -> None:
    there, back = unmetered(rig, "PUT"), unmetered(rig, "GET")
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1 << 21)
    writer.write(there + DATA + back + there + DATA + back)
    statuses = []
    for _ in range(4):
        status, body = await answered(reader)
        statuses.append(status)
        assert len(body) < 100 or body == DATA
    assert statuses == [201, 200, 201, 200]
    writer.close()
    assert rig.upstream.connections == 1


async def test_the_body_is_invited_once_all_of_it_is_reserved(rig: Rig) -> None:
    reader, writer = await began(rig, "PUT", "Expect: 100-continue")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert await rig.standing() == (0, SIZE)
    writer.write(DATA)
    assert (await answered(reader))[0] == 201
    writer.close()
    assert rig.upstream.stored[b"/files/a"] == DATA


async def test_what_is_known_to_fit_is_asked_about_once(
    fake: Store, tmp_path: Path, splice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for every piece of a body within the cap, nor of an answer that is held whole."""
    asked: list[int] = []

    async def cover(hold: Hold, in_hand: int) -> None:
        asked.append(in_hand)

    monkeypatch.setattr(Hold, "_cover_body", cover)
    monkeypatch.setattr(Hold, "_cover_answer", cover)
    wanted = wishes(splice, plan=f"caps = {{ file_bytes = {SIZE} }}")
    async with running(fake, tmp_path, wishes=wanted) as rig:
        assert (await rig.put("b", DATA + b"?"))[0] == 413
        assert (await rig.put("a", DATA))[0] == 201
        assert await rig.get("a") == (200, DATA)
        assert asked == []
        await rig.settled()
        assert await rig.standing() == (SIZE, 0)
        assert await rig.standing("egress_bytes") == (SIZE, 0)


async def test_a_delivery_that_costs_time_is_asked_about_as_it_goes_on(
    fake: Store, tmp_path: Path, splice: str
) -> None:
    wanted = wishes(splice, extra=TIMED)
    async with running(fake, tmp_path, wishes=wanted) as rig:
        await rig.put("a", DATA)
        async with rig.session.get(f"{rig.url}/timed/files/a", headers=rig.headers) as answer:
            assert await answer.read() == DATA
        await rig.settled()
        assert await rig.standing("seconds") == (1, 0)


async def test_a_range_is_charged_as_what_it_is(fake: Store, tmp_path: Path, splice: str) -> None:
    ranged = Answer(206, [(b"Content-Range", b"bytes 0-799999/900000")], DATA[:800_000])
    script = [Request(), ranged]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        assert await rig.get("a") == (206, DATA[:800_000])
        await rig.settled()
        assert await rig.standing("egress_bytes") == (800_000, 0)
        line = await logged(rig)
        assert line["answer_bytes"] == 800_000


async def test_head_moves_nothing(rig: Rig) -> None:
    await rig.put("a", DATA)
    async with rig.session.head(f"{rig.url}/files/a", headers=rig.headers) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))
    await rig.settled()
    assert await rig.standing("egress_bytes") == (0, 0)


async def test_a_trickle_arrives_as_it_is_sent(rig: Rig) -> None:
    reader, writer = await began(rig)
    for start, end in itertools.pairwise((0, 1, 1000, 5000, 20_000, 60_000)):
        writer.write(DATA[start:end])
        await moved(rig, end)
    writer.write(DATA[60_000:])
    assert (await answered(reader))[0] == 201
    assert rig.upstream.stored[b"/files/a"] == DATA
    writer.close()


async def test_a_slow_reader_gets_it_all(rig: Rig) -> None:
    await rig.put("a", DATA)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", rig.port))
        await loop.sock_sendall(sock, head(rig, "GET", "Connection: close"))
        got = bytearray()
        while piece := await loop.sock_recv(sock, 4096):
            got += piece
            if len(got) % 5 == 0:
                await asyncio.sleep(0.001)
    assert bytes(got).endswith(b"\r\n\r\n" + DATA)
    await rig.settled()
    assert await rig.standing("egress_bytes") == (SIZE, 0)


async def test_many_at_once(rig: Rig) -> None:
    async def there_and_back(n: int) -> None:
        url, data = f"{rig.url}/pass/{n}", DATA[n * 1000 :]
        async with rig.session.put(url, data=data, headers=rig.headers) as answer:
            assert answer.status == 201
        async with rig.session.get(url, headers=rig.headers) as answer:
            assert await answer.read() == data

    await asyncio.gather(*map(there_and_back, range(8)))


async def test_what_has_to_be_looked_into_is_seen(rig: Rig, spliced: Spliced) -> None:
    """A repeat of a named request is told by its body from another request."""
    named = {"Idempotency-Key": "once"}
    assert (await rig.put("a", DATA, **named))[0] == 201
    assert spliced.bytes == 0
    assert (await rig.put("a", DATA[:-1] + b"?", **named))[0] == 422
    assert (await rig.put("a", DATA, **named))[0] == 201
    assert await rig.standing() == (SIZE, 0)


async def test_a_piece_of_an_upload_that_can_be_resumed(
    fake: Store, tmp_path: Path, splice: str, spliced: Spliced
) -> None:
    server = TusServer()
    wanted = wishes(splice, extra=TUS_ROUTES)
    async with running(fake, tmp_path, [server], wishes=wanted) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(SIZE)
        assert (await tus.patch(path, 0, DATA[:1000])).offset == 1000
        assert (await tus.patch(path, 1000, DATA[1000:])).offset == SIZE
        assert await rig.standing() == (SIZE, 0)
        assert (spliced.bytes > 0) == (splice == "true")


# -- it is cut short ------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [10, 50, 99])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_client_that_leaves(rig: Rig, percent: int, reset: bool) -> None:
    part = SIZE * percent // 100
    _, writer = await began(rig)
    writer.write(DATA[:part])
    await rig.upstream.until(lambda: rig.upstream.bytes_in > part)
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    writer.close()
    await rig.settled()
    assert await rig.standing() == (0, 0)
    line = await logged(rig)
    assert (line["outcome"], line["body_bytes"]) == ("client-gone", part)
    await rig.upstream.until(lambda: rig.upstream.resets == 1)
    assert rig.upstream.requests[0].body == DATA[:part]


@pytest.mark.parametrize("percent", [10, 50, 99])
async def test_an_upstream_that_resets(
    fake: Store, tmp_path: Path, splice: str, percent: int
) -> None:
    part = SIZE * percent // 100
    script = [Head(), Body(part), Reset()]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig)
        writer.write(DATA[: (part + SIZE) // 2])
        assert (await answered(reader))[0] == 502
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


@pytest.mark.parametrize("close", [True, False], ids=["closes", "reads-on"])
async def test_an_early_no_is_told_and_the_rest_is_read_for_nobody(
    fake: Store, tmp_path: Path, splice: str, close: bool
) -> None:
    no = Answer(413, [(b"Connection", b"close")], b"too large")
    script = [Head(), Body(300_000), no, *([Close()] if close else [])]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig)
        writer.write(DATA[:400_000])
        assert await answered(reader) == (413, b"too large")
        writer.write(DATA[400_000:])
        await writer.drain()
        assert await reader.read() == b""  # the connection ends properly, and soon
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_an_early_yes_is_charged_as_what_was_passed_on(
    fake: Store, tmp_path: Path, splice: str
) -> None:
    go = asyncio.Event()
    script = [Head(), Body(300_000), Wait(go), Answer(201, [(b"Connection", b"close")])]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig)
        writer.write(DATA[:500_000])
        await moved(rig, 500_000)
        go.set()
        assert (await answered(reader))[0] == 201
        writer.close()
        await rig.settled()
        assert await rig.standing() == (500_000, 0)


async def moved(rig: Rig, body_bytes: int) -> None:
    """Until so much of the only request's body has been passed on."""
    exchanges = rig.gateway._watchdog._exchanges
    async with asyncio.timeout(5):
        while (  # noqa: ASYNC110
            sum(each.body_bytes for each in exchanges if isinstance(each, Exchange)) < body_bytes
        ):
            await asyncio.sleep(0.001)


async def test_one_that_is_stopped_from_outside(fake: Store, tmp_path: Path, splice: str) -> None:
    script = [Head(), Body(300_000), Hang()]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig)
        writer.write(DATA[:500_000])
        await moved(rig, 500_000)
        rig.gateway._watchdog.stop_all(DRAINING)
        assert (await answered(reader))[0] == 503
        writer.write(DATA[500_000:])
        assert await reader.read() == b""
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)
        assert (await logged(rig))["body_bytes"] == 500_000


async def test_a_client_that_sends_no_more(fake: Store, tmp_path: Path, splice: str) -> None:
    async with running(fake, tmp_path, wishes=wishes(splice, 'body_idle = "1s"')) as rig:
        reader, writer = await began(rig)
        writer.write(DATA[:500_000])
        assert (await answered(reader))[0] == 408
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


@pytest.mark.parametrize("percent", [10, 50, 99])
async def test_a_download_whose_client_leaves(
    fake: Store, tmp_path: Path, splice: str, percent: int
) -> None:
    part, go = SIZE * percent // 100, asyncio.Event()
    script = [Request(), Answer(200, body=DATA[:part], length=SIZE), Wait(go)]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig, "GET")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(part) == DATA[:part]
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (part, 0)
        assert (await logged(rig))["answer_bytes"] == part
        go.set()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_download_whose_upstream_breaks_off(
    fake: Store, tmp_path: Path, splice: str, reset: bool
) -> None:
    go, part = asyncio.Event(), 600_000
    answer = Answer(200, body=DATA[:part], length=SIZE)
    script = [Request(), answer, Wait(go), Reset() if reset else Close()]
    async with running(fake, tmp_path, script, wishes=wishes(splice)) as rig:
        reader, writer = await began(rig, "GET")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(part) == DATA[:part]
        go.set()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (part, 0)


async def test_a_download_that_stalls(fake: Store, tmp_path: Path, splice: str) -> None:
    script = [Request(), Answer(200, body=DATA[:600_000], length=SIZE), Hang()]
    wanted = wishes(splice, upstream_idle="1s")
    async with running(fake, tmp_path, script, wishes=wanted) as rig:
        reader, writer = await began(rig, "GET")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(600_000) == DATA[:600_000]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert (await logged(rig))["outcome"] == "upstream-failed"


async def test_more_than_the_answer_said_is_nobodys(
    fake: Store, tmp_path: Path, splice: str
) -> None:
    """And its connection is not used again."""
    talkative = [Request(), Answer(200, body=DATA), Send(b"HTTP/1.1 200 Surprise\r\n\r\n")]
    usual = [Repeat([Request(), Answer(200, body=DATA)])]
    async with running(fake, tmp_path, talkative, usual, wishes=wishes(splice)) as rig:
        assert await rig.get("a") == (200, DATA)
        assert await rig.get("b") == (200, DATA)
        assert rig.upstream.connections == 2
