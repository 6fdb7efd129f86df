"""History: what a counter did hour by hour and day by day (UTC), as its commits wrote it.

Rows are sparse: an hour in which nothing moved has none. A cumulative meter's row is a sum; a
level's says how it opened, its peak and how it closed, so that the level between two rows is known
from either side. Hours are kept for 100 days and days for 400; beyond that nothing is told.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import as_store_error

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Grain(StrEnum):
    HOUR = "hour"
    DAY = "day"

    @property
    def ms(self) -> int:
        return HOUR_MS if self is Grain.HOUR else DAY_MS


@dataclass(frozen=True, slots=True)
class Span:
    """[from_ms, until_ms), both on the hour, or on the day where days are asked for."""

    from_ms: int
    until_ms: int

    def buckets(self, grain: Grain) -> range:
        assert self.from_ms % grain.ms == 0, "a span begins with a bucket"
        return range(self.from_ms, self.until_ms, grain.ms)


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


class History:
    """`counter` is a counter's name, `<scope>/<meter>`. Verbs raise StoreError."""

    def __init__(self, client: "Redis | RedisCluster", now_ms: Callable[[], int]) -> None:
        self._client: Any = client
        self._now_ms = now_ms

    async def sums(self, account: str, counter: str, span: Span, grain: Grain) -> tuple[Sum, ...]:
        """Every bucket of the span, also those in which nothing moved."""
        starts = span.buckets(grain)
        rows = await self._rows(account, counter, starts, grain)
        return tuple(Sum(start, int(rows.get(start, b"0"))) for start in starts)

    async def levels(
        self, account: str, counter: str, span: Span, grain: Grain
    ) -> tuple[Level, ...]:
        """Every bucket of the span; one in which nothing moved stands at what it opened with."""
        starts = span.buckets(grain)
        rows = await self._rows(account, counter, starts, grain)
        level = await self.level_at(account, counter, span.from_ms)
        levels = []
        for start in starts:
            opening, peak, level = _level(rows.get(start), level)
            levels.append(Level(start, opening, peak, level))
        return tuple(levels)

    async def peak(self, account: str, counter: str, span: Span) -> int:
        """The highest level in a span on the hour: whole days by their days, the rest by hours."""
        first_day = -(-span.from_ms // DAY_MS) * DAY_MS
        last_day = span.until_ms // DAY_MS * DAY_MS
        if first_day >= last_day:
            parts = [(span, Grain.HOUR)]
        else:
            parts = [
                (Span(span.from_ms, first_day), Grain.HOUR),
                (Span(first_day, last_day), Grain.DAY),
                (Span(last_day, span.until_ms), Grain.HOUR),
            ]
        peaks = [await self.level_at(account, counter, span.from_ms)]
        for part, grain in parts:
            rows = await self._rows(account, counter, part.buckets(grain), grain)
            peaks += [_level(row, 0)[1] for row in rows.values()]
        return max(peaks)

    async def level_at(self, account: str, counter: str, at_ms: int) -> int:
        """What was held at an instant on the hour; on the day, where hours are not kept any more.

        The nearest row tells: the last before it by how it closed, or the first after it by how it
        opened. Without either, nothing has moved since, and it is what is held now.
        """
        day = at_ms // DAY_MS * DAY_MS
        hours = await self._rows(account, counter, range(day, day + DAY_MS, HOUR_MS), Grain.HOUR)
        before = [row for start, row in sorted(hours.items()) if start < at_ms]
        if before:
            return _level(before[-1], 0)[2]
        after = [row for start, row in sorted(hours.items()) if start >= at_ms]
        if not after:
            later = range(day, max(self._now_ms(), at_ms) + 1, DAY_MS)
            days = await self._rows(account, counter, later, Grain.DAY)
            after = [row for _, row in sorted(days.items())]
        return _level(after[0], 0)[0] if after else await self._held_now(account, counter)

    async def _held_now(self, account: str, counter: str) -> int:
        try:
            value = await self._client.hget(keys_of(account).books, counter)
        except RedisError as error:
            raise as_store_error(error, doing="history") from error
        return int(value.split()[0]) if value else 0

    async def _rows(
        self, account: str, counter: str, starts: Iterable[int], grain: Grain
    ) -> dict[int, bytes]:
        """Bucket start → row, of those buckets that have one; one command for each key."""
        keys = keys_of(account)
        wanted: dict[bytes, dict[int, str]] = {}
        for start in starts:
            instant = _EPOCH + timedelta(milliseconds=start)
            if grain is Grain.HOUR:
                key, bucket = keys.hours(f"{instant:%Y%m%d}"), f"{instant:%H}"
            else:
                key, bucket = keys.days(f"{instant:%Y%m}"), f"{instant:%d}"
            wanted.setdefault(key, {})[start] = f"{bucket}/{counter}"
        if not wanted:
            return {}
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, fields in wanted.items():
                    pipeline.hmget(key, list(fields.values()))
                answers = await pipeline.execute()
        except RedisError as error:
            raise as_store_error(error, doing="history") from error
        return {
            start: row
            for fields, rows in zip(wanted.values(), answers, strict=True)
            for start, row in zip(fields, rows, strict=True)
            if row is not None
        }


def _level(row: bytes | None, level: int) -> tuple[int, int, int]:
    """Opening, peak and closing; `level` throughout when there is no row."""
    if row is None:
        return level, level, level
    opening, peak, closing = map(int, row.split())
    return opening, peak, closing
