"""Spans: stretches of time on the hour, and the buckets of history that they are made of."""

from dataclasses import dataclass
from enum import StrEnum

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


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
