"""What an upstream may do to a connection, and what the gateway makes of it, on both loops."""

import asyncio

import pytest

from gateway.errors import (
    UPSTREAM_FAILED,
    UPSTREAM_MALFORMED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Error,
)
from gateway.proxy.answer import Headers
from tests.proxy.exchanges import (
    PATIENCE_S,
    ask,
    body_of,
    failure_of,
    how_it_breaks,
    request,
    serving,
    start,
)
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
    Send,
    Step,
    Wait,
)

ON_EVERY_LOOP = True

OK = b"HTTP/1.1 200 OK\r\n"


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
async def test_a_connection_is_kept_after_a_proper_end_only(
    method: bytes, answer: Step, body: bytes, kept: bool
) -> None:
    """failure row 39, failure row 41"""
    async with serving([Repeat([Request(), answer])]) as (upstream, pool):
        for _ in range(3):
            connection = await ask(pool, method)
            await connection.head(PATIENCE_S)
            assert await body_of(connection) == body
            connection.release()
            assert pool.idle == (1 if kept else 0)
        assert upstream.connections == (1 if kept else 3)


async def test_a_small_answer_is_all_there_with_its_head() -> None:
    async with serving([Request(), Answer(200, body=b"hello")]) as (_, pool):
        connection = await ask(pool)
        head = await connection.head(PATIENCE_S)
        assert (head.status, head.reason, head.length) == (200, b"Scripted", 5)
        assert await connection.read(0.0) == b"hello"
        assert await connection.read(0.0) == b""
        assert await connection.read(0.0) == b""


async def test_an_answer_may_end_with_its_connection() -> None:
    script: Script = [Request(), Answer(200, body=b"to the end", length=None), Close()]
    async with serving(script) as (_, pool):
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).length is None
        assert await body_of(connection) == b"to the end"
        connection.release()
        assert pool.idle == 0


async def test_trailers_come_with_the_end() -> None:
    answer = Answer(200, body=b"x", chunked=True, trailers=[(b"X-Sum", b"9")])
    async with serving([Request(), answer]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b"x"
        assert connection.trailers == [(b"X-Sum", b"9")]


async def test_interim_answers_are_told_apart_from_the_final_one() -> None:
    """failure row 39"""
    script: Script = [
        Head(),
        Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        Body(),
        Answer(201),
    ]
    async with serving(script) as (_, pool):
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
async def test_a_truncated_answer_has_a_head_but_no_end(ending: tuple[Step, Step]) -> None:
    """failure row 38: the status is known, and that the body is not whole."""
    seen = asyncio.Event()
    async with serving([Request(), ending[0], Wait(seen), ending[1]]) as (_, pool):
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).status == 200
        seen.set()
        failure = await how_it_breaks(connection)
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
async def test_what_is_no_answer_fails_and_ends_the_connection(
    script: Script, error: Error
) -> None:
    """failure row 34, failure row 41"""
    async with serving(script) as (upstream, pool):
        connection = await ask(pool)
        failure = await how_it_breaks(connection)
        assert failure.error is error
        assert not failure.before_bytes
        await upstream.until(lambda: upstream.open == 0)
        assert pool.open == pool.idle == 0


@pytest.mark.parametrize("ending", [Close(), Reset()])
async def test_a_kept_connection_that_dies_before_any_byte_says_so(ending: Step) -> None:
    async with serving([Request(), Answer(200), Head(), ending]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        connection = await ask(pool)
        assert connection.reused
        failure = await how_it_breaks(connection)
        assert failure.error is UPSTREAM_FAILED
        assert failure.before_bytes


async def test_a_kept_connection_that_dies_after_a_byte_is_no_case_for_another_try() -> None:
    async with serving([Request(), Answer(200), Head(), Send(b"H"), Close()]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        failure = await how_it_breaks(await ask(pool))
        assert failure.error is UPSTREAM_FAILED
        assert not failure.before_bytes


async def test_a_kept_connection_that_is_slow_is_no_case_for_another_try() -> None:
    """failure row 35: what it was asked to do may be done."""
    async with serving([Request(), Answer(200), Head(), Hang()]) as (_, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        connection = await ask(pool)
        failure = await failure_of(connection.head(0.05))
        assert failure is not None
        assert failure.error is UPSTREAM_TIMEOUT
        assert not failure.before_bytes
        connection.abort()


@pytest.mark.parametrize("ending", [Close(), Reset(), Send(b"HTTP/1.1 408 Too late\r\n\r\n")])
async def test_a_kept_connection_that_ends_or_speaks_unasked_is_dropped(ending: Step) -> None:
    """failure row 41: an answer nobody asked for must not meet the next request."""
    again = asyncio.Event()
    script: Script = [Request(), Answer(200), Wait(again), ending]
    async with serving(script, [Request(), Answer(201)]) as (upstream, pool):
        connection = await ask(pool)
        assert await body_of(connection) == b""
        connection.release()
        assert pool.idle == 1
        again.set()
        await upstream.until(lambda: upstream.open == 0)
        connection = await ask(pool)
        assert (await connection.head(PATIENCE_S)).status == 201


async def test_an_upstream_that_speaks_first_is_not_believed() -> None:
    """failure row 41. It may have spoken before the connection is handed out, or after."""
    async with serving([Send(Answer(200, body=b"forged").wire())]) as (upstream, pool):

        async def ask_late() -> None:
            connection = await pool.connect()
            await upstream.until(lambda: upstream.open == 0)
            assert (await how_it_breaks(start(connection))).error is UPSTREAM_MALFORMED

        failure = await failure_of(ask_late())
        assert failure is None or failure.error is UPSTREAM_UNREACHABLE


async def test_another_protocol_after_101() -> None:
    async with serving([Request(), SWITCH, Send(b"welcome"), Echo()]) as (upstream, pool):
        connection = await pool.connect()
        connection.begin(b"GET", upgrade=True)
        connection.send(request(b"GET"))
        connection.end()
        assert (await connection.head(PATIENCE_S)).upgrade
        got = b""
        while len(got) < len(b"welcome"):
            got += await connection.read(PATIENCE_S)
        connection.send(b"HTTP/1.1 \x00\xff")
        await connection.drain()
        assert (got, await connection.read(PATIENCE_S)) == (b"welcome", b"HTTP/1.1 \x00\xff")
        connection.release()
        assert pool.idle == 0
        await upstream.until(lambda: upstream.open == 0)


async def test_the_other_protocol_ends_with_the_connection() -> None:
    async with serving([Request(), SWITCH, Send(b"bye"), Close()]) as (_, pool):
        connection = await pool.connect()
        connection.begin(b"GET", upgrade=True)
        connection.send(request(b"GET"))
        connection.end()
        assert await body_of(connection) == b"bye"
