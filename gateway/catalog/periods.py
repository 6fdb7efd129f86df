"""Periods: half-open intervals in which a cumulative meter counts.

Everything here is calendar arithmetic on milliseconds since the Unix epoch; nothing reads a clock.
"""

from dataclasses import dataclass
from enum import StrEnum


class PeriodKind(StrEnum):
    NONE = "none"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    ANCHOR = "anchor"
    """Monthly from the account's billing day; days 29 to 31 are clamped to the month's end."""


@dataclass(frozen=True, slots=True)
class PeriodRule:
    """How a meter's periods follow each other, in the calendar of an IANA time zone."""

    kind: PeriodKind = PeriodKind.NONE
    zone: str = "UTC"


NO_PERIOD = PeriodRule()


@dataclass(frozen=True, slots=True)
class Period:
    """[start_ms, end_ms). PeriodKind.NONE gives start 0 and end None."""

    start_ms: int
    end_ms: int | None
