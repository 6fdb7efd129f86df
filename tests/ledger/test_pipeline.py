"""The pipelined transport against real servers, through every fault that a network has."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from gateway.errors import STORE_FULL, STORE_UNAVAILABLE, StoreError
from gateway.ledger.address import Address
from gateway.ledger.pipeline import Limits, PipelinedTransport
from tests.fault_proxy import FaultProxy
from tests.ledger.puppet import Puppet
from tests.ledger.scripts import ADD, ADD_ONCE, ECHO, script
from tests.loop_time import loop_time
from tests.redis_server import RedisServer
from tests.stores import newest

ADMISSION_BOUND_S = 0.3 + 0.1
"""What is promised, and something for five hundred calls at once; in the loop's own time."""

PATIENT = Limits(op_timeout_s=60, wait_s=60)
"""For tests of something else than time: no call of theirs is given up by a slow machine."""

ON_EVERY_LOOP = True


@asynccontextmanager
async def connected(
    place: str | Address, limits: Limits | None = None
) -> AsyncIterator[PipelinedTransport]:
    address = Address(path=place) if isinstance(place, str) else place

    async def locate() -> Address:
        return address

    transport = PipelinedTransport(locate, limits)
    await transport.start()
    try:
        yield transport
    finally:
        await transport.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[PipelinedTransport]:
    async with connected(str(redis_server.socket)) as transport:
        yield transport


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(str(redis_server.socket)) as running:
        yield running


@pytest.fixture
async def proxied(proxy: FaultProxy) -> AsyncIterator[PipelinedTransport]:
    assert isinstance(proxy.place, str)
    async with connected(proxy.place) as transport:
        yield transport


@pytest.fixture
def own_directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="qg-redis-") as directory:
        yield Path(directory)


async def until_served(redis: PipelinedTransport) -> None:
    """Until the transport has found the way back by itself."""
    async with asyncio.timeout(5):
        while True:
            try:
                await redis.run(ECHO, [b"k"], [b"back"])
                return
            except StoreError:
                await asyncio.sleep(0.01)


async def add_with_retry(redis: PipelinedTransport, operation: bytes) -> object:
    """As the ledger does it: the same id again, until there is an answer."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await redis.run(ADD_ONCE, [b"n", b"ids"], [operation])
            except StoreError as error:
                if not error.transient:
                    raise
                await asyncio.sleep(0.01)


async def test_every_caller_gets_the_reply_to_its_own_call(redis: PipelinedTransport) -> None:
    words = [b"%d" % n for n in range(1_000)]
    assert await asyncio.gather(*(redis.run(ECHO, [b"k"], [w]) for w in words)) == words


async def test_ten_thousand_cancelled_calls_cause_no_crosstalk(proxy: FaultProxy) -> None:
    """failure row 17"""
    random = Random(17)
    proxy.slices = random
    loop = asyncio.get_running_loop()
    tasks: list[tuple[bytes, asyncio.Task[object]]] = []

    async with connected(str(proxy.place), PATIENT) as transport:

        async def call(word: bytes) -> object:
            return await transport.run(ECHO, [b"k"], [word])

        async with asyncio.TaskGroup() as group:
            for number in range(20_000):
                word = b"%d" % number
                task = group.create_task(call(word))
                tasks.append((word, task))
                if number % 2:
                    loop.call_later(random.random() * 0.01, task.cancel)
                if number % 64 == 0:
                    await tasks[max(0, number - 512)][1]
        assert all(task.cancelled() or task.result() == word for word, task in tasks)
        answered = sum(not task.cancelled() for _, task in tasks)
        assert answered >= 10_000
        assert len(tasks) - answered > 1_000
        assert await transport.run(ECHO, [b"k"], [b"after"]) == b"after"
        assert transport.connects == 1


async def test_scripts_flushed_under_load_are_loaded_again(
    redis_server: RedisServer, redis: PipelinedTransport
) -> None:
    """failure row 18"""

    async def add(times: int) -> None:
        for _ in range(times):
            await redis.run(ADD, [b"n"], [b"1"])

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(add(100)) for _ in range(32)]
        flushes = 0
        while not all(worker.done() for worker in workers):
            await redis.command("SCRIPT", "FLUSH")
            flushes += 1
            await asyncio.sleep(0.01)
    assert flushes > 1
    assert redis_server.run("GET", "n") == b"3200"


async def test_a_slow_store_is_given_up_and_the_repeat_counts_once(
    redis_server: RedisServer, redis: PipelinedTransport
) -> None:
    """failure row 15"""
    await add_with_retry(redis, b"a")
    with redis_server.paused():
        async with loop_time() as time:
            with pytest.raises(StoreError) as caught:
                await redis.run(ADD_ONCE, [b"n", b"ids"], [b"b"])
            assert time.passed_s < ADMISSION_BOUND_S
    assert (caught.value.transient, caught.value.indeterminate) == (True, True)
    assert await add_with_retry(redis, b"b") == 2
    assert redis_server.run("GET", "n") == b"2"


@pytest.mark.parametrize("fault", ["drop_once", "hang_once"])
async def test_a_lost_reply_is_asked_for_again_and_counts_once(
    redis_server: RedisServer, proxy: FaultProxy, proxied: PipelinedTransport, fault: str
) -> None:
    """failure row 16"""
    await add_with_retry(proxied, b"a")
    getattr(proxy, fault)()
    with pytest.raises(StoreError) as caught:
        await proxied.run(ADD_ONCE, [b"n", b"ids"], [b"b"])
    assert (caught.value.transient, caught.value.indeterminate) == (True, True)
    assert proxy.faulted.is_set()
    assert await add_with_retry(proxied, b"b") == 2
    assert redis_server.run("GET", "n") == b"2"


async def test_a_delayed_reply_never_meets_a_later_call(
    proxy: FaultProxy, proxied: PipelinedTransport
) -> None:
    """failure row 15, failure row 17"""
    proxy.gate.clear()
    with pytest.raises(StoreError):
        await proxied.run(ECHO, [b"k"], [b"late"])
    proxy.gate.set()
    await until_served(proxied)
    assert await proxied.run(ECHO, [b"k"], [b"new"]) == b"new"


async def test_a_connection_cut_under_load_is_replaced_and_nothing_counts_twice(
    redis_server: RedisServer, proxy: FaultProxy, proxied: PipelinedTransport
) -> None:
    """failure row 16"""

    async def work(worker: int) -> None:
        for number in range(100):
            await add_with_retry(proxied, b"%d-%d" % (worker, number))

    async with asyncio.TaskGroup() as group:
        for worker in range(16):
            group.create_task(work(worker))
        for _ in range(10):
            await until_served(proxied)
            proxy.reset()
    assert redis_server.run("GET", "n") == b"1600"
    assert proxied.connects > 1


async def test_without_a_store_admission_is_answered_in_time(own_directory: Path) -> None:
    """failure row 13"""
    server = RedisServer(newest(), own_directory)
    server.start()
    async with connected(str(server.socket)) as redis:
        await redis.run(ADD, [b"n"], [b"1"])
        server.kill()
        for _ in range(20):
            async with loop_time() as time:
                with pytest.raises(StoreError) as caught:
                    await redis.run(ADD, [b"n"], [b"1"])
                assert time.passed_s < ADMISSION_BOUND_S
            assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
        server.start()
        await until_served(redis)
        assert await redis.run(ADD, [b"n"], [b"1"]) == 2
    server.stop()


async def test_a_store_that_hangs_at_connecting_too_is_answered_in_time(
    redis_server: RedisServer, redis: PipelinedTransport
) -> None:
    """failure row 13"""
    with redis_server.paused():
        times: list[float] = []
        for _ in range(8):
            async with loop_time() as time:
                with pytest.raises(StoreError):
                    await redis.run(ADD, [b"n"], [b"1"])
                times.append(time.passed_s)
    assert max(times) < ADMISSION_BOUND_S
    await until_served(redis)


async def test_a_store_that_cannot_be_reached_is_told_at_the_start(own_directory: Path) -> None:
    with pytest.raises(StoreError, match="No such file") as caught:
        async with connected(str(own_directory / "none.sock")):
            pass
    assert caught.value.transient


async def test_a_demoted_primary_is_left_until_it_is_one_again(redis_server: RedisServer) -> None:
    """failure row 19"""
    async with connected(str(redis_server.socket), PATIENT) as redis:
        with redis_server.demoted():
            with pytest.raises(StoreError) as caught:
                await redis.run(ADD, [b"n"], [b"1"])
            assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
            assert not caught.value.indeterminate
            with pytest.raises(StoreError, match="is a replica"):
                await redis.run(ADD, [b"n"], [b"1"])
        await until_served(redis)
        assert await redis.run(ADD, [b"n"], [b"1"]) == 1


async def test_after_a_demotion_the_primary_is_looked_for_again(
    redis_server: RedisServer, own_directory: Path
) -> None:
    """failure row 19"""
    other = RedisServer(redis_server.binary, own_directory)
    other.start()
    primary = redis_server

    async def locate() -> Address:
        return Address(path=str(primary.socket))

    redis = PipelinedTransport(locate)
    await redis.start()
    assert await redis.run(ADD, [b"n"], [b"1"]) == 1
    with redis_server.demoted():
        primary = other
        assert await asyncio.gather(*(add_with_retry(redis, b"%d" % n) for n in range(8)))
        await redis.close()
    assert other.run("GET", "n") == b"8"
    other.stop()


async def test_a_full_store_says_so_and_forgets_it_when_there_is_room(
    redis_server: RedisServer, redis: PipelinedTransport
) -> None:
    """failure row 22"""
    with redis_server.config("maxmemory", 1), pytest.raises(StoreError) as caught:
        await redis.run(ADD, [b"n"], [b"1"])
    assert (caught.value.error, caught.value.indeterminate) == (STORE_FULL, False)
    assert await redis.run(ADD, [b"n"], [b"1"]) == 1


async def test_a_key_of_the_wrong_type_is_our_failure(
    redis_server: RedisServer, redis: PipelinedTransport
) -> None:
    """failure row 26"""
    redis_server.run("SET", "n", "text")
    read = script("read", "return redis.call('HGET', KEYS[1], 'f')")
    with pytest.raises(StoreError, match="WRONGTYPE") as caught:
        await redis.run(read, [b"n"], [])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, False)


async def test_a_crowd_waits_for_room_first_come_first_served(redis_server: RedisServer) -> None:
    """failure row 27"""
    async with connected(str(redis_server.socket), Limits(pending_max=2, wait_s=5)) as redis:
        await redis.run(ADD, [b"n"], [b"0"])
        crowd = [redis.run(ADD, [b"n"], [b"1"]) for _ in range(500)]
        assert await asyncio.gather(*crowd) == list(range(1, 501))


async def test_a_crowd_without_room_is_told_in_time(redis_server: RedisServer) -> None:
    """failure row 27"""
    async with connected(str(redis_server.socket), Limits(pending_max=2)) as redis:
        async with loop_time() as time:
            with redis_server.paused():
                crowd = [redis.run(ADD, [b"n"], [b"1"]) for _ in range(500)]
                outcomes = await asyncio.gather(*crowd, return_exceptions=True)
                assert time.passed_s < ADMISSION_BOUND_S
        told = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
        assert len(told) == 500
        assert all(error.transient for error in told)
        assert sum(error.indeterminate for error in told) == 2
        await until_served(redis)


async def test_settlement_does_not_queue_behind_admission(redis_server: RedisServer) -> None:
    """failure row 27"""
    async with (
        FaultProxy(str(redis_server.socket)) as proxy,
        connected(str(proxy.place), PATIENT) as admission,
        connected(str(redis_server.socket), PATIENT) as settlement,
    ):
        proxy.hang_once()
        crowd = [admission.run(ADD, [b"n"], [b"1"]) for _ in range(500)]
        stuck = asyncio.gather(*crowd, return_exceptions=True)
        await proxy.faulted.wait()
        assert await settlement.run(ADD, [b"m"], [b"1"]) == 1
        assert not stuck.done()
        proxy.reset()
        assert all(isinstance(outcome, StoreError) for outcome in await stuck)


async def test_closing_answers_what_is_under_way(redis_server: RedisServer) -> None:
    async with connected(str(redis_server.socket)) as redis:
        calls = asyncio.gather(*(redis.run(ADD, [b"n"], [b"1"]) for _ in range(40)))
        await asyncio.sleep(0)
        await redis.close()
        assert await calls == list(range(1, 41))
        with pytest.raises(StoreError, match="closed"):
            await redis.run(ADD, [b"n"], [b"1"])


INTRODUCTIONS = [
    (b"+PONG\r\n", "does not introduce itself"),
    (b"*0\r\n", "does not introduce itself"),
    (b":1\r\n", "does not introduce itself"),
    (
        b"*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nversion\r\n$1\r\nx\r\n",
        "does not introduce itself",
    ),
    (b"*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nversion\r\n$5\r\n6.0.1\r\n", "older than 6.2"),
    (b"*4\r\n$4\r\nrole\r\n$7\r\nreplica\r\n$7\r\nversion\r\n$3\r\n7.0\r\n", "is a replica"),
    (b"-NOAUTH HELLO must be called with s3cret\r\n", "NOAUTH"),
    (b"-ERR unknown command 'HELLO', with args: 's3cret'\r\n", "ERR"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not the protocol of Redis"),
]


@pytest.mark.parametrize(("answer", "told"), INTRODUCTIONS)
async def test_who_is_not_the_wanted_server_is_not_used(
    answer: bytes, told: str, own_directory: Path
) -> None:
    """failure row 19, failure row 68"""
    loop = asyncio.get_running_loop()
    place = str(own_directory / "s")
    listening = await loop.create_unix_server(lambda: Puppet(lambda words: answer), place)
    try:
        with pytest.raises(StoreError, match=told) as caught:
            async with connected(Address(path=place, password="s3cret")):
                pass
        assert "s3cret" not in f"{caught.value!r}"
    finally:
        listening.close()
        await listening.wait_closed()
