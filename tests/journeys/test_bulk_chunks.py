"""Large bodies in chunks through the whole gateway, past the parsers and by them: the same bytes,
the same answers, the same books."""

import asyncio
import itertools
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DRAINING
from gateway.ledger.store import Store
from gateway.proxy import transfer
from gateway.proxy.rechunk import Rechunk
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.test_bulk import Raw, answered, logged, moved
from tests.upstreams import (
    Answer,
    Body,
    Close,
    Hang,
    Head,
    Linger,
    Repeat,
    Request,
    Reset,
    Send,
    Wait,
)

ON_EVERY_LOOP = True
SIZE = 900_000
DATA = random.Random(3).randbytes(SIZE)
CHUNK = 30_000
BEGUN = 400_000
"""So much has passed once a body goes by the parsers."""
END = b"0\r\n\r\n"
NOW = struct.pack("ii", 1, 0)
OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(data: bytes, size: int = CHUNK) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@dataclass
class Passed:
    """Bytes of data that went past the parsers; `expected`: whether any are to."""

    expected: bool
    bytes: int = 0


@pytest.fixture(params=[True, False], ids=["past", "by"])
def passed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Passed:
    passed = Passed(request.param)
    if not request.param:
        monkeypatch.setattr(transfer, "BULK_BYTES_MIN", 1 << 40)
    put = Rechunk._put

    def counted(flow: Rechunk, parcel: Any) -> None:
        before = parcel.data
        put(flow, parcel)
        passed.bytes += before - parcel.data

    monkeypatch.setattr(Rechunk, "_put", counted)
    return passed


@pytest.fixture
async def rig(fake: Store, tmp_path: Path, passed: Passed) -> AsyncIterator[Rig]:
    async with running(fake, tmp_path) as running_rig:
        yield running_rig


def asks(rig: Rig, method: str = "PUT", path: str = "/files/a", *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: t", f"X-API-Key: {rig.key}", *more]
    lines += ["Transfer-Encoding: chunked"] if method == "PUT" else []
    return "\r\n".join([*lines, "", ""]).encode()


async def connected(rig: Rig) -> Raw:
    return await asyncio.open_connection("127.0.0.1", rig.port, limit=1 << 21)


async def began(rig: Rig, *more: str, path: str = "/files/a") -> Raw:
    """An upload of which so much has come that the rest may pass the parsers."""
    reader, writer = await connected(rig)
    writer.write(asks(rig, "PUT", path, *more) + chunks(DATA[:BEGUN]))
    await moved(rig, BEGUN)
    return reader, writer


async def unchunked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(data, trailers) of a body in chunks."""
    data = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        data += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    trailers = b""
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        trailers += line
    return data, trailers


async def delivered(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    return await unchunked(reader)


# -- all is well ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 5_000, 30_000, SIZE])
async def test_up_unchanged(rig: Rig, passed: Passed, size: int) -> None:
    """Bodies in small chunks stay with the parser."""
    reader, writer = await connected(rig)
    data = DATA[: 300 * size]
    writer.write(asks(rig) + chunks(data, size) + END)
    assert (await answered(reader))[0] == 201
    writer.close()
    assert rig.upstream.stored[b"/files/a"] == data
    assert await rig.standing() == (len(data), 0)
    assert (await logged(rig))["body_bytes"] == len(data)
    assert (passed.bytes > 0) == (passed.expected and size >= 5_000)


async def test_down_unchanged(fake: Store, tmp_path: Path, passed: Passed) -> None:
    pieces = [DATA[start : start + CHUNK] for start in range(0, SIZE, CHUNK)]
    script = [Repeat([Request(), Answer(body=pieces, chunked=True)])]
    async with running(fake, tmp_path, script) as rig:
        assert await rig.get("a") == (200, DATA)
        await rig.settled()
        assert await rig.standing("egress_bytes") == (SIZE, 0)
        assert (await logged(rig))["answer_bytes"] == SIZE
        assert (passed.bytes > 0) == passed.expected
        assert await rig.get("a") == (200, DATA)
        assert rig.upstream.connections == 1


async def test_both_connections_are_used_again(rig: Rig, passed: Passed) -> None:
    """With the next request right behind the body, which is not a byte of it."""
    there, back = asks(rig, "PUT", "/pass/a"), asks(rig, "GET", "/pass/a")
    reader, writer = await connected(rig)
    for _ in range(3):
        writer.write(there + chunks(DATA[:BEGUN]))
        await moved(rig, BEGUN)
        writer.write(chunks(DATA[BEGUN:]) + b"0\r\nX-Dropped: yes\r\n\r\n" + back)
        assert (await answered(reader))[0] == 201
        assert await answered(reader) == (200, DATA)
    writer.close()
    assert rig.upstream.connections == 1
    assert all(request.trailers == [] for request in rig.upstream.requests)
    assert (passed.bytes > 0) == passed.expected


async def test_requests_behind_a_body_are_answered_in_turn(rig: Rig) -> None:
    there, back = asks(rig, "PUT", "/pass/a"), asks(rig, "GET", "/pass/a")
    reader, writer = await connected(rig)
    writer.write((there + chunks(DATA) + END + back) * 3)
    for _ in range(3):
        assert (await answered(reader))[0] == 201
        assert await answered(reader) == (200, DATA)
    writer.close()


async def test_an_upload_that_is_invited_first(rig: Rig, passed: Passed) -> None:
    reader, writer = await connected(rig)
    writer.write(asks(rig, "PUT", "/files/a", "Expect: 100-continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(chunks(DATA) + END)
    assert (await answered(reader))[0] == 201
    writer.close()
    assert rig.upstream.stored[b"/files/a"] == DATA
    assert (passed.bytes > 0) == passed.expected


def has_got(rig: Rig, size: int) -> bool:
    return rig.upstream.requests[0].body_bytes == size


async def test_a_trickle_arrives_as_it_is_sent(rig: Rig) -> None:
    reader, writer = await began(rig)
    for start, end in itertools.pairwise((BEGUN, BEGUN + 1, BEGUN + 1_000, BEGUN + 60_000)):
        writer.write(chunks(DATA[start:end]))
        await moved(rig, end)
        await rig.upstream.until(partial(has_got, rig, end))
    writer.write(END)
    assert (await answered(reader))[0] == 201
    writer.close()


@pytest.mark.parametrize("split", [1, 2, 3, 5])
async def test_framing_that_comes_in_pieces(rig: Rig, split: int) -> None:
    reader, writer = await began(rig)
    framed = b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n" + asks(rig, "GET", "/pass/none")
    for start in range(0, len(framed), split):
        writer.write(framed[start : start + split])
        await asyncio.sleep(0)
        await writer.drain()
    assert (await answered(reader))[0] == 201
    assert (await answered(reader))[0] == 404
    writer.close()
    assert rig.upstream.stored[b"/files/a"] == DATA[:BEGUN] + b"hello"
    assert await rig.standing() == (BEGUN + 5, 0)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_trailers_of_an_answer(
    fake: Store, tmp_path: Path, passed: Passed, version: str
) -> None:
    """Are passed on, but not to a client of HTTP/1.0, which gets no chunks either."""
    answer = Answer(body=[DATA[:BEGUN], DATA[BEGUN:]], chunked=True, trailers=[(b"X-Sum", b"1 2")])
    async with running(fake, tmp_path, [Repeat([Request(), answer])]) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "GET").replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        if version == "1.1":
            assert await delivered(reader) == (DATA, b"X-Sum: 1 2\r\n")
        else:
            assert (await reader.read()).endswith(b"\r\n\r\n" + DATA)
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (SIZE, 0)
        assert (passed.bytes > 0) == passed.expected


async def test_an_answer_that_comes_as_things_happen(
    fake: Store, tmp_path: Path, passed: Passed
) -> None:
    """Nothing of it waits for more."""
    steps = [asyncio.Event() for _ in range(4)]
    script: list[Any] = [Request(), Send(OK + chunks(DATA[:BEGUN]))]
    for number, step in enumerate(steps):
        script += [Wait(step), Send(chunks(b"event %d" % number))]
    async with running(fake, tmp_path, [*script, Send(END)]) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "GET"))
        await reader.readuntil(b"\r\n\r\n")
        got = b""
        while len(got) < BEGUN:
            got += await one_chunk(reader)
        for number, step in enumerate(steps):
            step.set()
            assert await one_chunk(reader) == b"event %d" % number
        assert await reader.readexactly(5) == END
        writer.close()


async def one_chunk(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        size = int(await reader.readuntil(b"\r\n"), 16)
        return (await reader.readexactly(size + 2))[:-2]


async def test_a_slow_reader_gets_it_all(fake: Store, tmp_path: Path, passed: Passed) -> None:
    script = [Request(), Answer(body=[DATA], chunked=True)]
    async with running(fake, tmp_path, script) as rig:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", rig.port))
            await loop.sock_sendall(sock, asks(rig, "GET"))
            got = asyncio.StreamReader(limit=1 << 21)
            while b"\r\n0\r\n\r\n" not in got._buffer[-7:]:  # type: ignore[attr-defined]
                got.feed_data(await loop.sock_recv(sock, 4096))
                await asyncio.sleep(0)
        assert await delivered(got) == (DATA, b"")
        await rig.settled()
        assert await rig.standing("egress_bytes") == (SIZE, 0)


async def test_many_at_once(rig: Rig, passed: Passed) -> None:
    async def there(n: int) -> None:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "PUT", f"/pass/{n}") + chunks(DATA[n:], 20_000 + n) + END)
        assert (await answered(reader))[0] == 201
        writer.close()

    await asyncio.gather(*map(there, range(8)))
    assert [rig.upstream.stored[b"/pass/%d" % n] == DATA[n:] for n in range(8)] == [True] * 8


async def test_what_a_client_gave_a_name_is_charged_once(rig: Rig, passed: Passed) -> None:
    for _ in range(2):
        reader, writer = await connected(rig)
        asked = asks(rig, "PUT", "/files/a", "Idempotency-Key: once")
        writer.write(asked + chunks(DATA) + END)
        assert (await answered(reader))[0] == 201
        writer.close()
    assert await rig.standing() == (SIZE, 0)
    assert len(rig.upstream.requests) == 1


# -- it is cut short ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "status"),
    [("caps = { file_bytes = 700_000 }", 413), ("", 403)],
    ids=["cap", "quota"],
)
async def test_what_is_not_covered_does_not_go_on(
    fake: Store, tmp_path: Path, passed: Passed, plan: str, status: int
) -> None:
    """The upstream sees no proper end of it."""
    async with running(fake, tmp_path, wishes=Wishes(plan=plan)) as rig:
        reader, writer = await began(rig)
        writer.write(chunks(DATA[BEGUN:] + DATA) + END)
        assert (await answered(reader))[0] == status
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)
        await rig.upstream.until(lambda: rig.upstream.resets == 1)
        assert not rig.upstream.requests[0].ended
        assert rig.upstream.requests[0].body_bytes <= 1_000_000
        line = await logged(rig)
        assert line["body_bytes"] <= 1_000_000


async def test_a_delivery_stops_where_nothing_more_is_covered(
    fake: Store, tmp_path: Path, passed: Passed
) -> None:
    script = [Request(), Send(OK + chunks(DATA) * 4 + END)]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "GET"))
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await unchunked(reader)
        writer.close()
        await rig.settled()
        used, reserved = await rig.standing("egress_bytes")
        assert reserved == 0
        assert BEGUN < used <= 2_000_000
        assert (await logged(rig))["answer_bytes"] == used


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("tail", [b"", b"2000\r\nbegun", b"200", b"0\r\nX: y\r\n"])
async def test_a_client_that_leaves(rig: Rig, reset: bool, tail: bytes) -> None:
    _, writer = await began(rig)
    writer.write(tail)
    part = BEGUN + (5 if tail.endswith(b"begun") else 0)
    await moved(rig, part)
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    writer.close()
    await rig.settled()
    assert await rig.standing() == (0, 0)
    line = await logged(rig)
    assert (line["outcome"], line["body_bytes"]) == ("client-gone", part)
    await rig.upstream.until(lambda: rig.upstream.resets == 1)
    assert rig.upstream.requests[0].body == DATA[:BEGUN] + b"begun"[: part - BEGUN]


@pytest.mark.parametrize("bad", [b"x", b"5\nhello\r\n", b"5\r\nhello!\r\n", b"0\r\n: y\r\n\r\n"])
async def test_chunks_that_break_in_the_middle(rig: Rig, bad: bytes) -> None:
    reader, writer = await began(rig)
    writer.write(bad)
    status, said = await answered(reader)
    assert status == 400
    assert b"bad-framing" in said
    writer.write(DATA)
    with suppress(ConnectionResetError):  # if that came before the connection was closed
        assert await reader.read() == b""  # no request is looked for behind it
    writer.close()
    await rig.settled()
    assert await rig.standing() == (0, 0)
    await rig.upstream.until(lambda: rig.upstream.resets == 1)
    assert not rig.upstream.requests[0].ended


async def test_an_upstream_that_resets(fake: Store, tmp_path: Path, passed: Passed) -> None:
    go = asyncio.Event()
    script = [Head(), Body(300_000), Wait(go), Reset()]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await began(rig)
        go.set()
        writer.write(chunks(DATA[BEGUN:]))
        assert (await answered(reader))[0] == 502
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


@pytest.mark.parametrize("close", [True, False], ids=["closes", "reads-on"])
async def test_an_early_no_is_told_and_the_rest_is_read_for_nobody(
    fake: Store, tmp_path: Path, passed: Passed, close: bool
) -> None:
    no = Answer(413, [(b"Connection", b"close")], b"too large")
    go = asyncio.Event()
    script = [Head(), Body(300_000), Wait(go), no, Close() if close else Linger()]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await began(rig)
        go.set()
        assert await answered(reader) == (413, b"too large")
        writer.write(chunks(DATA[BEGUN:]) + END + asks(rig, "GET", "/pass/a"))
        await writer.drain()
        assert await reader.read() == b""  # the connection ends properly, and soon
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_an_early_yes_is_charged_as_what_was_passed_on(
    fake: Store, tmp_path: Path, passed: Passed
) -> None:
    go = asyncio.Event()
    yes = Answer(201, [(b"Connection", b"close")])
    script = [Head(), Body(300_000), Wait(go), yes]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await began(rig)
        writer.write(chunks(DATA[BEGUN:500_000]))
        await moved(rig, 500_000)
        go.set()
        assert (await answered(reader))[0] == 201
        writer.close()
        await rig.settled()
        assert await rig.standing() == (500_000, 0)


async def test_one_that_is_stopped_from_outside(
    fake: Store, tmp_path: Path, passed: Passed
) -> None:
    script = [Head(), Body(300_000), Hang()]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await began(rig)
        rig.gateway._watchdog.stop_all(DRAINING)
        assert (await answered(reader))[0] == 503
        writer.write(chunks(DATA[BEGUN:]) + END)
        assert await reader.read() == b""
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)
        assert (await logged(rig))["body_bytes"] == BEGUN


async def test_a_client_that_sends_no_more(fake: Store, tmp_path: Path, passed: Passed) -> None:
    async with running(fake, tmp_path, wishes=Wishes(server='body_idle = "1s"')) as rig:
        reader, writer = await began(rig)
        assert (await answered(reader))[0] == 408
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_an_upstream_that_takes_no_more(fake: Store, tmp_path: Path, passed: Passed) -> None:
    wanted = Wishes(upstream_idle="1s", server='body_idle = "5s"')
    async with running(fake, tmp_path, [Head(), Hang()], wishes=wanted) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "PUT", "/pass/a"))
        for _ in range(40):
            writer.write(chunks(DATA))
        assert (await answered(reader))[0] == 504
        writer.close()


async def test_a_download_whose_client_leaves(fake: Store, tmp_path: Path, passed: Passed) -> None:
    go, part = asyncio.Event(), 600_000
    script = [Request(), Send(OK + chunks(DATA[:part])), Wait(go)]
    async with running(fake, tmp_path, script) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "GET"))
        await reader.readuntil(b"\r\n\r\n")
        got = b""
        while len(got) < part:
            got += await one_chunk(reader)
        assert got == DATA[:part]
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (part, 0)
        assert (await logged(rig))["answer_bytes"] == part
        go.set()


@pytest.mark.parametrize(
    "end", [[Reset()], [Close()], [Send(b"x")], [Send(b"0\r\n: y\r\n\r\n")], [Hang()]],
    ids=["reset", "closed", "malformed", "malformed-trailers", "stalled"],
)  # fmt: skip
async def test_a_download_whose_upstream_breaks_off(
    fake: Store, tmp_path: Path, passed: Passed, end: Sequence[Any]
) -> None:
    go, part = asyncio.Event(), 600_000
    script = [Request(), Send(OK + chunks(DATA[:part])), Wait(go), *end]
    async with running(fake, tmp_path, script, wishes=Wishes(upstream_idle="1s")) as rig:
        reader, writer = await connected(rig)
        writer.write(asks(rig, "GET"))
        await reader.readuntil(b"\r\n\r\n")
        got = b""
        while len(got) < part:
            got += await one_chunk(reader)
        go.set()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (part, 0)
        assert (await logged(rig))["outcome"].startswith("upstream-")


async def test_more_than_the_answer_said_is_nobodys(
    fake: Store, tmp_path: Path, passed: Passed
) -> None:
    """And its connection is not used again."""
    whole = OK + chunks(DATA) + END
    talkative = [Request(), Send(whole + b"HTTP/1.1 200 Surprise\r\n\r\n"), Hang()]
    usual = [Repeat([Request(), Send(whole)])]
    async with running(fake, tmp_path, talkative, usual) as rig:
        assert await rig.get("a") == (200, DATA)
        assert await rig.get("b") == (200, DATA)
        assert rig.upstream.connections == 2
