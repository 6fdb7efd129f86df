"""Settlements go on until the store has taken them, whoever is cancelled meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import CONTENT_MISMATCH, StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.heartbeat import Heartbeat
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Line, Refused, Settled
from gateway.ledger.store import Store
from gateway.proxy import settler
from gateway.proxy.guard import Guard
from gateway.proxy.journal import Journal, Settlement
from gateway.proxy.settler import Settler
from gateway.records.assets import Owners
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics
from tests.cable import Cable

METERS = {"storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes")}
TERMS = Terms("acme", METERS, Plan("p", limits={"storage_bytes": 1_000}))

A_WHILE_S = 0.5
"""Far longer than a settlement is on its way to the store, by which it seems younger than it is."""


async def terms_of(settlement: Settlement) -> Terms | None:
    return TERMS if settlement.account == "acme" else None


class House:
    """A ledger whose settlement cable can be cut, and what settles through it."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.cable = Cable(store.settlement)
        self.ledger = Ledger(store.admission, self.cable, StoreClock())
        self.journal = Journal(directory)
        self.settler = Settler(
            self.ledger, Owners(store.client), Metrics(CollectorRegistry()), self.journal, terms_of
        )
        self.another = Ledger(store.admission, store.settlement, StoreClock())
        """By which another gateway settles, whose cable is not cut."""
        self.owners = Owners(store.client)
        self.heartbeat = Heartbeat(self.ledger, lease_ms=10_000, interval_s=3.0)

    async def reserve(self, reservation_id: str, amount: int) -> None:
        lines = [Line.exact("storage_bytes", amount)]
        outcome = await self.ledger.reserve(TERMS, reservation_id, lines, lease_ms=10_000)
        assert isinstance(outcome, Granted)

    async def standing(self) -> tuple[int, int]:
        (quota,) = (await self.ledger.snapshot(TERMS)).quotas
        return quota.used, quota.reserved

    async def die(self, *, asset: str | None = None, after_s: float = 0.05) -> None:
        """With a commit in the journal that the store has not taken."""
        self.cable.cut = True
        await self.settler.commit(TERMS, "r", {"storage_bytes": 60}, asset=asset)
        assert await self.settler.close(after_s) == 1
        self.cable.cut = False

    async def replay(self, directory: Path) -> None:
        """As the next process does."""
        metrics, journal = Metrics(CollectorRegistry()), Journal(directory)
        settler = Settler(self.ledger, self.owners, metrics, journal, terms_of)
        await settler.start()
        assert await settler.close(5.0) == 0

    async def forget_records(self) -> None:
        await self.owners.client.delete("qg:{acme}:reservations", "qg:{acme}:forget")

    async def settled(self) -> None:
        async with asyncio.timeout(5):
            while self.settler.pending:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(Store.fake(), tmp_path)
    await made.ledger.open_books("acme")
    await made.settler.start()
    yield made
    await made.settler.close(5.0)


async def test_a_commit_that_fails_is_repeated_until_taken(house: House) -> None:
    """failure row 14"""
    await house.reserve("r", 100)
    house.cable.cut = True
    assert await house.settler.commit(TERMS, "r", {"storage_bytes": 60}) is None
    assert house.settler.pending == 1
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (60, 0)


async def test_a_cancelled_settlement_goes_on(house: House) -> None:
    await house.reserve("r", 100)
    house.cable.cut = True
    callers = TaskSet()
    caller = callers.start(house.settler.commit(TERMS, "r", {"storage_bytes": 60}), name="caller")
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (60, 0)


async def test_nobody_queues_behind_what_was_cancelled(house: House) -> None:
    """Else a busy account is answered before it is charged, and for as long as it is busy: then
    another gateway takes a deleted asset off the books before this one puts it there."""
    for name in ("first", "second"):
        await house.reserve(name, 100)
    house.cable.free.clear()
    callers = TaskSet()
    first = house.settler.commit(TERMS, "first", {"storage_bytes": 60})
    caller = callers.start(first, name="first")
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    second = house.settler.commit(TERMS, "second", {"storage_bytes": 7})
    waiting = callers.start(second, name="second")
    await asyncio.sleep(0)
    house.cable.free.set()
    assert isinstance(await waiting, Settled)
    await house.settled()
    assert await house.standing() == (67, 0)


async def test_what_cannot_be_repeated_is_raised(house: House) -> None:
    await house.reserve("r", 100)
    house.cable.broken = True
    with pytest.raises(StoreError):
        await house.settler.release("acme", "r", reason="cut")
    assert house.settler.pending == 0


async def test_a_refusal_is_told_and_counted(house: House) -> None:
    await house.reserve("r", 100)
    assert isinstance(await house.settler.commit(TERMS, "r", {"storage_bytes": 1}), Settled)
    refused = await house.settler.commit(TERMS, "r", {"storage_bytes": 2})
    assert isinstance(refused, Refused)
    assert refused.error is CONTENT_MISMATCH


async def test_what_may_have_been_reserved_unheard_is_released(house: House) -> None:
    await house.reserve("heard-of", 100)
    house.settler.abandon("acme", "heard-of")
    house.settler.abandon("acme", "never-reserved")
    await house.settled()
    assert await house.standing() == (0, 0)


async def test_a_release_that_overtakes_its_reserve_is_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go by different connections; the request that reserved was cancelled meanwhile."""
    monkeypatch.setattr(settler, "RESERVE_UNDER_WAY_S", 0.05)
    house.settler.abandon("acme", "late")
    while "release" not in house.cable.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await house.reserve("late", 100)
    await house.settled()
    assert await house.standing() == (0, 0)


async def test_nothing_waits_for_what_was_abandoned(house: House) -> None:
    await house.reserve("r", 100)
    house.settler.abandon("acme", "never-reserved")
    assert isinstance(await house.settler.commit(TERMS, "r", {"storage_bytes": 60}), Settled)


async def test_what_is_pending_at_the_end_is_replayed_at_the_next_start(
    house: House, tmp_path: Path
) -> None:
    """failure row 6"""
    await house.reserve("r", 100)
    await house.die()
    await house.replay(tmp_path)
    assert await house.standing() == (60, 0)


async def test_a_running_gateway_settles_what_another_has_left(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 6 (and no gateway starts)"""
    monkeypatch.setattr(settler, "TAKE_OVER_S", 0.02)
    other = Settler(
        house.ledger, house.owners, Metrics(CollectorRegistry()), Journal(tmp_path), terms_of
    )
    await other.start()
    await house.reserve("r", 100)
    await house.die()
    async with asyncio.timeout(5):
        while await house.standing() != (60, 0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await other.close(1.0) == 0


async def test_settlements_of_an_account_keep_their_order(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A delete and an upload of the same name, both while the store is away."""
    await house.reserve("one", 100)
    await house.reserve("two", 100)
    await house.settler.commit(TERMS, "one", {"storage_bytes": 60}, asset="files/a")
    house.cable.cut = True
    await house.settler.remove(TERMS, "files/a")
    await house.settler.commit(TERMS, "two", {"storage_bytes": 70}, asset="files/a")
    assert house.settler.pending_of("acme") == 2
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (70, 0)
    assert "settlement pending: remove of acme: " in caplog.text


async def test_what_was_deleted_through_another_gateway_is_not_charged_late(house: House) -> None:
    """failure row 60: the store was away for one of them alone."""
    await house.reserve("r", 100)
    house.cable.cut = True
    await house.settler.commit(TERMS, "r", {"storage_bytes": 60}, asset="files/a")
    await asyncio.sleep(A_WHILE_S)
    assert await house.another.remove(TERMS, "files/a") is None
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (0, 0)


async def test_what_was_stored_through_another_gateway_is_not_removed_late(house: House) -> None:
    for name in ("one", "two"):
        await house.reserve(name, 100)
    await house.settler.commit(TERMS, "one", {"storage_bytes": 60}, asset="files/a")
    house.cable.cut = True
    await house.settler.remove(TERMS, "files/a")
    await house.settler.disown(TERMS, "files/a")
    await asyncio.sleep(A_WHILE_S)
    await house.another.commit(TERMS, "two", {"storage_bytes": 70}, asset="files/a")
    await house.owners.record("files/a", "acme")
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (70, 0)
    assert await house.owners.find("files/a") == "acme"


async def test_what_a_journal_has_kept_comes_late(house: House, tmp_path: Path) -> None:
    """Its gateway died, and meanwhile the asset was deleted through another."""
    await house.reserve("r", 100)
    await house.die(asset="files/a", after_s=A_WHILE_S)
    assert await house.another.remove(TERMS, "files/a") is None
    await house.replay(tmp_path)
    assert await house.standing() == (0, 0)


async def test_what_a_journal_has_kept_too_long_is_not_charged_twice(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gateway died just after the store had taken it, and others came only when its record was
    forgotten: marks are not synced."""
    monkeypatch.setattr(settler, "FORGOTTEN_MS", 50)
    await house.reserve("r", 100)
    await house.die()
    await house.another.commit(TERMS, "r", {"storage_bytes": 60})
    await house.forget_records()
    await house.replay(tmp_path)
    assert await house.standing() == (60, 0)


async def test_what_a_journal_has_kept_for_more_than_a_day_is_charged(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 54: by then there is no record of what has expired either."""
    monkeypatch.setattr(settler, "FORGOTTEN_MS", 5)
    monkeypatch.setattr(settler, "RECORDS_KEPT_MS", 10)
    await house.die()
    await house.replay(tmp_path)
    assert await house.standing() == (60, 0)


async def test_what_has_waited_is_not_older_than_what_it_waited_for(house: House) -> None:
    """On its way a settlement grows older than it said, so it seems to have come up later."""
    await house.reserve("r", 100)
    house.cable.cut = True
    await house.settler.commit(TERMS, "r", {"storage_bytes": 60}, asset="files/a")
    await house.settler.remove(TERMS, "files/a")
    house.cable.free.clear()
    house.cable.cut = False
    tries = len(house.cable.calls)
    async with asyncio.timeout(5):
        while len(house.cable.calls) == tries:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    house.cable.free.set()
    await house.settled()
    assert await house.standing() == (0, 0)


async def test_a_busy_account_has_done_with_an_outage_once_it_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 14: else whatever comes while its queue is taken queues as well, and a busy one
    has never taken the last of it: it would be charged later and later, for all of its day."""
    for name in ("one", "two", "three", "four"):
        await house.reserve(name, 100)
    house.cable.cut = True
    await house.settler.commit(TERMS, "one", {"storage_bytes": 1})
    await house.settler.commit(TERMS, "two", {"storage_bytes": 2}, asset="files/a")
    done, taken, go_on = house.journal.done, asyncio.Event(), asyncio.Event()

    async def held_up(*numbers: int) -> None:
        taken.set()
        await go_on.wait()
        await done(*numbers)

    monkeypatch.setattr(house.journal, "done", held_up)
    house.cable.cut = False
    await taken.wait()
    assert isinstance(await house.settler.commit(TERMS, "three", {"storage_bytes": 4}), Settled)
    # Its turn comes behind another of the same asset.
    four = await house.settler.commit(TERMS, "four", {"storage_bytes": 8}, asset="files/a")
    assert four is None
    assert house.settler.pending_of("acme") == 2
    house.cable.cut = True
    assert await house.settler.release("acme", "unheard-of", reason="cut") is None
    assert house.settler.pending_of("acme") == 3
    house.cable.cut = False
    go_on.set()
    await house.settled()
    assert await house.standing() == (13, 0)


async def test_what_is_pending_is_taken_together_once_the_store_answers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what is about the same asset. Else a busy loop, which comes to each in turn but
    seldom, has not charged the last of it when its lease ends."""
    done, marked = house.journal.done, []

    async def noting(*numbers: int) -> None:
        marked.append(len(numbers))
        await done(*numbers)

    monkeypatch.setattr(house.journal, "done", noting)
    house.cable.cut = True
    for number in range(100):
        asset = "files/a" if number in (20, 30) else None
        await house.reserve(f"r{number}", 1)
        commit = house.settler.commit(TERMS, f"r{number}", {"storage_bytes": 1}, asset=asset)
        assert await commit is None
    house.cable.cut = False
    await house.settled()
    assert marked == [1, 29, 64, 6]
    assert await house.standing() == (99, 0)


async def test_a_commit_whose_record_is_forgotten_is_charged_all_the_same(house: House) -> None:
    """failure row 54"""
    house.cable.cut = True
    await house.settler.commit(TERMS, "forgotten", {"storage_bytes": 60})
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (60, 0)


async def test_a_guard_releases_what_nobody_settled(house: House) -> None:
    await house.reserve("r", 100)

    async def fail() -> None:
        async with Guard(house.settler, house.heartbeat, TERMS, "r"):
            assert len(house.heartbeat) == 1
            raise RuntimeError("the work broke")

    with pytest.raises(RuntimeError):
        await fail()
    assert await house.standing() == (0, 0)
    assert len(house.heartbeat) == 0


async def test_a_guard_settles_once(house: House) -> None:
    await house.reserve("r", 100)
    async with Guard(house.settler, house.heartbeat, TERMS, "r") as guard:
        await guard.commit({"storage_bytes": 60})
        with pytest.raises(AssertionError, match="settled twice"):
            await guard.release("cut")
    assert await house.standing() == (60, 0)


async def test_a_guard_in_doubt_leaves_the_reservation_to_its_lease(house: House) -> None:
    await house.reserve("r", 100)
    async with Guard(house.settler, house.heartbeat, TERMS, "r") as guard:
        guard.leave_in_doubt()
    assert await house.standing() == (0, 100)
    assert len(house.heartbeat) == 0


async def test_a_journal_that_takes_no_more_marks_holds_nothing_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 24: the store is back and the disk is full."""

    async def full(*numbers: int) -> None:
        raise OSError(28, "no space left on device")

    for name in ("one", "two"):
        await house.reserve(name, 100)
    house.cable.cut = True
    for name in ("one", "two"):
        await house.settler.commit(TERMS, name, {"storage_bytes": 60})
    monkeypatch.setattr(house.journal, "done", full)
    house.cable.cut = False
    await house.settled()
    assert await house.standing() == (120, 0)
    await house.reserve("three", 100)
    assert isinstance(await house.settler.commit(TERMS, "three", {"storage_bytes": 1}), Settled)


async def test_order_is_kept_while_a_settlement_is_being_written_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was pending before it is taken just then, and a later one comes."""
    for name in ("one", "two", "three"):
        await house.reserve(name, 100)
    await house.settler.commit(TERMS, "one", {"storage_bytes": 60}, asset="files/a")
    house.cable.cut = True
    await house.settler.release("acme", "three", reason="cut")
    append, writing, go_on = house.journal.append, asyncio.Event(), asyncio.Event()

    async def slow(settlement: Settlement) -> int:
        writing.set()
        await go_on.wait()
        return await append(settlement)

    monkeypatch.setattr(house.journal, "append", slow)
    tasks = TaskSet()
    tasks.start(house.settler.remove(TERMS, "files/a"), name="remove")
    await writing.wait()
    house.cable.cut = False
    await house.settled()
    tasks.start(
        house.settler.commit(TERMS, "two", {"storage_bytes": 70}, asset="files/a"), name="commit"
    )
    await asyncio.sleep(0.01)
    go_on.set()
    await tasks.join()
    await house.settled()
    assert await house.standing() == (70, 0)
