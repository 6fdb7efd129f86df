"""The ledger on a store in trouble: answered in time, counted once, settled in a full one too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from gateway.errors import STORE_FULL, STORE_UNAVAILABLE, StoreError
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Line, Settled
from gateway.ledger.reservation import State
from gateway.ledger.store import connect
from tests.fault_proxy import FaultProxy
from tests.ledger.lively import STORAGE, ledger_on, reserve, reserved, terms_of
from tests.redis_server import RedisServer
from tests.stores import newest

ADMISSION_BOUND_S = 0.3 + 0.1
"""What is promised, and something for a machine that is busy with other tests."""

ACME = terms_of("acme")
ONE = [Line.exact(STORAGE.name, 1)]


@dataclass(frozen=True)
class House:
    server: RedisServer
    proxy: FaultProxy
    ledger: Ledger


@pytest.fixture
async def house(redis_server: RedisServer) -> AsyncIterator[House]:
    """A ledger that reaches its store through a proxy."""
    async with FaultProxy(str(redis_server.socket)) as proxy:
        store = await connect(proxy.redis_url)
        ledger = ledger_on(store)
        await ledger.open_books("acme")
        await reserve(ledger, "acme", "first", lease_ms=60_000)
        yield House(redis_server, proxy, ledger)
        await store.close()


async def told_in_time(work: Awaitable[object]) -> StoreError:
    began = monotonic()
    with pytest.raises(StoreError) as caught:
        await work
    assert monotonic() - began < ADMISSION_BOUND_S
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
    return caught.value


async def granted(ledger: Ledger, reservation_id: str) -> Granted:
    """Asked for again until the store is back."""
    async with asyncio.timeout(5):
        while True:
            try:
                outcome = await ledger.reserve(ACME, reservation_id, ONE, lease_ms=60_000)
            except StoreError:
                await asyncio.sleep(0.01)
            else:
                assert isinstance(outcome, Granted)
                return outcome


async def test_a_store_that_is_gone_is_told_in_time(tmp_path: Path) -> None:
    """failure row 13"""
    server = RedisServer(newest(), tmp_path)
    server.start()
    store = await connect(server.url)
    ledger = ledger_on(store)
    await ledger.open_books("acme")
    server.kill()
    for number in range(5):
        await told_in_time(ledger.reserve(ACME, f"r{number}", ONE, lease_ms=10_000))
    server.start()
    await granted(ledger, "back")
    assert await reserved(ledger, "acme") == 1
    await store.close()
    server.stop()


async def test_a_store_that_hangs_is_told_in_time_and_counts_once(house: House) -> None:
    """failure row 13, failure row 15"""
    with house.server.paused():
        await told_in_time(house.ledger.reserve(ACME, "r", ONE, lease_ms=60_000))
    await granted(house.ledger, "r")
    assert await reserved(house.ledger, "acme") == 2


@pytest.mark.parametrize("times", [1, 2])
async def test_a_lost_reply_is_not_noticed_by_the_caller(house: House, times: int) -> None:
    """failure row 16"""
    for number in range(times):
        house.proxy.drop_once()
        outcome = await house.ledger.reserve(ACME, f"r{number}", ONE, lease_ms=60_000)
        assert isinstance(outcome, Granted)
        assert house.proxy.faulted.is_set()
    assert await reserved(house.ledger, "acme") == 1 + times


async def test_a_lost_reply_of_a_settlement_is_not_noticed_by_the_caller(house: House) -> None:
    """failure row 16"""
    house.proxy.drop_once()
    settled = await house.ledger.commit(ACME, "first", {STORAGE.name: 1})
    assert isinstance(settled, Settled)
    assert settled.state is State.COMMITTED
    snapshot = await house.ledger.snapshot(ACME)
    assert [str(quota) for quota in snapshot.quotas] == ["storage 1+0/1000"]


async def test_cancelled_reserves_leave_at_most_what_their_ids_say(house: House) -> None:
    """failure row 17"""
    calls = [
        asyncio.ensure_future(house.ledger.reserve(ACME, f"r{n}", ONE, lease_ms=60_000))  # noqa: TID251
        for n in range(200)
    ]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Granted):
            assert outcome.id == f"r{number}"
    kept = {holder.id for holder in await house.ledger.holders("acme", 1_000)}
    assert {f"r{n}" for n in range(1, 200, 2)} <= kept
    for number in range(0, 200, 2):
        await house.ledger.release("acme", f"r{number}", reason="cancelled")
    assert await reserved(house.ledger, "acme") == 101


async def test_a_full_store_admits_nothing_and_settles_everything(
    redis_server: RedisServer,
) -> None:
    """failure row 22"""
    store = await connect(redis_server.url)
    ledger = ledger_on(store)
    await ledger.open_books("acme")
    for name in ("kept", "freed"):
        await reserve(ledger, "acme", name, lease_ms=60_000)
    with redis_server.config("maxmemory", 1):
        with pytest.raises(StoreError) as caught:
            await ledger.reserve(ACME, "more", ONE, lease_ms=60_000)
        assert (caught.value.error, caught.value.indeterminate) == (STORE_FULL, False)
        with pytest.raises(StoreError) as caught:
            await ledger.grow(ACME, "kept", [Line.exact(STORAGE.name, 2)])
        assert caught.value.error is STORE_FULL
        committed = await ledger.commit(ACME, "kept", {STORAGE.name: 1}, asset="file")
        assert isinstance(committed, Settled)
        assert committed.state is State.COMMITTED
        released = await ledger.release("acme", "freed", reason="test")
        assert isinstance(released, Settled)
        assert released.state is State.RELEASED
        assert await ledger.remove(ACME, "file") is not None
    snapshot = await ledger.snapshot(ACME)
    assert [str(quota) for quota in snapshot.quotas] == ["storage 0+0/1000"]
    await store.close()
