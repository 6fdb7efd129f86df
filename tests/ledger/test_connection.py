"""One shared connection: what leaves together, what comes back to whom, and when it is dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from time import monotonic

import pytest
from hiredis import ReplyError

from gateway.errors import StoreError
from gateway.ledger.connection import Connection
from gateway.ledger.resp import command
from gateway.ledger.transport import Heard
from tests.ledger.puppet import Puppet

ON_EVERY_LOOP = True


def echo(words: list[bytes]) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1])


def silence(words: list[bytes]) -> bytes:
    return b""


@asynccontextmanager
async def connected(
    answer: Callable[[list[bytes]], bytes],
    *,
    timeout_s: float = 0.25,
    pending_max: int = 1000,
    one_slot: bool = False,
    heard: Heard | None = None,
) -> AsyncIterator[tuple[Connection, Puppet]]:
    loop = asyncio.get_running_loop()
    server = Puppet(answer)
    lost: list[Connection] = []
    with TemporaryDirectory(prefix="qg-echo-") as directory:
        listening = await loop.create_unix_server(lambda: server, f"{directory}/s")
        _, connection = await loop.create_unix_connection(
            lambda: Connection(
                "here",
                lost.append,
                timeout_s=timeout_s,
                pending_max=pending_max,
                one_slot=one_slot,
                heard=heard,
            ),
            f"{directory}/s",
        )
        yield connection, server
        connection.drop("the test is over")
        await connection.gone()
        assert lost == [connection]
        server.transport.abort()
        listening.close()
        await listening.wait_closed()


async def test_an_idle_connection_writes_at_once_and_a_busy_one_in_batches() -> None:
    async with connected(echo) as (connection, server):
        calls = [connection.call(command(b"ECHO", b"%d" % n)) for n in range(38)]
        assert await asyncio.gather(*calls) == [b"%d" % n for n in range(38)]
        # 1 at once, 16 and 16 when that many were queued, 5 at the end of the turn; what was
        # written in one turn may be read as one piece.
        assert sum(server.reads) == 38
        assert len(server.reads) <= 4


async def test_who_seldom_comes_alone_is_waited_for() -> None:
    async with connected(echo) as (connection, server):
        several = [command(b"ECHO", b"%d" % n) for n in range(3)]
        await asyncio.gather(*map(connection.call, several))
        await asyncio.gather(*map(connection.call, several))
        assert server.reads[-1] == 3
        waiting = connection.call(command(b"ECHO", b"1"))
        connection.drop("while it waits")
        with pytest.raises(StoreError) as dropped:
            await waiting
        assert not dropped.value.indeterminate


async def test_who_has_come_alone_is_not_kept_waiting() -> None:
    async with connected(echo) as (connection, _):
        several = [command(b"ECHO", b"%d" % n) for n in range(3)]
        await asyncio.gather(*map(connection.call, several))
        assert await connection.call(command(b"ECHO", b"alone")) == b"alone"
        written = connection.call(command(b"ECHO", b"1"))
        connection.drop("while it is under way")
        with pytest.raises(StoreError) as dropped:
            await written
        assert dropped.value.indeterminate


async def test_a_cancelled_caller_keeps_its_place() -> None:
    """failure row 17"""
    async with connected(echo) as (connection, _):
        first, second, third = (
            connection.call(command(b"ECHO", word)) for word in (b"1", b"2", b"3")
        )
        second.cancel()
        assert await first == b"1"
        assert await third == b"3"


async def test_an_error_reply_is_a_value() -> None:
    async with connected(lambda words: b"-ERR no\r\n") as (connection, _):
        reply = await connection.call(command(b"PING"))
        assert isinstance(reply, ReplyError)
        assert str(reply) == "ERR no"


async def test_when_replies_stop_the_connection_is_dropped() -> None:
    """failure row 15"""
    async with connected(silence, timeout_s=0.05) as (connection, _):
        began = monotonic()
        first = connection.call(command(b"PING"))
        later = connection.call(command(b"PING"))
        with pytest.raises(StoreError, match="no answer within 50 ms") as caught:
            await first
        assert caught.value.indeterminate
        assert 0.05 <= monotonic() - began < 0.2
        with pytest.raises(StoreError):
            await later
        with pytest.raises(StoreError, match="connection lost") as caught:
            await connection.call(command(b"PING"))
        assert not caught.value.indeterminate


async def test_a_steady_trickle_of_replies_keeps_the_connection() -> None:
    """Each call has its own time; the connection is not judged by how long it has been busy."""
    async with connected(echo, timeout_s=0.03) as (connection, _):
        until = monotonic() + 0.1
        while monotonic() < until:
            assert await connection.call(command(b"ECHO", b"x")) == b"x"


async def test_a_loop_that_was_busy_itself_does_not_blame_the_store() -> None:
    """failure row 11"""
    async with connected(echo, timeout_s=0.03) as (connection, _):
        waiting = connection.call(command(b"ECHO", b"x"))
        await asyncio.sleep(0)
        blocked_until = monotonic() + 0.1
        while monotonic() < blocked_until:
            pass
        assert await waiting == b"x"


async def test_what_was_not_written_has_not_happened() -> None:
    async with connected(echo) as (connection, _):
        written = connection.call(command(b"ECHO", b"1"))
        queued = connection.call(command(b"ECHO", b"2"))
        connection.drop("in the middle")
        outcomes = await asyncio.gather(written, queued, return_exceptions=True)
        assert [getattr(error, "indeterminate", None) for error in outcomes] == [True, False]


async def test_what_is_no_redis_is_left() -> None:
    async with connected(lambda words: b"HTTP/1.1 400 Bad Request\r\n\r\n") as (connection, _):
        with pytest.raises(StoreError, match="not the protocol of Redis"):
            await connection.call(command(b"PING"))


async def test_a_reply_too_many_ends_the_connection() -> None:
    """failure row 17"""
    async with connected(lambda words: b"+OK\r\n+OK\r\n") as (connection, _):
        assert await connection.call(command(b"PING")) == b"OK"
        await connection.gone()


async def test_retiring_waits_for_the_calls_under_way() -> None:
    async with connected(echo) as (connection, _):
        waiting = connection.call(command(b"ECHO", b"x"))
        connection.retire()
        assert await waiting == b"x"
        await connection.gone()


async def test_room_comes_with_the_replies() -> None:
    async with connected(echo, pending_max=2) as (connection, _):
        calls = [connection.call(command(b"ECHO", b"x")) for _ in range(2)]
        assert connection.full
        await connection.room()
        assert not connection.full
        await asyncio.gather(*calls)
