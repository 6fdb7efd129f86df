"""History: what commits and adjustments leave behind, read back over any span."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.audit import repair
from gateway.ledger.history import History, Level, Sum
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.scripts import Script
from gateway.ledger.spans import DAY_MS, HOUR_MS, Grain, Span
from gateway.ledger.store import Store
from gateway.ledger.transport import Transport
from tests.ledger.stage import NOON_MS, Stage

MIDNIGHT_MS = NOON_MS - DAY_MS // 2
DAY = Span(MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)


def history_of(stage: Stage) -> History:
    return History(stage.store.client, lambda: stage.store_ms)


async def test_sums_by_hour_and_by_day(stage: Stage) -> None:
    stage.terms = replace(stage.terms, subject=("creator", "ann"))
    await stage.open()
    await stage.tell(
        """
        adjust J1 egress=5
        tick 59m
        adjust J2 egress=2
        tick 2h
        reserve A egress=10 requests=1
        commit A egress=7 requests=1
        adjust J3 egress=-3
        tick 24h
        adjust J4 egress=11
        """
    )
    history = history_of(stage)
    for counter in ("a/egress", "s:creator:ann/egress"):
        hours = await history.sums("acme", counter, DAY, Grain.HOUR)
        assert len(hours) == 24
        assert [s for s in hours if s.amount] == [
            Sum(NOON_MS, 7),
            Sum(NOON_MS + 2 * HOUR_MS, 4),
        ]
        two_days = Span(DAY.from_ms, DAY.until_ms + DAY_MS)
        days = await history.sums("acme", counter, two_days, Grain.DAY)
        assert [s.amount for s in days] == [11, 11]
    assert [s.amount for s in await history.sums("acme", "a/requests", DAY, Grain.DAY)] == [1]
    assert [s.amount for s in await history.sums("acme", "a/storage", DAY, Grain.DAY)] == [0]


async def test_a_day_is_summed_across_the_starts_of_shorter_periods(stage: Stage) -> None:
    stage.plan(Plan("test", periods={"egress": PeriodRule(PeriodKind.HOUR)}))
    await stage.open()
    for number in range(5):
        await stage.do(f"adjust J{number} egress=10")
        await stage.do("tick 30m")
    days = await history_of(stage).sums("acme", "a/egress", DAY, Grain.DAY)
    assert [s.amount for s in days] == [50]


async def test_a_level_opens_peaks_and_closes(stage: Stage) -> None:
    await stage.open()
    await stage.tell(
        """
        adjust J1 storage=40
        adjust J2 storage=30
        adjust J3 storage=-50
        tick 2h
        adjust J4 storage=-5
        tick 22h
        adjust J5 storage=100
        """
    )
    history = history_of(stage)
    hours = await history.levels("acme", "a/storage", DAY, Grain.HOUR)
    assert hours[11:16] == (
        Level(NOON_MS - HOUR_MS, 0, 0, 0),
        Level(NOON_MS, 0, 70, 20),
        Level(NOON_MS + HOUR_MS, 20, 20, 20),
        Level(NOON_MS + 2 * HOUR_MS, 20, 20, 15),
        Level(NOON_MS + 3 * HOUR_MS, 15, 15, 15),
    )
    days = await history.levels(
        "acme", "a/storage", Span(DAY.from_ms - DAY_MS, DAY.until_ms + 2 * DAY_MS), Grain.DAY
    )
    assert [(d.opening, d.peak, d.closing) for d in days] == [
        (0, 0, 0),
        (0, 70, 15),
        (15, 115, 115),
        (115, 115, 115),
    ]


async def test_a_level_that_has_not_moved_for_long_is_what_is_held_now(stage: Stage) -> None:
    await stage.open()
    await stage.do("adjust J1 storage=40")
    redis: Any = stage.store.client
    await redis.delete(keys_of("acme").hours("20260101"), keys_of("acme").days("202601"))
    await stage.do("tick 300d")
    span = Span(MIDNIGHT_MS + 200 * DAY_MS, MIDNIGHT_MS + 201 * DAY_MS)
    assert await history_of(stage).peak("acme", "a/storage", span) == 40
    assert await history_of(stage).level_at("acme", "a/none", span.from_ms) == 0


async def test_days_tell_when_their_hours_are_gone(stage: Stage) -> None:
    await stage.open()
    await stage.do("adjust J1 storage=40")
    await stage.do("tick 24h")
    await stage.do("adjust J2 storage=-15")
    redis: Any = stage.store.client
    await redis.delete(keys_of("acme").hours("20260101"), keys_of("acme").hours("20260102"))
    await stage.do("tick 150d")
    history = history_of(stage)
    levels = [
        await history.level_at("acme", "a/storage", MIDNIGHT_MS + day * DAY_MS) for day in range(4)
    ]
    assert levels == [0, 40, 25, 25]


async def test_rows_live_as_long_as_is_promised(store: Store) -> None:
    stage = Stage(store)
    await stage.open()
    await stage.do("adjust J1 storage=40 egress=1")
    await stage.do("tick 24h")
    await stage.do("adjust J2 storage=40 egress=1")
    redis: Any = store.client
    hours = await redis.ttl(keys_of("acme").hours("20260101"))
    days = await redis.ttl(keys_of("acme").days("202601"))
    assert hours >= 101 * 86_400 - 60
    assert days >= (400 + 31) * 86_400 - 60


async def test_api_keys_leave_no_history(stage: Stage) -> None:
    stage.plan(Plan("test", key_limits={"egress": 100}))
    stage.terms = replace(stage.terms, key_id="key1")
    await stage.open()
    await stage.do("adjust J1 egress=40")
    await stage.do("tick 1h")
    await stage.do("adjust J2 egress=40")
    redis: Any = stage.store.client
    assert await redis.hkeys(keys_of("acme").hours("20260101")) == [b"12/a/egress"]


@pytest.mark.parametrize("seed", range(4))
async def test_any_span_tells_what_happened_in_it(stage: Stage, seed: int) -> None:
    """Against a list of all that happened."""
    pick = random.Random(seed)
    await stage.open()
    events: list[tuple[int, int]] = []
    level = 0
    for number in range(60):
        stage.move_clock(stage.store_ms + pick.choice([60_000, HOUR_MS // 2, 7 * HOUR_MS, DAY_MS]))
        delta = pick.randint(-level, 50)
        level += delta
        events.append((stage.store_ms, delta))
        await stage.do(f"adjust J{number} storage={delta} egress={abs(delta)}")
    history = history_of(stage)

    def level_at(at_ms: int) -> int:
        return sum(delta for at, delta in events if at < at_ms)

    def peak(span: Span) -> int:
        inside = [delta for at, delta in events if span.from_ms <= at < span.until_ms]
        return max(accumulate(inside, initial=level_at(span.from_ms)))

    first, last = events[0][0] // DAY_MS * DAY_MS - DAY_MS, events[-1][0] // HOUR_MS * HOUR_MS
    for _ in range(12):
        from_ms = pick.randrange(first, last, HOUR_MS)
        span = Span(from_ms, from_ms + pick.choice([1, 5, 24, 49, 200]) * HOUR_MS)
        assert await history.level_at("acme", "a/storage", from_ms) == level_at(from_ms)
        assert await history.peak("acme", "a/storage", span) == peak(span)
        for found in await history.levels("acme", "a/storage", span, Grain.HOUR):
            hour = Span(found.start_ms, found.start_ms + HOUR_MS)
            assert found.peak == peak(hour)
            assert found.closing == level_at(hour.until_ms)
        for total in await history.sums("acme", "a/egress", span, Grain.HOUR):
            until = total.start_ms + HOUR_MS
            moved = [abs(d) for at, d in events if total.start_ms <= at < until]
            assert total.amount == sum(moved)
        day = Span(from_ms // DAY_MS * DAY_MS, span.until_ms)
        for found in await history.levels("acme", "a/storage", day, Grain.DAY):
            assert found.peak == peak(Span(found.start_ms, found.start_ms + DAY_MS))


async def test_trouble_is_told_as_ours(stage: Stage) -> None:
    stage.audited = False
    redis: Any = stage.store.client
    await redis.set(keys_of("acme").hours("20260101"), "text")
    await redis.set(keys_of("acme").books, "text")
    history = history_of(stage)
    with pytest.raises(StoreError):
        await history.sums("acme", "a/egress", DAY, Grain.HOUR)
    with pytest.raises(StoreError):
        await history.level_at("acme", "a/egress", DAY.from_ms - DAY_MS)


class Recording:
    """A transport that notes which scripts were run, and what they answered first."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.ran: list[tuple[str, bytes]] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        reply = await self.inner.run(script, keys, args)
        self.ran.append((script.name, reply[0]))
        return reply

    async def close(self) -> None:
        pass


async def test_the_first_move_after_an_hour_writes_it_to_its_buckets(stage: Stage) -> None:
    """One call more, once; and all who read are told the same before and after."""
    await stage.open()
    way = Recording(stage.store.settlement)
    stage.ledger = Ledger(way, way, StoreClock(), now_ms=lambda: stage.store_ms)
    redis: Any = stage.store.client
    keys = keys_of("acme")
    await stage.tell(
        """
        reserve A storage=10 egress=5
        commit A storage=10 egress=5 as x
        reserve B storage=1 egress=1
        adjust J1 storage=4
        adjust J2 storage=-4
        tick 26h
        """
    )
    assert await redis.exists(keys.hours("20260101"), keys.days("202601")) == 0
    history = history_of(stage)
    span = Span(MIDNIGHT_MS, MIDNIGHT_MS + 2 * DAY_MS)

    async def told() -> Any:
        return [
            await history.levels("acme", "a/storage", span, Grain.HOUR),
            await history.sums("acme", "a/egress", span, Grain.HOUR),
            await history.levels("acme", "a/storage", DAY, Grain.DAY),
            await history.sums("acme", "a/egress", DAY, Grain.DAY),
        ]

    before = await told()
    assert before[2] == (Level(MIDNIGHT_MS, 0, 14, 10),)
    assert before[3] == (Sum(MIDNIGHT_MS, 5),)
    way.ran.clear()
    await stage.do("commit B storage=0 egress=2")
    await stage.do("adjust K egress=1")
    assert way.ran == [("commit", b"stale"), ("commit", b"settled"), ("adjust", b"adjusted")]
    assert await redis.hgetall(keys.hours("20260101")) == {b"12/a/egress": b"5"}
    assert await redis.hgetall(keys.days("202601")) == {b"01/a/egress": b"5"}
    way.ran.clear()
    await stage.do("remove x")
    assert way.ran[0] == ("remove", b"stale")
    assert (await redis.hgetall(keys.hours("20260101")))[b"12/a/storage"] == b"0 14 10"
    after = await told()
    assert after[2:] == before[2:]
    assert after[0][:24] == before[0][:24]


async def test_an_hour_that_comes_again_is_one_hour(stage: Stage) -> None:
    """The books were ahead of time, wrote that hour down and were set back."""
    await stage.open()
    right_ms = stage.store_ms
    await stage.tell(
        """
        tick 3h
        adjust J1 storage=40 egress=5
        adjust J2 storage=-30
        tick 1h
        adjust J3 storage=1 egress=1
        """
    )
    stage.store_ms = right_ms
    await repair(stage.store.client, "acme", now_ms=right_ms)
    await stage.do("tick 3h")
    await stage.do("adjust J4 storage=9 egress=2")
    hour = Span(NOON_MS + 3 * HOUR_MS, NOON_MS + 4 * HOUR_MS)
    for _ in range(2):
        history = history_of(stage)
        assert await history.sums("acme", "a/egress", hour, Grain.HOUR) == (Sum(hour.from_ms, 7),)
        assert await history.levels("acme", "a/storage", hour, Grain.HOUR) == (
            Level(hour.from_ms, 0, 40, 20),
        )
        await stage.do("tick 1h")
        await stage.do("adjust J5 storage=1 egress=1")
