"""Ranges of history: totals, trends and peaks of a span, exact and at a bounded cost."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.ledger.address import Address
from gateway.ledger.history import History, Report, Sum
from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import client_of
from gateway.ledger.rows import ROWS_MAX
from gateway.ledger.spans import DAY_MS, HOUR_MS, Grain, Span
from tests.ledger.stage import NOON_MS, Stage, ms_of
from tests.redis_server import RedisServer

MIDNIGHT_MS = NOON_MS - DAY_MS // 2
METERS = ("viewing_bytes", "viewing_seconds", "views")


def history_of(stage: Stage) -> History:
    return History(stage.store.client, lambda: stage.store_ms)


@pytest.mark.parametrize("seed", range(3))
async def test_any_span_comes_to_what_happened_in_it(stage: Stage, seed: int) -> None:
    """Against a list of all that happened; from before the account to after now."""
    pick = random.Random(seed)
    await stage.open()
    events: list[tuple[int, int, int]] = []
    for number in range(50):
        stage.move_clock(stage.store_ms + pick.choice([600_000, HOUR_MS // 2, 7 * HOUR_MS, DAY_MS]))
        who, amount = pick.randrange(3), pick.randint(1, 50)
        events.append((stage.store_ms, who, amount))
        stage.terms = replace(stage.terms, subject=("creator", str(who)))
        await stage.do(f"adjust J{number} egress={amount}")
    history = history_of(stage)
    counters = ("a/egress", *(f"s:creator:{who}/egress" for who in range(4)))

    def moved(span: Span, who: int | None = None) -> int:
        return sum(
            amount
            for at, by, amount in events
            if span.from_ms <= at < span.until_ms and who in (None, by)
        )

    first = MIDNIGHT_MS - 2 * DAY_MS
    for _ in range(20):
        from_ms = pick.randrange(first, stage.store_ms, HOUR_MS)
        span = Span(from_ms, from_ms + pick.choice([0, 1, 5, 24, 49, 500]) * HOUR_MS)
        wanted = [moved(span), *(moved(span, who) for who in range(4))]
        totals = await history.totals("acme", counters, span)
        assert [*totals.values()] == wanted
        report = await history.report(
            "acme", span, totals=counters, trends=("a/egress", counters[2]), grain=Grain.DAY
        )
        assert report.totals == totals
        assert report.trends["a/egress"] == _cut(span, DAY_MS, moved)
        assert report.trends[counters[2]] == _cut(span, DAY_MS, lambda part: moved(part, 1))
        hours = await history.report("acme", span, trends=("a/egress",), grain=Grain.HOUR)
        assert hours == Report({}, {"a/egress": _cut(span, HOUR_MS, moved)})


def _cut(span: Span, step_ms: int, moved: Any) -> tuple[Sum, ...]:
    """A span cut where days, or hours, begin."""
    points: list[Sum] = []
    at = span.from_ms
    while at < span.until_ms:
        until = min(span.until_ms, (at // step_ms + 1) * step_ms)
        points.append(Sum(at, moved(Span(at, until))))
        at = until
    return tuple(points)


async def test_the_hour_that_is_running_counts_so_far(stage: Stage) -> None:
    await stage.open()
    span = Span(NOON_MS, NOON_MS + HOUR_MS)
    history = history_of(stage)
    for number, total in ((1, 5), (2, 10), (3, 15)):
        await stage.do(f"adjust J{number} egress=5 storage=5")
        await stage.do("tick 10m")
        assert await history.totals("acme", ["a/egress"], span) == {"a/egress": total}
        assert await history.peak("acme", "a/storage", span) == total


async def test_a_range_before_the_account_is_empty(stage: Stage) -> None:
    await stage.open()
    await stage.do("adjust J egress=5 storage=7")
    history = history_of(stage)
    before = Span(MIDNIGHT_MS - 300 * DAY_MS, MIDNIGHT_MS - 210 * DAY_MS)
    assert await history.totals("acme", ["a/egress"], before) == {"a/egress": 0}
    assert await history.peak("acme", "a/storage", before) == 0
    around = Span(MIDNIGHT_MS - 80 * DAY_MS, MIDNIGHT_MS + DAY_MS)
    report = await history.report("acme", around, totals=["a/egress"], trends=["a/egress"])
    assert report.totals == {"a/egress": 5}
    assert [point.amount for point in report.trends["a/egress"]] == [0] * 80 + [5]
    assert await history.peak("acme", "a/storage", around) == 7
    assert await history.totals("nobody", ["a/egress"], around) == {"a/egress": 0}
    assert await history.peak("nobody", "a/storage", around) == 0


async def test_an_empty_range_asks_nothing(stage: Stage) -> None:
    await stage.open()
    await stage.do("adjust J egress=5 storage=7")
    history = history_of(stage)
    nothing = Span(NOON_MS + HOUR_MS, NOON_MS + HOUR_MS)
    assert await history.totals("acme", ["a/egress"], nothing) == {"a/egress": 0}
    assert await history.report("acme", nothing, totals=["a/egress"], trends=["x"]) == Report(
        {"a/egress": 0}, {"x": ()}
    )
    assert await history.peak("acme", "a/storage", nothing) == 7
    assert await history.totals("acme", [], Span(NOON_MS, NOON_MS + HOUR_MS)) == {}


async def test_a_peak_of_thousands_of_years_costs_no_more_than_what_is_kept(stage: Stage) -> None:
    await stage.open()
    await stage.do("adjust J1 storage=9")
    await stage.do("adjust J2 storage=-2")
    history = history_of(stage)
    span = Span(0, ms_of("8999-12-31T00:00:00Z"))
    assert await history.peak("acme", "a/storage", span) == 9
    there = history._there(span)
    assert there.until_ms - there.from_ms < 480 * DAY_MS
    assert there.from_ms <= stage.store_ms < there.until_ms
    ahead = Span(stage.store_ms // DAY_MS * DAY_MS + 9 * DAY_MS, span.until_ms)
    assert await history.peak("acme", "a/storage", ahead) == 7


async def test_a_peak_between_two_looks_is_seen(stage: Stage) -> None:
    """It is written down when it happens, not sampled: it may last for no time at all."""
    await stage.open()
    await stage.tell(
        """
        adjust J1 storage=40
        tick 26h
        adjust J2 storage=1000
        adjust J3 storage=-1030
        tick 26h
        adjust J4 storage=1
        """
    )
    history = history_of(stage)
    for span, peak in (
        (Span(NOON_MS, NOON_MS + HOUR_MS), 40),
        (Span(NOON_MS + HOUR_MS, NOON_MS + 26 * HOUR_MS), 40),
        (Span(NOON_MS + 26 * HOUR_MS, NOON_MS + 27 * HOUR_MS), 1040),
        (Span(NOON_MS + 27 * HOUR_MS, NOON_MS + 52 * HOUR_MS), 10),
        (Span(NOON_MS, NOON_MS + 53 * HOUR_MS), 1040),
        (Span(MIDNIGHT_MS - 90 * DAY_MS, MIDNIGHT_MS), 0),
    ):
        assert await history.peak("acme", "a/storage", span) == peak


@pytest.mark.parametrize("seed", range(2))
async def test_any_peak_is_the_highest_of_all_that_happened(stage: Stage, seed: int) -> None:
    pick = random.Random(seed)
    await stage.open()
    level, events = 0, list[tuple[int, int]]()
    for number in range(40):
        stage.move_clock(stage.store_ms + pick.choice([60_000, HOUR_MS, 30 * HOUR_MS]))
        delta = pick.randint(-level, 50)
        level += delta
        events.append((stage.store_ms, delta))
        await stage.do(f"adjust J{number} storage={delta}")
    history = history_of(stage)
    for _ in range(20):
        from_ms = pick.randrange(MIDNIGHT_MS - DAY_MS, stage.store_ms, HOUR_MS)
        span = Span(from_ms, from_ms + pick.choice([1, 5, 24, 49, 200]) * HOUR_MS)
        before = sum(delta for at, delta in events if at < from_ms)
        inside = [delta for at, delta in events if span.from_ms <= at < span.until_ms]
        peak = max(accumulate(inside, initial=before))
        assert await history.peak("acme", "a/storage", span) == peak


async def test_beyond_its_hours_a_day_counts_as_a_whole(stage: Stage) -> None:
    await stage.open()
    await stage.tell("adjust J1 egress=5\ntick 3h\nadjust J2 egress=7 storage=9")
    redis: Any = stage.store.client
    await stage.do("tick 150d")
    await redis.delete(keys_of("acme").hours("20260101"))
    history = history_of(stage)
    span = Span(NOON_MS + HOUR_MS, NOON_MS + 2 * HOUR_MS)
    assert await history.totals("acme", ["a/egress"], span) == {"a/egress": 12}
    assert await history.peak("acme", "a/storage", span) == 9
    report = await history.report("acme", span, trends=["a/egress"], grain=Grain.DAY)
    assert report.trends["a/egress"] == (Sum(MIDNIGHT_MS, 12),)


async def test_february_of_a_leap_year_has_its_last_day(stage: Stage) -> None:
    stage.store_ms = ms_of("2028-02-29T10:00:00Z")
    await stage.open()
    await stage.tell("adjust J1 egress=5\ntick 24h\nadjust J2 egress=7")
    span = Span(ms_of("2028-01-31T00:00:00Z"), ms_of("2028-03-02T00:00:00Z"))
    report = await history_of(stage).report(
        "acme", span, totals=["a/egress"], trends=["a/egress"], grain=Grain.DAY
    )
    assert report.totals == {"a/egress": 12}
    moved = {point.start_ms: point.amount for point in report.trends["a/egress"] if point.amount}
    assert moved == {ms_of("2028-02-29T00:00:00Z"): 5, ms_of("2028-03-01T00:00:00Z"): 7}


async def test_a_row_that_cannot_be_read_is_told(stage: Stage) -> None:
    await stage.open()
    redis: Any = stage.store.client
    await redis.hset(keys_of("acme").hours("20260101"), "12/a/egress", "many")
    history = history_of(stage)
    with pytest.raises(StoreError, match="12/a/egress cannot be read"):
        await history.totals("acme", ["a/egress"], Span(NOON_MS, NOON_MS + HOUR_MS))
    stage.audited = False
    await redis.hset(keys_of("acme").books, "a/storage", "x")
    with pytest.raises(StoreError, match="a/storage cannot be read"):
        await history.level_at("acme", "a/storage", NOON_MS)


# -- what it costs, by Redis's own watch ----------------------------------------------------------

NOW_MS = ms_of("2026-06-30T13:30:00Z")
_END_MS = NOW_MS // HOUR_MS * HOUR_MS + HOUR_MS
NINETY_DAYS = Span(_END_MS - 90 * DAY_MS, _END_MS)


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Any]:
    client = client_of(Address(path=str(redis_server.socket)))
    yield client
    await client.aclose()


async def fill(redis: Any, counters: Sequence[str], *, hours: bool) -> None:
    """100 days in which every hour, if asked for, and every day has rows."""
    keys = keys_of("acme")
    for day_ms in range(NOW_MS // DAY_MS * DAY_MS - 100 * DAY_MS, NOW_MS, DAY_MS):
        at = datetime.fromtimestamp(day_ms / 1000, UTC)
        days = {f"{at:%d}/{name}": 48 for name in counters}
        await redis.hset(keys.days(f"{at:%Y%m}"), mapping=days)
        if hours:
            rows = {f"{hour:02}/{name}": 2 for hour in range(24) for name in counters}
            await redis.hset(keys.hours(f"{at:%Y%m%d}"), mapping=rows)


async def costs(redis: Any, read: Callable[[], Awaitable[None]], times: int) -> tuple[int, float]:
    """How many scripts one reading is, and the microseconds of CPU that Redis takes for it: others
    share this machine, so that its clock on the wall tells nothing."""
    await redis.config_resetstat()
    before = await redis.info("cpu")
    for _ in range(times):
        await read()
    after, stats = await redis.info("cpu"), await redis.info("commandstats")
    spent = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return stats["cmdstat_eval"]["calls"] // times, spent * 1e6 / times


async def test_ninety_days_of_an_account_take_less_than_5_ms(redis: Any) -> None:
    """Its trend by days; by the hour, which are 4,320 rows more, twice that."""
    history = History(redis, lambda: NOW_MS)
    names = [f"a/{meter}" for meter in (*METERS, "m4", "m5", "m6")]
    await fill(redis, names, hours=True)

    async def read(grain: Grain) -> None:
        report = await history.report(
            "acme", NINETY_DAYS, totals=names, trends=names[:2], grain=grain
        )
        assert set(report.totals.values()) == {90 * 48}

    for grain, most_us in ((Grain.DAY, 5_000), (Grain.HOUR, 10_000)):
        scripts, spent_us = await costs(redis, partial(read, grain), 20)
        print(f"90 days of 6 meters, a trend of 2 by the {grain}: {spent_us:.0f} us")
        assert scripts == 1
        assert spent_us < most_us


async def test_a_page_of_subjects_lets_others_in_between(redis: Any) -> None:
    """54,000 rows, and no script that looks for all of them."""
    history = History(redis, lambda: NOW_MS)
    names = [f"s:target:{n:04}/{meter}" for n in range(200) for meter in METERS]
    await fill(redis, names, hours=False)
    today = NOW_MS // DAY_MS * DAY_MS
    span = Span(today - 90 * DAY_MS, today)

    async def read() -> None:
        totals = await history.totals("acme", names, span)
        assert set(totals.values()) == {90 * 48}

    scripts, spent_us = await costs(redis, read, 3)
    print(f"{len(names)} counters over 90 days: {scripts} scripts of {spent_us / scripts:.0f} us")
    assert scripts == -(-len(names) // (ROWS_MAX // 90))
    assert spent_us / scripts < 10_000
