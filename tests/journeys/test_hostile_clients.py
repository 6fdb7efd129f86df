"""Clients that bend the protocol or starve the gateway: each costs little, and ends soon."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest

from gateway.ledger.store import Store
from gateway.proxy.connection import PublicServer
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Linger, Repeat, Request

ON_EVERY_LOOP = True


@pytest.fixture
async def rig(fake: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    """The store is not the subject here."""
    async with running(fake, tmp_path) as running_rig:
        yield running_rig


OK = [Repeat([Request(), Answer(200, body=b"ok")])]


def asks(rig: Rig, line: str, *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: here", f"X-API-Key: {rig.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_nothing_is_read_behind_a_request_to_upgrade_that_was_not_taken_up(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 41: the head of the second request is lost with the segment it came in, and
    then what is its body would be read as a request."""
    async with running(fake, tmp_path, OK) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        first = asks(rig, "GET /pass/one", "Connection: upgrade", "Upgrade: echo")
        writer.write(first + asks(rig, "POST /pass/two", "Content-Length: 1000"))
        answer = await reader.readuntil(b"\r\n\r\nok")
        assert b"\r\nConnection: close\r\n" in answer
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert [request.target for request in rig.upstream.requests] == [b"/pass/one"]


async def test_a_body_whose_chunks_break_is_refused_at_once(rig: Rig) -> None:
    """failure row 43"""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(asks(rig, "PUT /files/a", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
    await rig.upstream.until(lambda: rig.upstream.bytes_in > 0)
    writer.write(b"zz\r\nhello\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"bad-framing" in answer
    await rig.settled()
    assert await rig.standing() == (0, 0)
    assert b"ERROR" not in rig.log_bytes()


async def test_chunks_that_break_behind_a_head_are_refused_before_the_body_is_asked_for(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, [Linger()]) as rig:
        head = asks(rig, "PUT /files/a", "Transfer-Encoding: chunked")
        for cut in (len(head), len(head) + 3):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            whole = head + b"5\r\nhello\r\nzz\r\n"
            writer.write(whole[:cut])
            await asyncio.sleep(0)
            writer.write(whole[cut:])
            async with asyncio.timeout(5):
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()


async def test_a_client_that_leaves_with_its_head_is_not_served(rig: Rig) -> None:
    """failure row 28: in the moment between the head and the begin of its handling, or right after
    it, where aiohttp does not wait for another turn of the loop (from Python 3.12 on)."""
    _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    server = rig.gateway._server
    assert server is not None
    async with asyncio.timeout(5):
        while not server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
    connection = server.connections[0]
    connection.data_received(asks(rig, "PUT /files/a", "Content-Length: 100"))
    asyncio.get_running_loop().call_soon(connection.connection_lost, None)
    async with asyncio.timeout(5):
        while b'"kind":"access"' not in rig.log_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
    assert b'"outcome":"client-gone"' in rig.log_bytes()
    assert b'"level":"ERROR"' not in rig.log_bytes()
    await rig.settled()
    assert await rig.standing() == (0, 0)
    assert rig.upstream.bytes_in == 0


class Deaf:
    """A client that asks and reads nothing, in front of small buffers of the system."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    async def __aenter__(self) -> Self:
        self.socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self._rig.port))
        async with asyncio.timeout(5):
            while not self._server.connections:  # noqa: ASYNC110
                await asyncio.sleep(0)
        there: socket.socket = self._transport.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def _server(self) -> PublicServer:
        server = self._rig.gateway._server
        assert server is not None
        return server

    @property
    def _transport(self) -> asyncio.Transport:
        transport = self._server.connections[0].transport
        assert transport is not None
        return transport

    @property
    def unread(self) -> int:
        return self._transport.get_write_buffer_size()

    @property
    def answered(self) -> int:
        return self._server.requests_count

    async def ask(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def gone(self) -> None:
        async with asyncio.timeout(5):
            while self._server.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_answers_do_not_pile_up_for_a_client_that_reads_none(rig: Rig) -> None:
    """failure row 63"""
    async with Deaf(rig) as deaf:
        await deaf.ask(asks(rig, "GET /nowhere") * 1_000)
        async with asyncio.timeout(5):
            while not deaf.unread:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answered = -1
        while answered != deaf.answered:
            answered = deaf.answered
            await asyncio.sleep(0.1)
        assert answered < 500
        assert deaf.unread < 128 * 1024


@pytest.mark.parametrize("ending", ["", "Connection: close"])
async def test_a_client_that_takes_no_answer_is_not_kept_for_ever(
    fake: Store, tmp_path: Path, ending: str
) -> None:
    """failure row 32: closing a connection waits until what was written is taken."""
    large = [Repeat([Request(), Answer(200, body=b"x" * 60_000)])]
    wishes = Wishes(server='keepalive = "300ms"')
    async with running(fake, tmp_path, large, wishes=wishes) as rig, Deaf(rig) as deaf:
        await deaf.ask(asks(rig, "GET /pass/x", ending or "Accept: */*"))
        await deaf.gone()


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(
    fake: Store, tmp_path: Path
) -> None:
    large = [Repeat([Request(), Answer(200, body=b"x" * 60_000)])]
    wishes = Wishes(server='keepalive = "200ms"')
    async with running(fake, tmp_path, large, wishes=wishes) as rig, Deaf(rig) as slow:
        await slow.ask(asks(rig, "GET /pass/x", "Connection: close"))
        answer = b""
        while data := await asyncio.get_running_loop().sock_recv(slow.socket, 4_096):
            answer += data
            await asyncio.sleep(0.04)
        assert answer.endswith(b"x" * 60_000)


async def test_a_head_that_goes_on_and_on_is_not_collected(fake: Store, tmp_path: Path) -> None:
    """failure row 63: each of its lines, and their number, would be in order. So its end could be
    waited for, and that never comes."""
    async with running(fake, tmp_path, wishes=Wishes(server='header_timeout = "60s"')) as rig:
        for before in (b"", asks(rig, "GET /pass/x")):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(before + b"GET / HTTP/1.1\r\nHost: here\r\n")
            with contextlib.suppress(ConnectionError):
                for number in range(100):
                    writer.write(b"X-%d: %b\r\n" % (number, b"x" * 6_000))
                    await writer.drain()
                async with asyncio.timeout(20):
                    await reader.read()
            writer.close()


async def test_a_head_that_comes_in_pieces_may_be_as_long_as_is_allowed(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = [f"X-{number}: {'x' * 8_000}" for number in range(4)]
    for _ in range(2):
        head = asks(rig, "PUT /files/a", "Content-Length: 400000", *lines)
        for start in range(0, len(head), 3_000):
            writer.write(head[start : start + 3_000])
            await asyncio.sleep(0)
        writer.write(b"x" * 400_000)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 201")
    writer.close()
