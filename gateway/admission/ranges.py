"""Ranges: which stretch of history `from` and `to` ask for.

Three forms are taken: `2022-04-07`, `2022-04-07 15:00:00` (the blank may have come as `+`), and
ISO 8601; `from` may be `last_bill_date`. What names no offset is in the zone of the account's plan.
History is kept by hours, so minutes round up to the hour. Without either the range is that of the
billing period, its first hour included, up to the end of today; of one alone it lies 90 days from
or before it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.catalog.periods import Period
from gateway.errors import INVALID_RANGE, Refusal
from gateway.ledger.spans import HOUR_MS, Span

DAYS = 90
LAST_BILL_DATE = "last_bill_date"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_WRITTEN = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt +](\d{2}:\d{2})(?:(:\d{2})(?:[.,](\d{1,9}))?)?"
    r" ?(?:([Zz])|([+ -])(\d{2}):?(\d{2})?)?)?",
    re.ASCII,
)
_YEARS = range(1970, 9_000)


@dataclass(frozen=True, slots=True)
class Now:
    """What a range is reckoned from: the store's time, the account's billing period at that time,
    and the zone of its calendar."""

    at_ms: int
    billing: Period
    zone: str = "UTC"


def range_of(
    since: str | None, until: str | None, now: Now, *, days_max: int | None = DAYS
) -> Span | Refusal:
    """INVALID_RANGE or the span that `from` and `to` ask for; it may be empty.

    `days_max`: the most days of the calendar that it may have; None for what is kept otherwise
    (peaks of levels).
    """
    zone = ZoneInfo(now.zone)
    from_ms = _start(since, now, zone)
    until_ms = None if until is None else _instant(until, "to", zone)
    for read in (from_ms, until_ms):
        if isinstance(read, Refusal):
            return read
    assert not isinstance(from_ms, Refusal)
    assert not isinstance(until_ms, Refusal)
    if from_ms is None and until_ms is None:
        until_ms = _up(_shifted(_midnight(now.at_ms, zone), 1, zone))
        from_ms = max(_down(now.billing.start_ms), _up(_shifted(until_ms, -DAYS, zone)))
    elif until_ms is None:
        assert from_ms is not None
        until_ms = _up(_shifted(from_ms, DAYS, zone))
    elif from_ms is None:
        from_ms = max(0, _up(_shifted(until_ms, -DAYS, zone)))
    assert from_ms is not None
    if until_ms < from_ms:
        return Refusal(INVALID_RANGE, "'to' lies before 'from'")
    if days_max is not None and until_ms > _up(_shifted(from_ms, days_max, zone)):
        return Refusal(INVALID_RANGE, f"'from' and 'to' are more than {days_max} days apart")
    return Span(from_ms, until_ms)


def _start(since: str | None, now: Now, zone: ZoneInfo) -> int | Refusal | None:
    if since is None:
        return None
    if since == LAST_BILL_DATE:
        return _down(now.billing.start_ms)
    return _instant(since, "from", zone)


def _instant(written: str, name: str, zone: ZoneInfo) -> int | Refusal:
    """The first full hour at or after what is written."""
    found = _WRITTEN.fullmatch(written)
    try:
        if found is None:
            raise ValueError
        wall = datetime.combine(datetime.fromisoformat(found[1]), _time_of(found))
        if wall.year not in _YEARS:
            raise ValueError
        offset = _offset(found)
    except ValueError:
        detail = f"{name!r} is a date such as 2022-04-07, 2022-04-07 15:00:00 or ISO 8601"
        return Refusal(INVALID_RANGE, detail)
    if offset is None:
        return _up(_ms(wall.replace(tzinfo=zone)))
    return max(0, _up(_ms(wall.replace(tzinfo=UTC)) - offset // _MS))


def _time_of(found: re.Match[str]) -> time:
    """The time of day; a fraction of a second counts as the hour's beginning no more."""
    if found[2] is None:
        return time()
    hour, minute = map(int, found[2].split(":"))
    # Not by `fromisoformat`, to which 24:00 is 00:00 of the same day from Python 3.14 on.
    return time(hour, minute, int((found[3] or ":0")[1:]), 1 if int(found[4] or 0) else 0)


def _offset(found: re.Match[str]) -> timedelta | None:
    """None: none is written. In a query a `+` that was not escaped has become a blank."""
    if found[5] is not None:
        return timedelta()
    if found[6] is None:
        return None
    hours, minutes = int(found[7]), int(found[8] or 0)
    if hours > 18 or minutes > 59:
        raise ValueError
    size = timedelta(hours=hours, minutes=minutes)
    return -size if found[6] == "-" else size


def _down(at_ms: int) -> int:
    """Of a billing period all is told, its first hour as a whole."""
    return at_ms // HOUR_MS * HOUR_MS


def _up(at_ms: int) -> int:
    return -(-at_ms // HOUR_MS) * HOUR_MS


def _ms(instant: datetime) -> int:
    """Rounded up: what is a moment after the hour belongs to the next."""
    return -((_EPOCH - instant) // _MS)


def _midnight(at_ms: int, zone: ZoneInfo) -> int:
    wall = (_EPOCH + at_ms * _MS).astimezone(zone)
    return _ms(wall.replace(hour=0, minute=0, second=0, microsecond=0, fold=0))


def _shifted(at_ms: int, days: int, zone: ZoneInfo) -> int:
    """As many days of the calendar later, at the same time of day."""
    wall = (_EPOCH + at_ms * _MS).astimezone(zone).replace(tzinfo=None)
    return _ms((wall + timedelta(days=days)).replace(tzinfo=zone))
