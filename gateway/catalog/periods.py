"""Periods: half-open intervals in which a cumulative meter counts.

Everything here is calendar arithmetic on milliseconds since the Unix epoch; nothing reads a clock.
The periods of a rule follow each other without gap or overlap, through every change of the clocks
in their zone: a boundary is the first instant at which the clocks there show its time or later.
"""

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


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


def period_at(rule: PeriodRule, at_ms: int, anchor_ms: int = 0) -> Period:
    """The period of `rule` that holds the instant `at_ms`.

    `anchor_ms` is the instant from which the months of PeriodKind.ANCHOR are counted, both ways:
    they begin on its day of the month, or on the last day of a month that has no such day, at its
    time of day. Instants from the year 2 to 9998. Raises ZoneInfoNotFoundError for unknown zones.
    """
    if rule.kind is PeriodKind.NONE:
        return _ENDLESS
    if rule.kind is PeriodKind.ANCHOR:
        return _calendar_period(rule, at_ms, anchor_ms)
    period = _last.get(rule, _NEVER)
    if not period.start_ms <= at_ms < (period.end_ms or 0):
        period = _calendar_period(rule, at_ms, anchor_ms)
        if len(_last) >= RULES_MAX:
            _last.clear()
        _last[rule] = period
    return period


_ENDLESS = Period(0, None)
_NEVER = Period(0, 0)
RULES_MAX = 256
_last: dict[PeriodRule, Period] = {}
"""The period of each rule that was last asked for: most ask for it again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_HOUR_MS = 3_600_000

_Boundaries = tuple[datetime, datetime]


def _day(wall: datetime, _anchor: datetime) -> _Boundaries:
    start = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    return start, start + _DAY


def _month(wall: datetime, _anchor: datetime) -> _Boundaries:
    first = wall.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, _shifted(first, 1, first)


def _anchored(wall: datetime, anchor: datetime) -> _Boundaries:
    here = _shifted(wall, 0, anchor)
    if here <= wall:
        return here, _shifted(wall, 1, anchor)
    return _shifted(wall, -1, anchor), here


_BOUNDARIES: dict[PeriodKind, Callable[[datetime, datetime], _Boundaries]] = {
    PeriodKind.DAY: _day,
    PeriodKind.MONTH: _month,
    PeriodKind.ANCHOR: _anchored,
}


def _calendar_period(rule: PeriodRule, at_ms: int, anchor_ms: int) -> Period:
    zone = ZoneInfo(rule.zone)
    if rule.kind is PeriodKind.HOUR:
        return _hour_at(at_ms, zone)
    boundaries = _BOUNDARIES[rule.kind]
    anchor = _wall(anchor_ms, zone) if rule.kind is PeriodKind.ANCHOR else _EPOCH
    start, following = boundaries(_wall(at_ms, zone), anchor)
    if at_ms >= _instant(following, zone):
        # The clocks were set back over a boundary that had passed: it does not pass twice.
        start, following = boundaries(following, anchor)
    return Period(_instant(start, zone), _instant(following, zone))


def _shifted(wall: datetime, months: int, anchor: datetime) -> datetime:
    """`anchor`'s day and time of day in the month that is `months` from that of `wall`."""
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


def _hour_at(at_ms: int, zone: ZoneInfo) -> Period:
    """A whole hour of the wall clock, cut where the clocks change within it."""
    offset_ms = _offset_ms(at_ms, zone)
    start = (at_ms + offset_ms) // _HOUR_MS * _HOUR_MS - offset_ms
    end = start + _HOUR_MS
    if _offset_ms(start, zone) != offset_ms:
        start = _change_ms(start, at_ms, zone)
    if _offset_ms(end - 1, zone) != offset_ms:
        end = _change_ms(at_ms, end - 1, zone)
    return Period(start, end)


def _wall(at_ms: int, zone: ZoneInfo) -> datetime:
    """What the clocks in `zone` show at an instant."""
    return (_EPOCH + at_ms * _MS).astimezone(zone).replace(tzinfo=None, fold=0)


def _instant(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant at which the clocks in `zone` show `wall` or later."""
    ms = (wall.replace(tzinfo=zone) - _EPOCH) // _MS
    if _wall(ms, zone) == wall:
        return ms
    # The clocks skip this time: they show a later one from the moment they are set forward.
    return _change_ms((wall.replace(tzinfo=zone, fold=1) - _EPOCH) // _MS, ms, zone)


def _offset_ms(at_ms: int, zone: ZoneInfo) -> int:
    offset = (_EPOCH + at_ms * _MS).astimezone(zone).utcoffset()
    assert offset is not None, "a zone always has an offset"
    return offset // _MS


def _change_ms(before_ms: int, after_ms: int, zone: ZoneInfo) -> int:
    """The instant between the two from which the clocks run as they do at `after_ms`."""
    offset_ms = _offset_ms(after_ms, zone)
    while after_ms - before_ms > 1:
        middle = (before_ms + after_ms) // 2
        if _offset_ms(middle, zone) == offset_ms:
            after_ms = middle
        else:
            before_ms = middle
    return after_ms
