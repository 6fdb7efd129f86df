"""What an upstream may do to a connection, and what the gateway makes of it, on both loops."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.catalog.routes import Upstream
from gateway.errors import (
    UPSTREAM_FAILED,
    UPSTREAM_MALFORMED,
    UPSTREAM_TIMEOUT,
    Error,
    UpstreamError,
)
from gateway.proxy.answer import Headers
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream import QUEUE_BYTES_MAX, UpstreamConnection
from tests.loops import on_both_loops
from tests.upstreams import (
    SWITCH,
    Answer,
    Body,
    Close,
    Drip,
    Echo,
    Hang,
    Head,
    Repeat,
    Request,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Step,
    Stream,
    Wait,
)

PATIENCE_S = 10.0
"""More than anything here takes."""
SOON_S = 0.05
"""A time limit that is meant to pass."""

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def pool_to(*scripts: Script) -> AsyncIterator[tuple[ScriptedUpstream, UpstreamPool]]:
    async with ScriptedUpstream(*scripts) as upstream:
        pool = UpstreamPool(Upstream("scripted", upstream.url))
        try:
            yield upstream, pool
        finally:
            await pool.close()


async def ask(pool: UpstreamPool, method: bytes = b"GET", body: bytes = b"") -> UpstreamConnection:
    """A whole request on its way."""
    connection = await pool.connect()
    connection.begin(method)
    connection.send(request(method, len(body)) + body)
    connection.end()
    return connection


def request(method: bytes, length: int) -> bytes:
    return b"%b /thing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (method, length)


async def body_of(connection: UpstreamConnection) -> bytes:
    pieces = []
    while piece := await connection.read(PATIENCE_S):
        pieces.append(piece)
    return b"".join(pieces)


async def failure_of(connection: UpstreamConnection) -> UpstreamError:
    """What goes wrong when the whole answer is read."""
    try:
        await connection.head(PATIENCE_S)
        body = await body_of(connection)
    except UpstreamError as failure:
        connection.abort()
        return failure
    raise AssertionError(f"the answer ended properly with {body!r}")


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


ANSWERS = [
    # (method, the step that answers, body, kept)
    (b"GET", Answer(200, body=b"hello"), b"hello", True),
    (b"GET", Answer(200, body=b""), b"", True),
    (b"GET", Answer(200, body=[b"hel", b"lo"], chunked=True), b"hello", True),
    (b"GET", Answer(404, body=b"no"), b"no", True),
    (b"GET", Answer(204), b"", True),
    (b"GET", Answer(304, [(b"Content-Length", b"5")]), b"", True),
    (b"HEAD", Answer(200, length=5), b"", True),
    (b"HEAD", Send(OK + b"Transfer-Encoding: chunked\r\n\r\n"), b"", True),
    (b"HEAD", Send(OK + b"\r\n"), b"", True),
    (b"GET", Drip(Answer(200, body=b"slow").wire(), every_s=0.001), b"slow", True),
    (b"GET", Answer(200, [(b"Connection", b"close")], b"bye"), b"bye", False),
    (b"GET", Send(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"), b"old", False),
    (b"GET", Send(Answer(200, body=b"hello").wire() + b"EXTRA"), b"hello", False),
    (b"GET", Send(Answer(204).wire() + b"EXTRA"), b"", False),
    (b"HEAD", Send(OK + b"Content-Length: 5\r\n\r\nhello"), b"", False),
    (b"GET", Send(Answer(body=b"one").wire() + Answer(body=b"two").wire()), b"one", False),
]  # fmt: skip


@pytest.mark.parametrize(("method", "answer", "body", "kept"), ANSWERS)
@on_both_loops
async def test_a_connection_is_kept_after_a_proper_end_only(
    method: bytes, answer: Step, body: bytes, kept: bool
) -> None:
    """failure row 39, failure row 41"""
    async with pool_to([Repeat([Request(), answer])]) as (upstream, pool):
        for _ in range(3):
            connection = await ask(pool, method)
            await connection.head(PATIENCE_S)
            assert await body_of(connection) == body
            connection.release()
            assert pool.idle == (1 if kept else 0)
        assert upstream.connections == (1 if kept else 3)


@on_both_loops
async def test_a_small_answer_is_all_there_with_its_head() -> None:
    async with pool_to([Request(), Answer(200, body=b"hello")]) as (_, pool):
        connection = await ask(pool)
        head = await connection.head(PATIENCE_S)
        assert (head.status, head.reason, head.length) == (200, b"Scripted", 5)
        assert await connection.read(0.0) == b"hello"
        assert await connection.read(0.0) == b""
        assert await connection.read(0.0) == b""


@on_both_loops
async def test_an_answer_may_end_with_its_connection() -> None:
    script: Script = [Request(), Answer(200, body=b"to the end", length=None), Close()]
    async with pool_to(script) as (_, pool):
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).length is None
        assert await body_of(connection) == b"to the end"
        connection.release()
        assert pool.idle == 0


@on_both_loops
async def test_trailers_come_with_the_end() -> None:
    answer = Answer(200, body=b"x", chunked=True, trailers=[(b"X-Sum", b"9")])
    async with pool_to([Request(), answer]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b"x"
        assert connection.trailers == [(b"X-Sum", b"9")]


@on_both_loops
async def test_interim_answers_are_told_apart_from_the_final_one() -> None:
    """failure row 39"""
    script: Script = [
        Head(),
        Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        Body(),
        Answer(201),
    ]
    async with pool_to(script) as (_, pool):
        told: list[tuple[int, Headers]] = []
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.on_informational = lambda status, headers: told.append((status, headers))
        connection.send(request(b"PUT", 4) + b"body")
        connection.end()
        assert (await connection.head(PATIENCE_S)).status == 201
        assert told == [(103, ((b"Link", b"</a>"),))]
        connection.release()
        assert pool.idle == 1


TRUNCATED = [
    (Answer(200, body=b"hell", length=5), Close()),
    (Answer(200, body=b"hell", length=5), Reset()),
    (Answer(200, body=b"", length=5), Close()),
    (Send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), Close()),
    (Send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), Close()),
    (Send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), Reset()),
    (Answer(200, body=b"no end", length=None), Reset()),
]


@pytest.mark.parametrize("ending", TRUNCATED)
@on_both_loops
async def test_a_truncated_answer_has_a_head_but_no_end(ending: tuple[Step, Step]) -> None:
    """failure row 38: the status is known, and that the body is not whole."""
    seen = asyncio.Event()
    async with pool_to([Request(), ending[0], Wait(seen), ending[1]]) as (_, pool):
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).status == 200
        seen.set()
        failure = await failure_of(connection)
        assert failure.error is UPSTREAM_FAILED
        assert not failure.before_bytes
        assert pool.idle == 0


BREAKS: list[tuple[Script, Error]] = [
    ([Request(), Close()], UPSTREAM_FAILED),
    ([Request(), Reset()], UPSTREAM_FAILED),
    ([Request(), Send(b"HTTP/1.1 2"), Close()], UPSTREAM_FAILED),
    ([Request(), Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Close()], UPSTREAM_FAILED),
    ([Request(), Send(b"SSH-2.0-OpenSSH_9.2\r\n")], UPSTREAM_MALFORMED),
    ([Request(), Send(b"HTTP/0.9 200 OK\r\n\r\n")], UPSTREAM_MALFORMED),
    ([Request(), Send(OK + b"Content-Length: 1\r\n" * 2 + b"\r\nx")], UPSTREAM_MALFORMED),
    ([Request(), Send(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")], UPSTREAM_MALFORMED),
    ([Request(), Send(OK + b"X: " + b"a" * 70_000)], UPSTREAM_MALFORMED),
    ([Request(), SWITCH], UPSTREAM_MALFORMED),
]  # fmt: skip


@pytest.mark.parametrize(("script", "error"), BREAKS)
@on_both_loops
async def test_what_is_no_answer_fails_and_ends_the_connection(
    script: Script, error: Error
) -> None:
    """failure row 34, failure row 41"""
    async with pool_to(script) as (upstream, pool):
        connection = await ask(pool)
        failure = await failure_of(connection)
        assert failure.error is error
        assert not failure.before_bytes
        await upstream.until(lambda: upstream.open == 0)
        assert pool.open == pool.idle == 0


@pytest.mark.parametrize("ending", [Close(), Reset()])
@on_both_loops
async def test_a_kept_connection_that_dies_before_any_byte_says_so(ending: Step) -> None:
    async with pool_to([Request(), Answer(200), Head(), ending]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        connection = await ask(pool)
        assert connection.reused
        failure = await failure_of(connection)
        assert failure.error is UPSTREAM_FAILED
        assert failure.before_bytes


@on_both_loops
async def test_a_kept_connection_that_dies_after_a_byte_is_no_case_for_another_try() -> None:
    async with pool_to([Request(), Answer(200), Head(), Send(b"H"), Close()]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        failure = await failure_of(await ask(pool))
        assert failure.error is UPSTREAM_FAILED
        assert not failure.before_bytes


@pytest.mark.parametrize("ending", [Close(), Reset(), Send(b"HTTP/1.1 408 Too late\r\n\r\n")])
@on_both_loops
async def test_a_kept_connection_that_ends_or_speaks_unasked_is_dropped(ending: Step) -> None:
    """failure row 41: an answer nobody asked for must not meet the next request."""
    again = asyncio.Event()
    script: Script = [Request(), Answer(200), Wait(again), ending]
    async with pool_to(script, [Request(), Answer(201)]) as (upstream, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        assert pool.idle == 1
        again.set()
        await upstream.until(lambda: upstream.open == 0)
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).status == 201


@on_both_loops
async def test_an_upstream_that_speaks_first_is_not_believed() -> None:
    """failure row 41"""
    async with pool_to([Send(Answer(200, body=b"forged").wire())]) as (upstream, pool):
        connection = await pool.connect()
        await upstream.until(lambda: upstream.open == 0)
        connection.begin(b"GET")
        connection.send(request(b"GET", 0))
        connection.end()
        assert (await failure_of(connection)).error is UPSTREAM_MALFORMED


@on_both_loops
async def test_no_answer_in_time() -> None:
    """failure row 35"""
    async with pool_to([Request(), Hang()]) as (upstream, pool):
        connection = await ask(pool, b"PUT", b"whole")
        with pytest.raises(UpstreamError) as caught:
            await connection.head(SOON_S)
        assert caught.value.error is UPSTREAM_TIMEOUT
        assert upstream.requests[0].ended
        connection.abort()


@on_both_loops
async def test_an_answer_that_stalls() -> None:
    """failure row 35"""
    async with pool_to([Request(), Answer(200, body=b"hel", length=5), Hang()]) as (_, pool):
        connection = await ask(pool)
        assert await connection.read(PATIENCE_S) == b"hel"
        with pytest.raises(UpstreamError) as caught:
            await connection.read(SOON_S)
        assert caught.value.error is UPSTREAM_TIMEOUT
        connection.release()
        assert pool.idle == 0


@on_both_loops
async def test_a_drip_in_time_is_no_stall() -> None:
    """The limit is on each wait, not on the whole answer."""
    answer: Script = [Answer(200, length=30), Drip(b"a" * 30, every_s=0.01)]
    async with pool_to([Request(), *answer]) as (_, pool):
        connection = await ask(pool)
        pieces = b""
        while piece := await connection.read(0.25):
            pieces += piece
        assert pieces == b"a" * 30


@on_both_loops
async def test_an_upload_waits_for_an_upstream_that_does_not_read() -> None:
    go = asyncio.Event()
    async with pool_to([Head(), Wait(go), Body(), Answer(201)]) as (upstream, pool):
        piece, sent = b"a" * 262_144, 0
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (128 * len(piece)))
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


@on_both_loops
async def test_an_upload_to_an_upstream_that_never_reads_times_out() -> None:
    async with pool_to([Head(), Hang()]) as (_, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(request(b"PUT", 1 << 30))
        assert (await failure_of_upload(connection, SOON_S)).error is UPSTREAM_TIMEOUT
        connection.abort()


@on_both_loops
async def test_an_answer_nobody_reads_does_not_pile_up_here() -> None:
    total = 64 * 1024 * 1024
    async with pool_to([Request(), Answer(200, length=total), Stream(total)]) as (upstream, pool):
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
@on_both_loops
async def test_an_answer_before_the_bodys_end_stops_the_upload(script: Script) -> None:
    """failure row 37: also of an upstream that closes at once, with the upload unread."""
    async with pool_to(script) as (_, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        calls: list[bool] = []
        connection.on_answer = lambda: calls.append(connection.answered)
        connection.send(request(b"PUT", 1 << 30))
        while not connection.answered:
            connection.send(b"a" * 65_536)
            await connection.drain(PATIENCE_S)
            await asyncio.sleep(0)
        assert calls == [True]
        assert (await connection.head(PATIENCE_S)).status == 413
        assert await connection.read(PATIENCE_S) == b"too large"
        connection.release()
        assert pool.idle == 0


@on_both_loops
async def test_a_reset_while_the_body_is_sent() -> None:
    """failure row 34"""
    async with pool_to([Head(), Body(65_536), Reset()]) as (_, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        calls: list[bool] = []
        connection.on_answer = lambda: calls.append(connection.answered)
        connection.send(request(b"PUT", 1 << 30))
        assert (await failure_of_upload(connection, PATIENCE_S)).error is UPSTREAM_FAILED
        assert calls == [True]
        assert (await failure_of(connection)).error is UPSTREAM_FAILED


@on_both_loops
async def test_breaking_off_is_seen_as_a_reset() -> None:
    """failure row 29: never as the proper end of what was sent."""
    async with pool_to([Head(), Body()]) as (upstream, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await upstream.until(lambda: [r.body_bytes for r in upstream.requests] == [5])
        connection.abort()
        await upstream.until(lambda: upstream.open == 0)
        assert upstream.resets == 1
        assert not upstream.requests[0].ended


@on_both_loops
async def test_a_request_that_was_not_sent_whole_ends_the_connection() -> None:
    async with pool_to([Head(), Answer(200), Hang()]) as (upstream, pool):
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(request(b"PUT", 5) + b"hel")
        assert (await connection.head(PATIENCE_S)).status == 200
        connection.release()
        assert pool.idle == 0
        assert upstream.connections == 1


@on_both_loops
async def test_whoever_waits_may_be_cancelled() -> None:
    go = asyncio.Event()
    async with pool_to([Request(), Wait(go), Answer(200, body=b"late")]) as (_, pool):
        connection = await ask(pool)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON_S):
                await connection.head(PATIENCE_S)
        go.set()
        assert (await connection.head(PATIENCE_S)).status == 200
        assert await body_of(connection) == b"late"
        connection.release()
        assert pool.idle == 1


@on_both_loops
async def test_another_protocol_after_101() -> None:
    async with pool_to([Request(), SWITCH, Send(b"welcome"), Echo()]) as (upstream, pool):
        connection = await pool.connect()
        connection.begin(b"GET", upgrade=True)
        connection.send(request(b"GET", 0))
        connection.end()
        assert (await connection.head(PATIENCE_S)).upgrade
        got = b""
        while len(got) < len(b"welcome"):
            got += await connection.read_raw(PATIENCE_S)
        connection.send(b"HTTP/1.1 \x00\xff")
        await connection.drain()
        assert (got, await connection.read_raw(PATIENCE_S)) == (b"welcome", b"HTTP/1.1 \x00\xff")
        connection.release()
        assert pool.idle == 0
        await upstream.until(lambda: upstream.open == 0)


@on_both_loops
async def test_the_other_protocol_ends_with_the_connection() -> None:
    async with pool_to([Request(), SWITCH, Send(b"bye"), Close()]) as (_, pool):
        connection = await pool.connect()
        connection.begin(b"GET", upgrade=True)
        connection.send(request(b"GET", 0))
        connection.end()
        assert await body_of(connection) == b"bye"


@on_both_loops
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
    pool = UpstreamPool(Upstream("refuses", f"http://127.0.0.1:{listener.getsockname()[1]}"))
    connection = await pool.connect()
    connection.begin(b"PUT")
    connection.send(request(b"PUT", 1 << 30))
    thread.join(PATIENCE_S)
    for _ in range(3):
        connection.send(b"a" * 65_536)
    assert (await connection.head(PATIENCE_S)).status == 507
    assert await connection.read(PATIENCE_S) == b"disk full"
    assert await connection.read(PATIENCE_S) == b""
    connection.release()
    assert pool.idle == 0
    await pool.close()
    listener.close()
