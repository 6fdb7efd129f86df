"""The client that shares a connection: told the same as redis-py is, by far fewer connections."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.address import Address
from gateway.ledger.redispy import client_of
from gateway.ledger.sharing import BRIEF
from gateway.ledger.store import connect
from tests.fault_proxy import FaultProxy
from tests.redis_server import RedisServer

Client = Any

SAID: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("eval", ("return {KEYS[1], ARGV[1], ARGV[2], false}", 1, "k", "ä", 7), {}),
    ("eval", (b"return redis.call('HSET', KEYS[1], 'n', ARGV[1])", 1, "h", b"\x00\xff"), {}),
    ("hset", ("h", "field", "1"), {}),
    ("hsetnx", ("h", "field", "2"), {}),
    ("hincrby", ("h", "field", 3), {}),
    ("hget", ("h", "field"), {}),
    ("hget", ("h", "none"), {}),
    ("hgetall", ("h",), {}),
    ("hgetall", ("none",), {}),
    ("hmget", ("h", ["field", "none"]), {}),
    ("hexists", ("h", "field"), {}),
    ("hexists", ("h", "none"), {}),
    ("hdel", ("h", "field", "none"), {}),
    ("sadd", ("s", "a", "b"), {}),
    ("srem", ("s", "a"), {}),
    ("zadd", ("z", {"a": 1.5, "b": 2}), {}),
    ("zadd", ("z", {"a": 1}), {"nx": True}),
    ("zscore", ("z", "a"), {}),
    ("zscore", ("z", "none"), {}),
    ("zrem", ("z", "a"), {}),
    ("set", ("text", "ä"), {}),
    ("get", ("text",), {}),
    ("get", ("none",), {}),
    ("exists", ("text", "none"), {}),
    ("pexpire", ("text", 60_000), {}),
    ("delete", ("text", "h"), {}),
]
"""Method, arguments and options, in turn."""


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[Client]:
    store = await connect(redis_server.url)
    yield store.client
    await store.close()


@pytest.fixture
async def alone(redis_server: RedisServer) -> AsyncIterator[Client]:
    client = client_of(Address(path=str(redis_server.socket)))
    yield client
    await client.aclose()


def clients(server: RedisServer) -> int:
    return str(server.run("CLIENT", "LIST")).count("name=")


async def replies(client: Client) -> list[Any]:
    return [await getattr(client, name)(*args, **options) for name, args, options in SAID]


async def test_it_tells_the_same_as_a_client_of_its_own(shared: Client, alone: Client) -> None:
    told = await replies(shared)
    await alone.flushdb()
    assert told == await replies(alone)
    asked = {"DEL" if name == "delete" else name.upper() for name, _, _ in SAID}
    assert asked - {"SET"} == BRIEF


async def test_many_at_once_take_no_connection_more(
    shared: Client, redis_server: RedisServer
) -> None:
    await shared.hset("h", "field", "1")
    before = clients(redis_server)
    found = await asyncio.gather(*(shared.hgetall("h") for _ in range(200)))
    assert found == [{b"field": b"1"}] * 200
    assert clients(redis_server) == before


async def test_a_script_the_server_has_forgotten_is_run_all_the_same(
    shared: Client, redis_server: RedisServer
) -> None:
    """failure row 18"""
    add = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
    assert await shared.eval(add, 1, "n", 2) == 2
    redis_server.run("SCRIPT", "FLUSH")
    assert await shared.eval(add, 1, "n", 3) == 5


async def test_a_key_of_the_wrong_type_is_our_failure(shared: Client) -> None:
    """failure row 26"""
    await shared.set("n", "text")
    for work in (shared.hgetall("n"), shared.eval("return redis.call('HLEN', KEYS[1])", 1, "n")):
        with pytest.raises(StoreError, match="WRONGTYPE") as caught:
            await work
        assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, False)


async def test_who_is_cancelled_leaves_the_others_their_answers(shared: Client) -> None:
    """failure row 17"""
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(shared.eval("return ARGV[1]", 1, "k", number)) for number in range(50)
        ]
        await asyncio.sleep(0)
        for each in waiting[::2]:
            each.cancel()
    assert [task.result() for task in waiting[1::2]] == [b"%d" % n for n in range(1, 50, 2)]


async def test_what_takes_its_time_goes_by_itself(shared: Client) -> None:
    """Others do not wait behind it."""
    async with asyncio.TaskGroup() as group:
        waits = group.create_task(shared.blpop(["list"], timeout=5))
        await asyncio.sleep(0)
        assert await shared.hgetall("none") == {}
        await shared.rpush("list", "x")
    assert waits.result() == (b"list", b"x")


async def test_a_lost_connection_is_told_once(redis_server: RedisServer) -> None:
    async with FaultProxy(str(redis_server.socket)) as proxy:
        store = await connect(proxy.redis_url)
        proxy.drop_once()
        with pytest.raises(StoreError, match="connection lost") as caught:
            await store.client.hget("h", "field")
        assert (caught.value.transient, caught.value.indeterminate) == (True, True)
        assert await store.client.hget("h", "field") is None
        await store.close()
