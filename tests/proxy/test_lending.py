"""Lending rests on what is private to aiohttp: a version in which that has changed fails here."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web, web_protocol
from aiohttp.http import HttpRequestParser
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


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.001)
