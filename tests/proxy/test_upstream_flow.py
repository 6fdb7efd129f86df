"""Who waits for whom: time limits, backpressure, and uploads that are cut short, on both loops."""

import asyncio
import socket
import threading
from contextlib import suppress

import pytest

from gateway.catalog.routes import Upstream
from gateway.errors import UPSTREAM_FAILED, UPSTREAM_TIMEOUT, UpstreamError
from gateway.proxy.upstream import QUEUE_BYTES_MAX, UpstreamConnection
from tests.proxy.exchanges import (
    PATIENCE_S,
    SOON_S,
    ask,
    body_of,
    how_it_breaks,
    pool_of,
    serving,
    upload_begun,
)
from tests.upstreams import (
    Answer,
    Body,
    Close,
    Drip,
    Hang,
    Head,
    Request,
    Reset,
    Script,
    Stream,
    Wait,
)

ON_EVERY_LOOP = True


async def failure_of_upload(connection: UpstreamConnection, timeout_s: float) -> UpstreamError:
    """What goes wrong when more and more of a body is sent."""
    try:
        for _ in range(16_384):
            connection.send(b"a" * 65_536)
            await connection.drain(timeout_s)
            await asyncio.sleep(0)
    except UpstreamError as failure:
        return failure
    raise AssertionError("the upstream took it all")


async def test_no_answer_in_time() -> None:
    """failure row 35"""
    async with serving([Request(), Hang()]) as (upstream, pool):
        connection = await ask(pool, b"PUT", b"whole")
        with pytest.raises(UpstreamError) as caught:
            await connection.head(SOON_S)
        assert caught.value.error is UPSTREAM_TIMEOUT
        assert upstream.requests[0].ended
        connection.abort()


async def test_an_answer_that_stalls() -> None:
    """failure row 35"""
    async with serving([Request(), Answer(200, body=b"hel", length=5), Hang()]) as (_, pool):
        connection = await ask(pool)
        assert await connection.read(PATIENCE_S) == b"hel"
        with pytest.raises(UpstreamError) as caught:
            await connection.read(SOON_S)
        assert caught.value.error is UPSTREAM_TIMEOUT
        connection.release()
        assert pool.idle == 0


async def test_a_drip_in_time_is_no_stall() -> None:
    """The limit is on each wait, not on the whole answer."""
    answer: Script = [Answer(200, length=30), Drip(b"a" * 30, every_s=0.01)]
    async with serving([Request(), *answer]) as (_, pool):
        connection = await ask(pool)
        pieces = b""
        while piece := await connection.read(0.25):
            pieces += piece
        assert pieces == b"a" * 30


async def test_an_upload_waits_for_an_upstream_that_does_not_read() -> None:
    go = asyncio.Event()
    async with serving([Head(), Wait(go), Body(), Answer(201)]) as (upstream, pool):
        piece, sent = b"a" * 262_144, 0
        connection = await upload_begun(pool, 128 * len(piece))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                for _ in range(128):
                    connection.send(piece)
                    sent += 1
                    await connection.drain()
        assert sent < 128
        go.set()
        for _ in range(128 - sent):
            connection.send(piece)
            await connection.drain(PATIENCE_S)
        connection.end()
        assert (await connection.head(PATIENCE_S)).status == 201
        assert upstream.requests[0].body_bytes == 128 * len(piece)


async def test_an_upload_to_an_upstream_that_never_reads_times_out() -> None:
    async with serving([Head(), Hang()]) as (_, pool):
        connection = await upload_begun(pool, 1 << 30)
        assert (await failure_of_upload(connection, SOON_S)).error is UPSTREAM_TIMEOUT
        connection.abort()


async def test_an_answer_nobody_reads_does_not_pile_up_here() -> None:
    total = 64 * 1024 * 1024
    async with serving([Request(), Answer(200, length=total), Stream(total)]) as (upstream, pool):
        connection = await ask(pool)
        await connection.head(PATIENCE_S)
        await upstream.until(lambda: upstream.bytes_out > 1024 * 1024)
        got = 0
        while piece := await connection.read(PATIENCE_S):
            assert len(piece) <= 2 * QUEUE_BYTES_MAX
            got += len(piece)
        assert got == total
        connection.release()
        assert pool.idle == 1


EARLY: list[Script] = [
    [Head(), Body(65_536), Answer(413, body=b"too large"), Close()],
    [Head(), Body(65_536), Answer(413, body=b"too large"), Hang()],
    [Head(), Body(65_536), Answer(413, [(b"Connection", b"close")], b"too large"), Close()],
    [Head(), Body(65_536), Answer(413, body=b"too large", length=None), Close()],
]


@pytest.mark.parametrize("script", EARLY)
async def test_an_answer_before_the_bodys_end_stops_the_upload(script: Script) -> None:
    """failure row 37: also of an upstream that closes at once, with the upload unread."""
    async with serving(script) as (_, pool):
        connection = await upload_begun(pool, 1 << 30)
        calls: list[bool] = []
        connection.on_answer = lambda: calls.append(connection.answered)
        while not connection.answered:
            connection.send(b"a" * 65_536)
            await connection.drain(PATIENCE_S)
            await asyncio.sleep(0)
        assert calls == [True]
        assert (await connection.head(PATIENCE_S)).status == 413
        assert await connection.read(PATIENCE_S) == b"too large"
        connection.release()
        assert pool.idle == 0


async def test_a_reset_while_the_body_is_sent() -> None:
    """failure row 34"""
    async with serving([Head(), Body(65_536), Reset()]) as (_, pool):
        connection = await upload_begun(pool, 1 << 30)
        calls: list[bool] = []
        connection.on_answer = lambda: calls.append(connection.answered)
        assert (await failure_of_upload(connection, PATIENCE_S)).error is UPSTREAM_FAILED
        assert calls == [True]
        assert (await how_it_breaks(connection)).error is UPSTREAM_FAILED


async def test_breaking_off_is_seen_as_a_reset() -> None:
    """failure row 29: never as the proper end of what was sent."""
    async with serving([Head(), Body()]) as (upstream, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await upstream.until(lambda: [r.body_bytes for r in upstream.requests] == [5])
        connection.abort()
        await upstream.until(lambda: upstream.open == 0)
        assert upstream.resets == 1
        assert not upstream.requests[0].ended


async def test_a_request_that_was_not_sent_whole_ends_the_connection() -> None:
    async with serving([Head(), Answer(200), Hang()]) as (upstream, pool):
        connection = await upload_begun(pool, 5)
        connection.send(b"hel")
        assert (await connection.head(PATIENCE_S)).status == 200
        connection.release()
        assert pool.idle == 0
        assert upstream.connections == 1


async def test_an_answer_is_not_lost_when_our_next_write_fails_first() -> None:
    """failure row 37: the upstream has refused and closed before we look at the socket again."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        line, _ = listener.accept()
        line.recv(10)
        line.send(Answer(507, body=b"disk full").wire())
        line.close()  # With what was sent unread, this is a RST.

    thread = threading.Thread(target=refuse)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with pool_of(Upstream("refuses", url)) as pool:
        connection = await upload_begun(pool, 1 << 30)
        thread.join(PATIENCE_S)
        for _ in range(3):
            connection.send(b"a" * 65_536)
        assert (await connection.head(PATIENCE_S)).status == 507
        assert await body_of(connection) == b"disk full"
        connection.release()
        assert pool.idle == 0
    listener.close()


async def test_whoever_waits_may_be_cancelled() -> None:
    go = asyncio.Event()
    async with serving([Request(), Wait(go), Answer(200, body=b"late")]) as (_, pool):
        connection = await ask(pool)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON_S):
                await connection.head(PATIENCE_S)
        go.set()
        assert (await connection.head(PATIENCE_S)).status == 200
        assert await body_of(connection) == b"late"
        connection.release()
        assert pool.idle == 1
