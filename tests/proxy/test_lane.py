"""A contract with aiohttp: what the lane past it leans on is there, and means what it seems to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.proxy.connection import KEEP, Arrival, Connection, ConnectionLimits
from gateway.proxy.inlet import HEAD_BYTES
from gateway.proxy.lane import FastConnection, FastServer, is_understood
from gateway.proxy.vessels import Vessels

ON_EVERY_LOOP = True

BODILESS = b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n"
REQUEST = b"PUT /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n"


class Asked:
    """A lane that takes nothing, and remembers what it was offered. `read_on`: whether more was
    read after each piece that came at once."""

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.read_on: list[bool] = []

    def begin(self, connection: FastConnection, data: bytes) -> bool:
        self.offered.append(data)
        return False


@asynccontextmanager
async def served(
    lane: Asked, go_on: asyncio.Event, *, at_once: Sequence[bytes] = (), leaves: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """`at_once`: what comes from the client before aiohttp has heard that it was answered; then it
    `leaves`."""
    pieces = list(at_once)

    async def handle(arrival: Arrival) -> web.StreamResponse:
        await go_on.wait()
        await asyncio.sleep(0)  # an answer that was waited for: aiohttp hears of it a turn later
        await arrival.content.read()
        arrival.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        while pieces:
            asyncio.get_running_loop().call_soon(come, arrival.connection, pieces.pop(0))
        if leaves and arrival.connection.transport is not None:
            arrival.connection.transport.abort()
        return KEEP

    def come(connection: Connection, piece: bytes) -> None:
        connection.data_received(piece)
        if connection.transport is not None:
            lane.read_on.append(connection.transport.is_reading())

    server = FastServer(
        handle, ConnectionLimits(), lambda refusal: b"refused", Vessels(splice=False)
    )
    server.lane = lane
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        listening.close()
        await server.shutdown(1.0)


def test_this_aiohttp_is_understood_and_another_would_not_be() -> None:
    class Without(web.RequestHandler):
        __slots__ = ()

    assert is_understood()
    assert not is_understood(object)
    assert is_understood(Without)


async def test_the_lane_is_offered_what_begins_a_request_and_nothing_else() -> None:
    lane, go_on = Asked(), asyncio.Event()
    async with served(lane, go_on) as (reader, writer):
        writer.write(REQUEST + b"bo")
        async with asyncio.timeout(5):
            while not lane.offered:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        writer.write(b"dy")
        await asyncio.sleep(0.02)
        go_on.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        await asyncio.sleep(0.02)
        writer.write(REQUEST[:10])
        await asyncio.sleep(0.02)
        writer.write(REQUEST[10:] + b"last")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.offered == [REQUEST + b"bo", REQUEST[:10]]


async def test_what_comes_while_a_request_is_settled_is_offered_afterwards() -> None:
    lane, go_on = Asked(), asyncio.Event()
    async with served(lane, go_on) as (reader, writer):
        writer.write(BODILESS)
        await asyncio.sleep(0.02)
        for piece in (REQUEST + b"ne", b"xt"):
            writer.write(piece)
            await asyncio.sleep(0.02)
        assert lane.offered == [BODILESS]
        go_on.set()
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.offered == [BODILESS, REQUEST + b"next"]


async def test_many_requests_behind_one_that_is_not_answered_are_aiohttps_to_bound() -> None:
    lane, go_on = Asked(), asyncio.Event()
    count = HEAD_BYTES // len(BODILESS) + 1
    async with served(lane, go_on) as (reader, writer):
        writer.write(BODILESS)
        await asyncio.sleep(0.02)
        for _ in range(count):
            writer.write(BODILESS)
        await asyncio.sleep(0.05)
        go_on.set()
        for _ in range(1 + count):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.offered[0] == BODILESS
        assert all(len(data) < HEAD_BYTES for data in lane.offered)


async def test_what_comes_right_after_an_answer_is_offered_too() -> None:
    lane, go_on = Asked(), asyncio.Event()
    go_on.set()
    pieces = [REQUEST + b"bo", b"dy"]
    async with served(lane, go_on, at_once=pieces) as (reader, writer):
        writer.write(REQUEST + b"body")
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.offered == [REQUEST + b"body", b"".join(pieces)]
        assert lane.read_on == [True, True]


async def test_of_a_long_body_that_comes_then_no_more_is_read_until_it_was_offered() -> None:
    lane, go_on = Asked(), asyncio.Event()
    go_on.set()
    long = REQUEST.replace(b": 4", b": %d" % (HEAD_BYTES + 4)) + bytes(HEAD_BYTES)
    async with served(lane, go_on, at_once=[long]) as (reader, writer):
        writer.write(REQUEST + b"body")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.write(b"rest")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.read_on == [False]
        writer.write(REQUEST + b"more")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert lane.offered == [REQUEST + b"body", long, REQUEST + b"more"]


async def test_a_client_that_is_gone_by_then_is_not_served() -> None:
    lane, go_on = Asked(), asyncio.Event()
    go_on.set()
    early = [REQUEST + b"body"]
    async with served(lane, go_on, at_once=early, leaves=True) as (reader, writer):
        writer.write(REQUEST + b"body")
        assert await reader.read() in (b"", b"HTTP/1.1 204 No Content\r\n\r\n")
        await asyncio.sleep(0.02)
        assert lane.offered == early
