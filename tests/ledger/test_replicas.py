"""Admissions that wait for replicas: none is lost with its primary, and none hangs on a replica."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Line
from gateway.ledger.store import connect
from tests.ledger.lively import ledger_on, opened, terms_of
from tests.ledger.scripts import ADD
from tests.ports import free_port
from tests.redis_server import Binary, RedisServer
from tests.stores import BINARIES

TERMS, LINE = terms_of("acme"), Line.exact("storage", 10)
ADMISSION_BOUND_S = 0.3 + 0.1
"""What is promised, and something for a machine that is busy with other tests."""


@contextmanager
def replicated(binary: Binary) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and the replica that follows it."""
    with TemporaryDirectory(prefix="qg-p-") as one, TemporaryDirectory(prefix="qg-r-") as other:
        options = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
        primary = RedisServer(binary, Path(one), port=free_port(), options=options)
        replica = RedisServer(binary, Path(other), options=options)
        primary.start()
        replica.start()
        replica.run("REPLICAOF", "127.0.0.1", primary.port)
        with primary.client() as client:
            client.set("warm", "1")
            assert client.wait(1, 10_000) == 1, "the replica does not follow"
        try:
            yield primary, replica
        finally:
            replica.kill()
            primary.kill()


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.name)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, RedisServer]]:
    with replicated(request.param) as pair:
        yield pair


async def test_what_was_granted_survives_the_loss_of_the_primary(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """failure row 20"""
    primary, replica = pair
    store = await connect(primary.url, wait_replicas=1)
    granted = 0
    enough = asyncio.Event()

    async def admit_until_the_end() -> StoreError:
        nonlocal granted
        while True:
            try:
                await store.admission.run(ADD, [b"n"], [b"1"])
            except StoreError as error:
                return error
            granted += 1
            if granted == 300:
                enough.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(admit_until_the_end())
        await enough.wait()
        primary.kill()
    replica.run("REPLICAOF", "NO", "ONE")
    kept = replica.run("GET", "n")
    assert isinstance(kept, bytes)
    assert int(kept) >= granted
    await store.close()


async def test_a_replica_that_hangs_is_told_in_time_and_the_write_is_in_doubt(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """failure row 20, failure row 21"""
    primary, replica = pair
    store = await connect(primary.url, wait_replicas=1)
    assert await store.admission.run(ADD, [b"n"], [b"1"]) == 1
    with replica.paused():
        began = monotonic()
        with pytest.raises(StoreError, match="0 of 1 replicas") as caught:
            await store.admission.run(ADD, [b"n"], [b"1"])
        assert monotonic() - began < ADMISSION_BOUND_S
        assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
        assert caught.value.indeterminate
        assert await store.settlement.run(ADD, [b"n"], [b"1"]) == 3
    assert await store.admission.run(ADD, [b"n"], [b"1"]) == 4
    await store.close()


REPLAYED: dict[str, Callable[[Ledger], Awaitable[object]]] = {
    "reserve": lambda ledger: ledger.reserve(TERMS, "A", [LINE], lease_ms=10_000),
    "reserve_many": lambda ledger: ledger.reserve_many(TERMS, [("A", [LINE])], lease_ms=10_000),
    "grow": lambda ledger: ledger.grow(TERMS, "open", [LINE]),
}


@pytest.mark.parametrize("verb", REPLAYED)
async def test_a_replay_on_a_new_connection_waits_for_the_write_too(
    pair: tuple[RedisServer, RedisServer], verb: str
) -> None:
    """failure row 20: from Redis 7.2 on WAIT speaks of what its connection has written only"""
    primary, replica = pair
    store = await connect(primary.url)
    waiting = await connect(primary.url, wait_replicas=1)
    ledger, careful = ledger_on(store), ledger_on(waiting)
    await opened(ledger, "acme")
    await careful.reserve(TERMS, "open", [Line.exact("storage", 1)], lease_ms=10_000)
    again = REPLAYED[verb]
    with replica.paused():
        first = await again(ledger)
        with pytest.raises(StoreError, match=r"0 of 1 replicas|the store is slow"):
            await again(careful)
    assert type(await again(careful)) is type(first)
    await store.close()
    await waiting.close()


async def test_calls_that_are_answered_together_share_one_wait(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, _ = pair
    store = await connect(primary.url, wait_replicas=1)
    await store.admission.run(ADD, [b"n"], [b"1"])
    before = waits(primary)
    await asyncio.gather(*(store.admission.run(ADD, [b"n"], [b"1"]) for _ in range(320)))
    assert 0 < waits(primary) - before <= 100
    await store.close()


def waits(server: RedisServer) -> int:
    for line in server.info("commandstats").splitlines():
        if line.startswith(b"cmdstat_wait:calls="):
            return int(line.removeprefix(b"cmdstat_wait:calls=").split(b",")[0])
    return 0


async def test_a_primary_that_wants_replicas_and_has_none_is_unavailable(
    redis_server: RedisServer,
) -> None:
    """failure row 21"""
    store = await connect(redis_server.url)
    with redis_server.config("min-replicas-to-write", 1), pytest.raises(StoreError) as caught:
        await store.admission.run(ADD, [b"n"], [b"1"])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
    assert not caught.value.indeterminate
    assert await store.admission.run(ADD, [b"n"], [b"1"]) == 1
    await store.close()
