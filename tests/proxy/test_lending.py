"""Lending rests on what is private to aiohttp: a version in which that has changed fails here."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web, web_protocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.proxy import lending
from gateway.proxy.connection import KEEP, Arrival, Connection, ConnectionLimits, PublicServer
from gateway.proxy.lending import Waiting
from gateway.proxy.vessels import Vessels

ON_EVERY_LOOP = True

BODY = b"b" * 1000
HEAD = b"PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: t\r\n\r\n"


def test_a_parser_is_made_as_aiohttp_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    class Noted(HttpRequestParser):
        def __init__(self, *args: Any, **named: Any) -> None:
            made.append((args, named))
            super().__init__(*args, **named)

    monkeypatch.setattr(web_protocol, "HttpRequestParser", Noted)
    monkeypatch.setattr(lending, "HttpRequestParser", Noted)

    async def make() -> None:
        limits = ConnectionLimits(header_line_max=1_000, headers_max=50)
        server = PublicServer(_keep, limits, lambda _: b"", Vessels())
        connection = Connection(server, asyncio.get_running_loop(), limits, lambda _: b"")
        connection._new_parser()

    asyncio.run(make())
    by_aiohttp, by_us = made
    assert by_aiohttp == by_us


def test_what_was_told_of_a_request_is_kept_by_whoever_took_it_alone() -> None:
    message, error = web_protocol.ERROR, object()
    waiting = Waiting([(message, EMPTY_PAYLOAD), (error, EMPTY_PAYLOAD)])
    told, _ = waiting.popleft()
    assert told.take() is message
    assert not any(held is message for held in gc.get_referents(told))
    assert waiting.popleft() == (error, EMPTY_PAYLOAD)


async def _keep(arrival: Arrival) -> web.StreamResponse:
    return KEEP


class Served:
    """A server whose handler takes bodies past the parser."""

    def __init__(self, leave: int = 0) -> None:
        self._leave = leave
        self.targets: list[str] = []
        self.bodies: list[bytes] = []

    async def __call__(self, arrival: Arrival) -> web.StreamResponse:
        self.targets.append(arrival.raw_target)
        if arrival.raw_target == "/a":
            begun = await arrival.content.readany()
            loop = asyncio.get_running_loop()
            sock = arrival.connection.lend(reading=True)
            assert sock is not None
            with sock:
                assert arrival.connection._parser is None
                assert arrival.connection._keepalive_handle is None
                body = begun
                while len(body) < 1000 - self._leave:
                    body += await loop.sock_recv(sock, 1000 - self._leave - len(body))
            arrival.connection.passed_by(1000 - len(body))
            self.bodies.append(body)
        arrival.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return KEEP


@pytest.fixture(params=[0, 300], ids=["all", "all-but-the-last"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Served, int]]:
    handler = Served(request.param)
    server = PublicServer(handler, ConnectionLimits(), lambda _: b"", Vessels())
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield handler, listening.sockets[0].getsockname()[1]
    listening.close()
    await server.shutdown(1.0)


@pytest.mark.parametrize("first", [1, 500, 999])
async def test_what_comes_behind_a_body_that_passed_by_is_the_next_request(
    served: tuple[Served, int], first: int
) -> None:
    """Also if the last bytes of that body were left, and are read for nobody."""
    handler, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for turn in (1, 2, 3):
        writer.write(HEAD + BODY[: min(first, 700)])
        await until(lambda turn=turn: len(handler.targets) == 2 * turn - 1)
        writer.write(BODY[min(first, 700) :] + NEXT)
        for _ in range(2):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert handler.targets == ["/a", "/next"] * 3
    assert all(BODY.startswith(body) for body in handler.bodies)
    writer.close()


async def test_a_client_that_leaves_while_its_socket_is_lent(
    served: tuple[Served, int],
) -> None:
    handler, port = served
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + BODY[:100])
    await until(lambda: handler.targets)
    writer.write(BODY[100:])
    writer.close()
    await until(lambda: handler.bodies)
    again, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(NEXT)
    assert await again.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
    writer.close()


# -- chunks: where a body is in them, beside aiohttp's parser --------------------------------------

CHUNKED = b"PUT /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMED = b"2000\r\n" + b"c" * 0x2000 + b"\r\n"
END = b"0\r\nX: y\r\n\r\n"


class Scanned:
    """A server whose handler takes the rest of a chunked body past the parser, once it is sure
    where it is. `leave`: it takes no more than the begun."""

    def __init__(self, *, leave: bool = False) -> None:
        self._leave = leave
        self.sure: list[bool] = []
        self.bodies: list[bytes] = []
        self.go = asyncio.Event()

    async def __call__(self, arrival: Arrival) -> web.StreamResponse:
        if arrival.method == "PUT":
            self.bodies.append(await self._body(arrival))
        arrival.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return KEEP

    async def _body(self, arrival: Arrival) -> bytes:
        body = b""
        while len(body) < 0x2000:
            body += await arrival.content.readany()
        scanner = arrival.connection.chunks_of(arrival.content)
        self.sure.append(scanner is not None)
        await self.go.wait()
        if scanner is None:
            while data := await arrival.content.readany():
                body += data
            return body
        sock = arrival.connection.lend(reading=True)
        assert sock is not None
        with sock:
            while not scanner.ended and not self._leave:
                data = await asyncio.get_running_loop().sock_recv(sock, 65_536)
                body += b"".join(scanner.feed(data))
        arrival.connection.chunks_passed_by(scanner)
        assert self._leave or await arrival.content.readany() == b""
        return body


@asynccontextmanager
async def serving(handler: Scanned) -> AsyncIterator[Any]:
    limits = ConnectionLimits(lingering_s=2.0)
    server = PublicServer(handler, limits, lambda _: b"HTTP/1.1 400 Bad\r\n\r\n", Vessels())
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    listening.close()
    await server.shutdown(1.0)


@pytest.mark.parametrize(
    ("pieces", "sure"),
    [
        ([CHUNKED + FRAMED], True),
        ([CHUNKED, FRAMED], True),
        ([CHUNKED[:20], CHUNKED[20:], FRAMED], True),
        ([CHUNKED, FRAMED[:1], FRAMED[1:]], True),
        ([CHUNKED[:-1], CHUNKED[-1:], FRAMED], False),  # what ends the head came in two
        ([CHUNKED[:-2], CHUNKED[-2:] + FRAMED], False),
        ([CHUNKED.replace(b"Tr", b"Connection: Upgrade\r\nUpgrade: x\r\nTr") + FRAMED], False),
    ],
)
async def test_where_a_body_is_within_its_chunks(pieces: list[bytes], sure: bool) -> None:
    """Or else it is not known, and goes by the parser. What is behind it is the next request."""
    handler = Scanned()
    async with serving(handler) as (reader, writer):
        for turn in (1, 2):
            handler.go.clear()
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            await until(lambda turn=turn: len(handler.sure) == turn)
            handler.go.set()
            for start in range(0, len(FRAMED + END), 1500):
                writer.write((FRAMED + END)[start : start + 1500])
                await asyncio.sleep(0)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
            if b"Upgrade" in pieces[0]:
                break
            writer.write(NEXT)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
        assert set(handler.sure) == {sure}
        assert all(body.strip(b"c") == b"" for body in handler.bodies)


async def test_the_next_request_right_behind_chunks_that_passed_by() -> None:
    handler = Scanned()
    handler.go.set()
    async with serving(handler) as (reader, writer):
        for turn in (1, 2, 3):
            writer.write(CHUNKED + FRAMED)
            await until(lambda turn=turn: len(handler.sure) == turn)
            writer.write(FRAMED + END + NEXT)
            for _ in range(2):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
        assert handler.sure == [True] * 3
        assert handler.bodies == [b"c" * 0x4000] * 3


async def test_chunks_that_nobody_wants_are_read_to_their_end() -> None:
    handler = Scanned(leave=True)
    handler.go.set()
    async with serving(handler) as (reader, writer):
        writer.write(CHUNKED + FRAMED)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
        data = FRAMED * 3 + END
        for start in range(0, len(data), 1000):
            writer.write(data[start : start + 1000])
            await writer.drain()
        writer.write(NEXT)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_chunks_that_nobody_wants_and_that_break_have_no_end() -> None:
    handler = Scanned(leave=True)
    handler.go.set()
    async with serving(handler) as (reader, writer):
        writer.write(CHUNKED + FRAMED)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"
        writer.write(b"x" + END + NEXT)
        assert await reader.read() == b""


@pytest.mark.parametrize("head", [CHUNKED, CHUNKED.replace(b"\r\n", b"\n")], ids=["crlf", "lf"])
async def test_the_parser_tells_of_a_head_with_its_last_byte(head: bytes) -> None:
    """And with no other: what it is fed in three goes means what it means in one."""
    limits = ConnectionLimits()
    server = PublicServer(_keep, limits, lambda _: b"", Vessels())
    connection = Connection(server, asyncio.get_running_loop(), limits, lambda _: b"")
    parser: Any = connection._new_parser()
    if head is CHUNKED:
        assert parser.feed_data(head[:-1]) == ((), False, b"")
        ((message, content),), _, _ = parser.feed_data(head[-1:])
        assert message.chunked
        assert content.total_bytes == 0
    else:
        with pytest.raises(HttpProcessingError):
            parser.feed_data(head)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.001)
