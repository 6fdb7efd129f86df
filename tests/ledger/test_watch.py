"""The store watch: what counts as lost books, who is told, and how an operator opens again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import StoreClock
from gateway.errors import STORE_LOST, STORE_UNAVAILABLE, StoreError
from gateway.ledger.store import Store, connect
from gateway.ledger.watch import ACCOUNTS, STORE, StoreWatch, accept, found
from tests.redis_server import RedisServer
from tests.stores import newest


def watch(store: Store, *, backwards_max_s: float = 0.0) -> StoreWatch:
    """Without patience: a store with fewer beats than it had is from the past."""
    return StoreWatch(store.client, StoreClock(), every_s=0.01, backwards_max_s=backwards_max_s)


@pytest.fixture
async def seen(store: Store) -> AsyncIterator[StoreWatch]:
    """A watch that has seen the store in order, with accounts in it."""
    watching = watch(store)
    await watching.beat()
    await store.client.zadd(ACCOUNTS, {"acme": 1})
    await watching.beat()
    assert watching.error is None
    yield watching
    await watching.stop()


async def restore(store: Store, backup: dict[Any, Any]) -> None:
    await store.client.delete(STORE)
    await store.client.hset(STORE, mapping=backup)


async def test_a_new_store_gets_one_generation_for_all(store: Store) -> None:
    watches = [watch(store) for _ in range(4)]
    await asyncio.gather(*(each.beat() for each in watches))
    assert [each.error for each in watches] == [None] * 4
    assert await store.client.hget(STORE, "beats") == b"4"


async def test_accounts_without_a_generation_are_a_loss(store: Store) -> None:
    """failure row 25"""
    await store.client.zadd(ACCOUNTS, {"acme": 1})
    watching = watch(store)
    await watching.beat()
    assert watching.error is STORE_LOST
    assert watching.health is STORE_LOST


async def test_a_flushed_store_closes_every_gateway(store: Store, seen: StoreWatch) -> None:
    """failure row 25"""
    await store.client.flushall()
    await seen.beat()
    assert seen.error is STORE_LOST
    newcomer = watch(store)
    await newcomer.beat()
    assert newcomer.error is STORE_LOST


async def test_another_store_in_its_place_is_refused(store: Store, seen: StoreWatch) -> None:
    """failure row 25"""
    await store.client.flushall()
    newcomer = watch(store)
    await newcomer.beat()
    assert newcomer.error is None
    await seen.beat()
    assert seen.error is STORE_LOST
    await newcomer.beat()
    assert newcomer.error is STORE_LOST


async def test_an_old_backup_is_refused_also_when_a_newcomer_beat_first(
    store: Store, seen: StoreWatch
) -> None:
    """failure row 25"""
    backup = await store.client.hgetall(STORE)
    for _ in range(5):
        await seen.beat()
    await restore(store, backup)
    newcomer = watch(store)
    await newcomer.beat()
    assert newcomer.error is None
    await seen.beat()
    assert seen.error is STORE_LOST
    await newcomer.beat()
    assert newcomer.error is STORE_LOST


async def test_the_seconds_that_a_failover_loses_are_let_pass(store: Store) -> None:
    """failure row 20"""
    patient = watch(store, backwards_max_s=30.0)
    await patient.beat()
    backup = await store.client.hgetall(STORE)
    for _ in range(5):
        await patient.beat()
    await restore(store, backup)
    await patient.beat()
    assert patient.error is None


async def test_a_clock_that_is_set_back_is_no_loss(store: Store, seen: StoreWatch) -> None:
    """failure row 48"""
    await store.client.hset(STORE, "beat_ms", 9_999_999_999_999)
    await seen.beat()
    assert seen.error is None


async def test_an_operator_accepts_the_store_for_every_gateway(
    store: Store, seen: StoreWatch
) -> None:
    """failure row 25"""
    newcomer = watch(store)
    await store.client.flushall()
    await seen.beat()
    await newcomer.beat()
    generation = await accept(store.client)
    assert await store.client.hget(STORE, "generation") == generation.encode()
    for watching in (seen, newcomer):
        await watching.beat()
        assert watching.error is None


async def test_an_old_backup_that_was_accepted_in_its_time_is_refused(
    store: Store, seen: StoreWatch
) -> None:
    """failure row 25"""
    await accept(store.client)
    await seen.beat()
    backup = await store.client.hgetall(STORE)
    await asyncio.sleep(0.002)  # Generations are told apart by the millisecond.
    await accept(store.client)
    await seen.beat()
    assert seen.error is None
    await restore(store, backup)
    await seen.beat()
    assert seen.error is STORE_LOST


async def test_a_store_that_was_founded_before_its_first_account_is_in_order(
    store: Store,
) -> None:
    await found(store.client)
    await store.client.zadd(ACCOUNTS, {"acme": 1})
    await found(store.client)
    watching = watch(store)
    await watching.beat()
    assert watching.error is None


async def test_a_lost_store_is_not_founded_anew(store: Store, seen: StoreWatch) -> None:
    """failure row 25"""
    await store.client.flushall()
    await seen.beat()
    await found(store.client)
    await seen.beat()
    assert seen.error is STORE_LOST


async def test_the_clock_learns_the_stores_time(store: Store) -> None:
    """failure row 47"""
    clock = StoreClock()
    clock.learn(1)
    await StoreWatch(store.client, clock).beat()
    told = await store.client.time()
    assert abs(clock.now_ms() - (told[0] * 1000 + told[1] // 1000)) < 1000


async def test_a_running_watch_notices_by_itself(store: Store) -> None:
    """failure row 25"""
    watching = watch(store)
    await watching.start()
    assert watching.health is None
    await store.client.flushall()
    async with asyncio.timeout(5):
        while watching.error is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await accept(store.client)
    async with asyncio.timeout(5):
        while watching.error is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await watching.stop()


async def test_a_full_store_is_refused_though_it_cannot_be_marked(
    redis_server: RedisServer,
) -> None:
    """failure row 22, failure row 25"""
    store = await connect(redis_server.url)
    watching = watch(store)
    await watching.beat()
    await store.client.flushall()
    with redis_server.config("maxmemory", 1):
        await watching.beat()
        assert watching.error is STORE_LOST
    await store.close()


async def test_a_store_that_does_not_answer_is_not_lost(redis_server: RedisServer) -> None:
    """failure row 13"""
    store = await connect(redis_server.url)
    watching = watch(store)
    await watching.start()
    assert watching.reachable
    with redis_server.demoted():
        async with asyncio.timeout(5):
            while watching.reachable:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert watching.error is None
        assert watching.health is STORE_UNAVAILABLE
    await watching.stop()
    await store.close()


async def test_the_books_of_an_older_file_are_noticed(tmp_path: Path) -> None:
    """failure row 25"""
    server = RedisServer(newest(), tmp_path, options={"appendonly": "no"})
    server.start()
    store = await connect(server.url)
    watching = watch(store)
    await watching.beat()
    server.run("SAVE")
    for _ in range(3):
        await watching.beat()
    server.kill()
    server.start()
    async with asyncio.timeout(5):
        while True:
            try:
                await watching.beat()
                break
            except StoreError:
                await asyncio.sleep(0.01)
    assert watching.error is STORE_LOST
    await store.close()
    server.stop()
