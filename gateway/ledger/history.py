"""History: what a counter did hour by hour and day by day (UTC), as its commits wrote it.

Rows are sparse: an hour in which nothing moved has none. A cumulative meter's row is a sum; a
level's says how it opened, its peak and how it closed, so that the level between two rows is known
from either side. Hours are kept for 100 days and days for 400; beyond that nothing is told.

The hour that is running counts with what has happened in it so far. A day's row is the sum of its
hours, so whole days are read as days; where hours are not kept any more, a day that a span has only
a part of counts as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis, RedisCluster

from gateway.ledger.rows import Found, Held, Part, RowReader, Rows, Sums
from gateway.ledger.spans import DAY_MS, HOUR_MS, Grain, Span

HOURS_KEPT_MS = 100 * DAY_MS
DAYS_KEPT_MS = 470 * DAY_MS
"""A month's days are kept for 435 days after the last of them."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How much a cumulative counter moved in a bucket; negative after an adjustment downwards."""

    start_ms: int
    amount: int


@dataclass(frozen=True, slots=True)
class Level:
    """What a level counter held in a bucket. The peak includes what it opened with."""

    start_ms: int
    opening: int
    peak: int
    closing: int


@dataclass(frozen=True, slots=True)
class Report:
    """Counter → how much it moved in a span, and → the same bucket by bucket."""

    totals: Mapping[str, int]
    trends: Mapping[str, tuple[Sum, ...]]


class History:
    """`counter` is a counter's name, `<scope>/<meter>`. Verbs raise StoreError."""

    def __init__(self, client: "Redis | RedisCluster", now_ms: Callable[[], int]) -> None:
        self._rows = RowReader(client)
        self._now_ms = now_ms

    # -- cumulative meters ------------------------------------------------------------------------

    async def sums(self, account: str, counter: str, span: Span, grain: Grain) -> tuple[Sum, ...]:
        """Every bucket of the span, also those in which nothing moved."""
        ((rows,),) = await self._rows.read(account, Rows((counter,), ((span, grain),)))
        return _sums(rows, ((span, grain),), grain)

    async def totals(self, account: str, counters: Sequence[str], span: Span) -> Mapping[str, int]:
        """Counter → how much it moved in a span on the hour. Any number of counters: they are asked
        for a part at a time, and others come in between."""
        if span.from_ms >= span.until_ms:
            return dict.fromkeys(counters, 0)
        sums = await self._rows.sums(account, counters, self._parts(span))
        return dict(zip(counters, sums, strict=True))

    async def report(
        self,
        account: str,
        span: Span,
        *,
        totals: Sequence[str] = (),
        trends: Sequence[str] = (),
        grain: Grain = Grain.DAY,
    ) -> Report:
        """What a page about one account needs, in one round trip. A trend has every bucket of the
        span, also those in which nothing moved; of its first and its last day as much as lies in
        the span."""
        if span.from_ms >= span.until_ms:
            return Report(dict.fromkeys(totals, 0), dict.fromkeys(trends, ()))
        parts = self._parts(span)
        drawn = parts if grain is Grain.DAY else ((span, Grain.HOUR),)
        sums, rows = await self._rows.read(
            account, Sums(tuple(totals), parts), Rows(tuple(trends), drawn)
        )
        return Report(
            dict(zip(totals, sums, strict=True)),
            {name: _sums(of, drawn, grain) for name, of in zip(trends, rows, strict=True)},
        )

    # -- levels -----------------------------------------------------------------------------------

    async def levels(
        self, account: str, counter: str, span: Span, grain: Grain
    ) -> tuple[Level, ...]:
        """Every bucket of the span; one in which nothing moved stands at what it opened with."""
        ((rows,), *around) = await self._rows.read(
            account, Rows((counter,), ((span, grain),)), *self._around(counter, span.from_ms)
        )
        level = _level_at(span.from_ms, around)
        levels = []
        for start, row in zip(span.buckets(grain), rows, strict=True):
            opening, peak, level = _level(row, level)
            levels.append(Level(start, opening, peak, level))
        return tuple(levels)

    async def peak(self, account: str, counter: str, span: Span) -> int:
        """The highest level at any moment of a span on the hour; of an empty one, its level."""
        there = self._there(span)
        parts = self._parts(there) if there.from_ms < there.until_ms else ()
        ((rows,), *around) = await self._rows.read(
            account, Rows((counter,), parts), *self._around(counter, span.from_ms)
        )
        level = _level_at(span.from_ms, around)
        return max((level, *(_level(row, 0)[1] for row in rows if row is not None)))

    async def level_at(self, account: str, counter: str, at_ms: int) -> int:
        """What was held at an instant on the hour; on the day, where hours are not kept."""
        around = await self._rows.read(account, *self._around(counter, at_ms))
        return _level_at(at_ms, around)

    def _around(self, counter: str, at_ms: int) -> tuple[Rows, Rows, Held]:
        """What has to be known for the level at an instant."""
        day = at_ms // DAY_MS * DAY_MS
        later = Span(day, max(self._now_ms(), at_ms) + 1)
        return (
            Rows((counter,), ((Span(day, day + DAY_MS), Grain.HOUR),)),
            Rows((counter,), ((later, Grain.DAY),)),
            Held((counter,)),
        )

    def _there(self, span: Span) -> Span:
        """What may be known of a span, however long: nothing is kept for ever, or lies ahead."""
        now_ms = self._now_ms()
        first_ms = (now_ms - DAYS_KEPT_MS) // DAY_MS * DAY_MS
        return Span(
            max(span.from_ms, first_ms), min(span.until_ms, now_ms // DAY_MS * DAY_MS + 2 * DAY_MS)
        )

    def _parts(self, span: Span) -> tuple[Part, ...]:
        """Whole days by their days, the rest by hours while those are kept."""
        kept_ms = self._now_ms() - HOURS_KEPT_MS
        from_ms, until_ms = span.from_ms, span.until_ms
        if from_ms < kept_ms:
            from_ms = from_ms // DAY_MS * DAY_MS
        if until_ms < kept_ms:
            until_ms = -(-until_ms // DAY_MS) * DAY_MS
        first_day = -(-from_ms // DAY_MS) * DAY_MS
        last_day = until_ms // DAY_MS * DAY_MS
        if first_day >= last_day:
            return ((Span(from_ms, until_ms), Grain.HOUR),)
        parts = (
            (Span(from_ms, first_day), Grain.HOUR),
            (Span(first_day, last_day), Grain.DAY),
            (Span(last_day, until_ms), Grain.HOUR),
        )
        return tuple(part for part in parts if part[0].from_ms < part[0].until_ms)


def _sums(rows: Sequence[bytes | None], parts: Sequence[Part], grain: Grain) -> tuple[Sum, ...]:
    """Rows by bucket, as sums of `grain`; what is finer is added up."""
    starts = [start for span, of in parts for start in span.buckets(of)]
    sums: dict[int, int] = {}
    for start, row in zip(starts, rows, strict=True):
        bucket = start // grain.ms * grain.ms
        sums[bucket] = sums.get(bucket, 0) + int(row or 0)
    first = starts[0] if starts else 0
    return tuple(Sum(max(start, first), amount) for start, amount in sums.items())


def _level_at(at_ms: int, around: Sequence[Found]) -> int:
    """The nearest row tells: the last before by how it closed, or the first after by how it opened.
    Without either nothing has moved since, and it is what is held now."""
    (hours,), (days,), (held,) = around
    at = at_ms % DAY_MS // HOUR_MS
    before = [row for row in hours[:at] if row is not None]
    if before:
        return _level(before[-1], 0)[2]
    after = [row for row in (*hours[at:], *days) if row is not None]
    return _level(after[0], 0)[0] if after else int(held)


def _level(row: bytes | None, level: int) -> tuple[int, int, int]:
    """Opening, peak and closing; `level` throughout when there is no row."""
    if row is None:
        return level, level, level
    opening, peak, closing = map(int, row.split())
    return opening, peak, closing
