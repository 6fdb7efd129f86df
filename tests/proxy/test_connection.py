"""A client's connection: what may happen to it between two steps of aiohttp's."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from gateway.proxy.connection import KEEP, Arrival, ConnectionLimits, PublicServer
from gateway.proxy.vessels import Vessels


class Wire(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        super().__init__({})
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


async def test_a_client_that_is_lost_as_its_request_comes_is_no_error() -> None:
    """failure row 28: aiohttp's task has been told of a request, and has not yet woken up."""
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    begun: list[Arrival] = []

    async def serve(arrival: Arrival) -> web.StreamResponse:
        begun.append(arrival)
        return KEEP

    connection = PublicServer(serve, ConnectionLimits(), lambda _: b"", Vessels())._connection()
    connection.connection_made(Wire())
    task = connection._task_handler
    assert task is not None
    await asyncio.sleep(0)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    connection.connection_lost(ConnectionResetError())
    await asyncio.wait([task])
    del connection, task
    await asyncio.sleep(0)
    assert failures == []
    assert begun == []


async def test_a_connection_is_at_rest_only_between_two_requests() -> None:
    """Else a request that has just come would be lost to a drain."""
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def serve(arrival: Arrival) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return KEEP

    connection = PublicServer(serve, ConnectionLimits(), lambda _: b"", Vessels())._connection()
    connection.connection_made(Wire())
    await asyncio.sleep(0)
    connection.data_received(b"GET / HTTP/1.1\r\nHost:")
    assert not connection.idle
    connection.data_received(b" here\r\n\r\n")
    assert not connection.idle
    await begun.wait()
    assert not connection.idle
    go_on.set()
    for _ in range(9):  # turns of the loop
        await asyncio.sleep(0)
    assert connection.idle
    connection.data_received(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert not connection.idle
    connection.connection_lost(None)
    await asyncio.sleep(0)


@pytest.mark.parametrize("by", ["a drain", "its client"])
async def test_what_is_read_for_nobody_is_given_up_without_a_word(
    caplog: pytest.LogCaptureFixture, by: str
) -> None:
    """A request was answered before its body's end; more of that comes just as it is closed."""

    async def serve(arrival: Arrival) -> web.StreamResponse:
        return KEEP

    server = PublicServer(serve, ConnectionLimits(), lambda _: b"", Vessels())
    connection = server._connection()
    connection.connection_made(Wire())
    task = connection._task_handler
    assert task is not None
    await asyncio.sleep(0)
    connection.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nbody")
    for _ in range(9):  # turns of the loop
        await asyncio.sleep(0)
    assert not task.done()
    connection.data_received(b"more")
    if by == "a drain":
        server.pre_shutdown()
    else:
        connection.connection_lost(None)
    await asyncio.wait([task])
    assert caplog.text == ""
