"""The heartbeat: leases of running requests do not end, and those of a dead gateway do."""

import logging

import pytest

from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.heartbeat import Heartbeat
from gateway.ledger.ledger import Ledger
from gateway.ledger.reaper import BUSY, Reaper
from gateway.ledger.store import Store
from tests.cable import Cable
from tests.ledger.lively import Stopped, ledger_on, opened, reserve, reserved, until


async def test_a_running_reservation_outlives_its_lease_and_a_dead_one_does_not(
    store: Store, stopped: Stopped
) -> None:
    """failure row 2, failure row 3"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    heartbeat = stopped(Heartbeat(ledger, lease_ms=400, interval_s=0.05))
    await reserve(ledger, "acme", "living", lease_ms=400)
    await reserve(ledger, "acme", "dead", lease_ms=400)
    heartbeat.add("acme", "living")
    heartbeat.start()

    async def one_is_left() -> bool:
        return await reserved(ledger, "acme") == 1

    await until(one_is_left)
    (holder,) = await ledger.holders("acme")
    assert holder.id == "living"
    await heartbeat.stop()

    async def none_is_left() -> bool:
        return await reserved(ledger, "acme") == 0

    await until(none_is_left)


async def test_what_is_over_soon_costs_no_call(store: Store) -> None:
    cable = Cable(store.settlement)
    ledger = Ledger(store.admission, cable, StoreClock())
    await opened(ledger, "acme")
    heartbeat = Heartbeat(ledger, lease_ms=10_000, interval_s=60)
    cable.calls.clear()
    for number in range(10):
        heartbeat.add("acme", f"r{number}")
        await heartbeat.beat()
        heartbeat.discard(f"r{number}")
    assert cable.calls == []
    assert len(heartbeat) == 0


async def test_all_reservations_of_an_account_are_extended_in_one_call(store: Store) -> None:
    cable = Cable(store.settlement)
    ledger = Ledger(store.admission, cable, StoreClock())
    await opened(ledger, "acme", "other")
    noted: list[str] = []
    heartbeat = Heartbeat(ledger, lease_ms=10_000, interval_s=0, note=noted.append)
    for number in range(40):
        account = "other" if number % 4 == 0 else "acme"
        await reserve(ledger, account, f"r{number}", lease_ms=10_000)
        heartbeat.add(account, f"r{number}")
    cable.calls.clear()
    noted.clear()
    await heartbeat.beat()
    assert cable.calls == ["extend", "extend"]
    assert sorted(noted) == ["acme", "other"]


async def test_a_beat_lets_no_lease_end_sooner_than_it_does(store: Store) -> None:
    """failure row 12: what outlives its request (a job, an upload, a doubt) gets a lease of its own
    while a beat is on its way that still counts it among the running ones."""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    heartbeat = Heartbeat(ledger, lease_ms=10_000, interval_s=0)
    for name in ("job", "running"):
        await reserve(ledger, "acme", name, lease_ms=5_000)
        heartbeat.add("acme", name)
    assert await ledger.extend("acme", ["job"], 3_600_000) == ()
    before = {holder.id: holder.lease_end_ms for holder in await ledger.holders("acme")}
    await heartbeat.beat()
    after = {holder.id: holder.lease_end_ms for holder in await ledger.holders("acme")}
    assert after["job"] == before["job"]
    assert after["running"] > before["running"] + 4_000
    assert await ledger.extend("acme", ["job"], 1_000) == ()
    after = {holder.id: holder.lease_end_ms for holder in await ledger.holders("acme")}
    assert after["job"] < before["job"]


async def test_a_lease_that_ended_in_use_is_told_once_and_let_go(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """failure row 12"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    heartbeat = Heartbeat(ledger, lease_ms=10_000, interval_s=0)
    heartbeat.add("acme", "lost")
    heartbeat.add("acme", "being-settled")
    with caplog.at_level(logging.WARNING, "gateway.ledger.heartbeat"):
        await heartbeat.beat()
        heartbeat.discard("being-settled")
        await heartbeat.beat()
        await heartbeat.beat()
    assert [record.getMessage() for record in caplog.records] == [
        "the lease of lost ended while it was in use"
    ]
    assert len(heartbeat) == 0


async def test_a_beat_that_failed_is_soon_made_again(
    store: Store, stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 14"""
    monkeypatch.setattr("gateway.ledger.heartbeat.AGAIN_AFTER_S", 0.01)
    cable = Cable(store.settlement)
    ledger = Ledger(store.admission, cable, StoreClock())
    await opened(ledger, "acme")
    heartbeat = stopped(Heartbeat(ledger, lease_ms=10_000, interval_s=0.02))
    await reserve(ledger, "acme", "r", lease_ms=10_000)
    heartbeat.add("acme", "r")
    cable.cut = True
    heartbeat.start()

    async def tried() -> bool:
        return cable.calls.count("extend") > 2

    await until(tried)
    (before,) = await ledger.holders("acme")
    cable.cut = False

    async def extended() -> bool:
        (now,) = await ledger.holders("acme")
        return now.lease_end_ms > before.lease_end_ms

    await until(extended)


async def test_one_account_that_cannot_be_asked_does_not_keep_the_others(store: Store) -> None:
    """failure row 26"""
    ledger = ledger_on(store)
    await opened(ledger, "acme")
    await store.client.set("qg:{broken}:books", "text")
    heartbeat = Heartbeat(ledger, lease_ms=10_000, interval_s=0)
    await reserve(ledger, "acme", "r", lease_ms=1_000)
    heartbeat.add("broken", "b")
    heartbeat.add("acme", "r")
    (before,) = await ledger.holders("acme")
    with pytest.raises(StoreError):
        await heartbeat.beat()
    (after,) = await ledger.holders("acme")
    assert after.lease_end_ms > before.lease_end_ms + 5_000


async def test_after_a_gateways_death_all_is_free_within_the_bound(
    store: Store, stopped: Stopped
) -> None:
    """failure row 2, failure row 3: by the figures of production, and a clock that the test drives.
    Only the order of due looks is the store's own, to which all of these are long due."""
    lease_s, interval_s, round_s, died_s = 10, 3, 2, 40
    now_s = 0

    def now_ms() -> int:
        return 1_000 * (1_000_000_000 + now_s)

    ledger = Ledger(store.admission, store.settlement, StoreClock(), now_ms=now_ms)
    await opened(ledger, "acme")
    dead = stopped(Reaper(ledger, store.client, look_after_ms=0))
    heartbeat = Heartbeat(ledger, lease_ms=lease_s * 1_000, interval_s=0, note=dead.note)
    ended: list[int] = []
    alive = stopped(
        Reaper(ledger, store.client, on_expired=lambda expired: ended.append(expired.count))
    )
    for number in range(50):
        heartbeat.add("acme", f"r{number}")
        await reserve(ledger, "acme", f"r{number}", lease_ms=lease_s * 1_000)

    async def told() -> bool:
        return bool(await store.client.zcard(BUSY))

    await until(told)
    for now_s in range(died_s + lease_s + round_s + 1):
        if now_s < died_s and now_s % interval_s == 0:
            await heartbeat.beat()
        if now_s % round_s == 0:
            await alive.sweep()
        assert not ended or now_s >= died_s
    assert sum(ended) == 50
