"""Scripts over redis-py: what comes back, and how failures are told."""

import asyncio
from random import Random

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection

from gateway.errors import INTERNAL, STORE_FULL, STORE_UNAVAILABLE, StoreError
from gateway.ledger.redispy import RedisPyTransport, no_retry
from gateway.ledger.store import Store
from tests.ledger.scripts import ADD, ECHO, script
from tests.redis_server import RedisServer
from tests.stores import FAKE, FLAVOURS, Flavour, RedisServers, open_flavour

CONNECTIONS = 16
"""Of redis-py's pool in the stores that tests run on."""


async def test_a_reply_is_an_int_bytes_none_or_a_list_of_these(store: Store) -> None:
    echo = script("echo", "return {1, ARGV[1], false, {KEYS[1]}}")
    assert await store.admission.run(echo, [b"k"], [b"\x00\xff"]) == [1, b"\x00\xff", None, [b"k"]]


async def test_a_script_the_server_does_not_know_is_loaded(store: Store) -> None:
    """failure row 18"""
    assert await store.admission.run(ADD, [b"n"], [b"2"]) == 2
    await store.client.script_flush()
    assert await store.admission.run(ADD, [b"n"], [b"3"]) == 5


async def test_a_key_of_the_wrong_type_is_our_failure_not_the_clients(store: Store) -> None:
    """failure row 26"""
    await store.client.set("n", "text")
    read = script("read", "return redis.call('HGET', KEYS[1], 'f')")
    with pytest.raises(StoreError, match="WRONGTYPE") as caught:
        await store.admission.run(read, [b"n"], [])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, False)


async def test_a_script_that_fails_is_our_failure(store: Store) -> None:
    with pytest.raises(StoreError, match="boom") as caught:
        await store.admission.run(script("bad", "error('boom')"), [b"k"], [])
    assert (caught.value.error, caught.value.transient) == (INTERNAL, False)


@pytest.mark.parametrize("flavour", FLAVOURS, ids=str)
async def test_cancelled_calls_cause_no_crosstalk(
    flavour: Flavour, redis_servers: RedisServers
) -> None:
    """failure row 17"""
    random = Random(17)
    loop = asyncio.get_running_loop()
    store = await open_flavour(flavour, redis_servers, op_timeout_s=60)
    # As many as there are connections: none is given up because it waited too long for one.
    room = asyncio.Semaphore(CONNECTIONS)

    async def call(word: bytes) -> object:
        async with room:
            await asyncio.sleep(0)  # fakeredis may answer without a moment to cancel in
            return await store.admission.run(ECHO, [b"k"], [word])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call(b"%d" % number)) for number in range(400)]
        for task in tasks[::2]:
            loop.call_later(random.random() * 0.05, task.cancel)
    for number, task in enumerate(tasks):
        assert task.cancelled() or task.result() == b"%d" % number
    assert not any(task.cancelled() for task in tasks[1::2])
    assert any(task.cancelled() for task in tasks)
    assert await call(b"after") == b"after"
    await store.close()


def transport(server: RedisServer, connections_max: int = 4) -> RedisPyTransport:
    pool = BlockingConnectionPool(
        max_connections=connections_max,
        timeout=0.05,
        connection_class=UnixDomainSocketConnection,
        path=str(server.socket),
        socket_timeout=0.1,
        protocol=2,
        retry=no_retry(),
    )
    return RedisPyTransport(Redis.from_pool(pool))


async def test_a_full_store_says_so(redis_server: RedisServer) -> None:
    """failure row 22"""
    redis = transport(redis_server)
    with redis_server.config("maxmemory", 1), pytest.raises(StoreError) as caught:
        await redis.run(ADD, [b"n"], [b"1"])
    assert (caught.value.error, caught.value.indeterminate) == (STORE_FULL, False)
    assert await redis.run(ADD, [b"n"], [b"1"]) == 1
    await redis.close()


async def test_a_demoted_primary_is_unavailable(redis_server: RedisServer) -> None:
    """failure row 19"""
    redis = transport(redis_server)
    with redis_server.demoted(), pytest.raises(StoreError) as caught:
        await redis.run(ADD, [b"n"], [b"1"])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
    await redis.close()


async def test_a_slow_store_is_given_up_and_may_have_done_it(redis_server: RedisServer) -> None:
    """failure row 15"""
    redis = transport(redis_server)
    await redis.run(ADD, [b"n"], [b"1"])
    with redis_server.paused(), pytest.raises(StoreError) as caught:
        await redis.run(ADD, [b"n"], [b"1"])
    assert (caught.value.transient, caught.value.indeterminate) == (True, True)
    await redis.close()


async def test_no_free_connection_means_it_was_not_done(redis_server: RedisServer) -> None:
    """failure row 27"""
    redis = transport(redis_server, connections_max=1)
    await redis.run(ADD, [b"n"], [b"1"])
    with redis_server.paused():
        failures = await asyncio.gather(
            *(redis.run(ADD, [b"n"], [b"1"]) for _ in range(3)), return_exceptions=True
        )
    errors = [failure for failure in failures if isinstance(failure, StoreError)]
    assert [error.indeterminate for error in errors] == [True, False, False]
    assert [error.transient for error in errors] == [True, True, True]
    await redis.close()


async def test_a_store_that_is_not_there_is_unavailable(redis_server: RedisServer) -> None:
    """failure row 13"""
    redis = RedisPyTransport(Redis(unix_socket_path="/nonexistent", retry=no_retry()))
    with pytest.raises(StoreError) as caught:
        await redis.run(ADD, [b"n"], [b"1"])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
    await redis.close()


@pytest.mark.parametrize("store", [FAKE], indirect=True, ids=str)
async def test_each_fake_store_is_a_fresh_one(store: Store) -> None:
    other = Store.fake()
    await store.client.set("a", "1")
    assert await other.client.get("a") is None
    await other.close()
