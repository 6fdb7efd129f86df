"""The reaper: leases of the dead end, leases of the living stay, and gateways share the work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Expired, Line
from gateway.ledger.pipeline import PipelinedTransport
from gateway.ledger.reaper import BUSY, BUSY_SCRIPT, NOTE_EVERY_S, QUIET_AFTER_S, Reaper
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store, connect
from gateway.ledger.template import Call
from gateway.ledger.transport import Heard, Then, Transport
from gateway.proxy import small
from tests.ledger.lively import (
    STORAGE,
    Stopped,
    ledger_on,
    opened,
    reserve,
    terms_of,
    until,
)
from tests.redis_server import RedisServer


@pytest.fixture(autouse=True)
def _quiet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has nothing open is forgotten at the next sweep."""
    monkeypatch.setattr("gateway.ledger.reaper.QUIET_AFTER_S", 0.0)


@pytest.fixture
async def piped(redis_server: RedisServer) -> AsyncIterator[Store]:
    store = await connect(redis_server.url)
    yield store
    await store.close()


async def busy(store: Store) -> dict[bytes, float]:
    """Account → when it is due for a look (ms)."""
    entries: Any = await store.client.zrange(BUSY, 0, -1, withscores=True)
    return dict(entries)


async def noted(reaper: Reaper, store: Store, *accounts: str) -> None:
    for account in accounts:
        reaper.note(account)

    async def written() -> bool:
        return {account.encode() for account in accounts} <= set(await busy(store))

    await until(written)


async def test_a_dead_gateways_reservations_end_on_an_account_nobody_asks_about(
    store: Store, stopped: Stopped
) -> None:
    """failure row 2, failure row 3"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    told: list[Expired] = []
    dead = stopped(Reaper(ledger, store.client, look_after_ms=300))
    alive = stopped(Reaper(ledger, store.client, on_expired=told.append, round_s=0.01))
    for number in range(70):
        await reserve(ledger, "acme", f"r{number}", lease_ms=500)
    await noted(dead, store, "acme")
    await dead.stop()
    alive.start()

    async def quiet() -> bool:
        return not await busy(store)

    await until(quiet)
    # Where a reserve took long, those that follow have ended some themselves.
    redis: Any = store.client
    records = await redis.hvals(keys_of("acme").reservations)
    assert [record[:1] for record in records] == [b"E"] * 70
    assert 0 < sum(expired.count for expired in told) <= 70


async def test_what_outlives_its_request_is_looked_at_however_quiet_the_account_was(
    store: Store, stopped: Stopped
) -> None:
    """Noted, looked at, forgotten; and then, while a note would still be as good as told, extended
    for longer than anybody will note it."""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    told: list[Expired] = []
    gateway = stopped(Reaper(ledger, store.client, look_after_ms=1))
    alive = stopped(Reaper(ledger, store.client, on_expired=told.append, round_s=0.01))
    ledger.on_extended = gateway.note_lasting
    await noted(gateway, store, "acme")
    alive.start()

    async def quiet() -> bool:
        return not await busy(store)

    await until(quiet)
    await reserve(ledger, "acme", "r1", lease_ms=10_000)
    assert await ledger.extend("acme", ("r1",), 300) == ()
    async with asyncio.timeout(10):
        while not told:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.01)
    assert told[0].count == 1


async def test_a_living_gateways_reservations_stay_and_are_looked_at_when_their_lease_ends(
    store: Store, stopped: Stopped
) -> None:
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    reaper = stopped(Reaper(ledger, store.client, look_after_ms=0))
    await reserve(ledger, "acme", "r", lease_ms=20_000)
    await noted(reaper, store, "acme")
    assert await reaper.sweep() == 0
    (holder,) = await ledger.holders("acme")
    assert await busy(store) == {b"acme": holder.lease_end_ms}


async def test_an_account_without_open_reservations_is_forgotten(
    store: Store, stopped: Stopped
) -> None:
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    reaper = stopped(Reaper(ledger, store.client, look_after_ms=0))
    await noted(reaper, store, "acme")
    assert await reaper.sweep() == 0
    assert set(await busy(store)) == {b"acme"}
    assert await reaper.sweep() == 0
    assert await busy(store) == {}


async def test_what_was_noted_before_a_look_and_opened_after_it_is_not_forgotten(
    store: Store, stopped: Stopped
) -> None:
    """failure row 2: a gateway does not repeat so soon that an account is busy, and dies."""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    dead = stopped(Reaper(ledger, store.client, look_after_ms=0))
    alive = stopped(Reaper(ledger, store.client))
    await noted(dead, store, "acme")
    assert await alive.sweep() == 0
    dead.note("acme")
    await reserve(ledger, "acme", "r", lease_ms=10_000)
    await dead.stop()
    assert await alive.sweep() == 0
    (holder,) = await ledger.holders("acme")
    assert await busy(store) == {b"acme": holder.lease_end_ms}


def test_an_account_is_quiet_for_longer_than_a_note_is_kept_to_oneself() -> None:
    assert QUIET_AFTER_S > NOTE_EVERY_S + small.NOTE_EVERY_S


async def test_a_later_lease_does_not_hide_an_earlier_one(store: Store, stopped: Stopped) -> None:
    """failure row 3"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    first = stopped(Reaper(ledger, store.client, look_after_ms=0))
    await reserve(ledger, "acme", "job", lease_ms=3_600_000)
    await noted(first, store, "acme")
    await first.sweep()
    far = (await busy(store))[b"acme"]
    second = stopped(Reaper(ledger, store.client, look_after_ms=10_000))
    second.note("acme")

    async def nearer() -> bool:
        return (await busy(store))[b"acme"] < far

    await until(nearer)


class Overheard:
    """A transport whose calls are written down in the order in which they leave."""

    def __init__(self, inner: PipelinedTransport) -> None:
        self._inner = inner
        self.heard: Heard | None = None
        self.calls: list[str] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.calls.append(script.name)
        return await self._inner.run(script, keys, args)

    def send(self, call: Call, then: Then) -> bool:
        self.calls.append(call.template.script.name)
        return self._inner.send(call, then)

    async def close(self) -> None:
        await self._inner.close()


async def test_the_store_is_told_ahead_of_a_reservation(piped: Store, stopped: Stopped) -> None:
    """failure row 2: a gateway that dies at the grant has been heard before it."""
    assert isinstance(piped.admission, PipelinedTransport)
    admission = Overheard(piped.admission)
    ledger = Ledger(admission, piped.settlement, StoreClock())
    await opened(ledger, "acme", "other")
    reaper = stopped(Reaper(ledger, piped.client, ahead=admission))
    reaper.attend()
    reaper.start()

    async def is_known() -> bool:
        (known,) = await piped.client.script_exists(BUSY_SCRIPT.sha.decode())
        return bool(known)

    await until(is_known)
    await reserve(ledger, "acme", "r1", lease_ms=10_000)
    # Nothing was left to be done in the background.
    assert admission.calls == ["busy", "reserve"]
    assert set(await busy(piped)) == {b"acme"}
    await reserve(ledger, "acme", "r2", lease_ms=10_000)
    item = ("b1", [Line.exact(STORAGE.name, 1)])
    await ledger.reserve_many(terms_of("other"), [item], lease_ms=10_000)
    assert admission.calls[2:] == ["reserve", "busy", "reserve_many"]


async def test_a_store_that_does_not_know_the_script_is_told_all_the_same(
    piped: Store, stopped: Stopped
) -> None:
    """failure row 18"""
    reaper = stopped(Reaper(ledger_on(piped), piped.client, ahead=piped.admission))
    await piped.client.script_flush()
    await noted(reaper, piped, "acme")
    assert reaper.failures == 0


class Meanwhile:
    """A transport during whose every call something else happens in the store."""

    def __init__(self, inner: Transport, happens: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._happens = happens

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        reply = await self._inner.run(script, keys, args)
        await self._happens()
        return reply

    async def close(self) -> None:
        await self._inner.close()


async def test_what_becomes_busy_during_a_look_is_not_forgotten(
    store: Store, stopped: Stopped
) -> None:
    await opened(ledger_on(store), "acme")
    other = stopped(Reaper(ledger_on(store), store.client))
    last = False

    async def becomes_busy() -> None:
        before = (await busy(store))[b"acme"]
        if not last:
            return
        other.note("acme")

        async def told() -> bool:
            return (await busy(store))[b"acme"] < before

        await until(told)

    ledger = Ledger(store.admission, Meanwhile(store.settlement, becomes_busy), StoreClock())
    looking = stopped(Reaper(ledger, store.client, look_after_ms=0))
    await noted(looking, store, "acme")
    await looking.sweep()
    last = True
    await looking.sweep()
    assert set(await busy(store)) == {b"acme"}


async def test_several_reapers_share_many_accounts(store: Store, stopped: Stopped) -> None:
    ledger = ledger_on(store)
    names = [f"account-{number}" for number in range(100)]
    await opened(ledger, *names)
    reapers = [stopped(Reaper(ledger, store.client, look_after_ms=0)) for _ in range(3)]
    for name in names:
        await reserve(ledger, name, "r", lease_ms=1)
    await noted(reapers[0], store, *names)
    ended = 0

    async def all_ended() -> bool:
        nonlocal ended
        ended += sum(await asyncio.gather(*(reaper.sweep() for reaper in reapers)))
        return ended >= 100

    await until(all_ended)
    await asyncio.gather(*(reaper.sweep() for reaper in reapers))
    assert ended == 100
    assert await busy(store) == {}


async def test_an_account_is_told_once_in_a_while_however_often_it_is_noted(
    store: Store, stopped: Stopped
) -> None:
    ledger = ledger_on(store)
    reaper = stopped(Reaper(ledger, store.client))
    await noted(reaper, store, "acme")
    await store.client.delete(BUSY)
    for _ in range(1_000):
        reaper.note("acme")
    await noted(reaper, store, "other")
    assert set(await busy(store)) == {b"other"}


async def test_a_store_that_is_away_is_counted_and_told_again(
    redis_server: RedisServer, piped: Store, stopped: Stopped
) -> None:
    """failure row 13"""
    ledger = ledger_on(piped)
    await opened(ledger, "acme")
    reaper = stopped(Reaper(ledger, piped.client, round_s=0.01))
    with redis_server.demoted():
        reaper.note("acme")

        async def failed() -> bool:
            return reaper.failures > 0

        await until(failed)
    await noted(reaper, piped, "acme")


async def test_one_account_that_cannot_be_asked_does_not_keep_the_others(
    store: Store, stopped: Stopped
) -> None:
    """failure row 26"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    reaper = stopped(Reaper(ledger, store.client, look_after_ms=0))
    await store.client.set("qg:{broken}:books", "text")
    await noted(reaper, store, "acme", "broken")

    with pytest.raises(StoreError):
        await reaper.sweep()
    await reaper.sweep()
    assert set(await busy(store)) == {b"broken"}
