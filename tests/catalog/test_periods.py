"""Periods: which instants share one, in every calendar that clocks on this planet follow."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.periods import (
    NO_PERIOD,
    RULES_MAX,
    Period,
    PeriodKind,
    PeriodRule,
    period_at,
)

BERLIN, UTC_ZONE = "Europe/Berlin", "UTC"
BOUNDED = [kind for kind in PeriodKind if kind is not PeriodKind.NONE]
ODD_ZONES = [
    UTC_ZONE,
    BERLIN,
    "America/New_York",
    "America/Sao_Paulo",  # set forward at midnight: days that began at 01:00
    "America/Havana",  # set back at 01:00: midnight came twice
    "America/Scoresbysund",
    "Asia/Beirut",
    "Asia/Kathmandu",  # quarter hours
    "Australia/Lord_Howe",  # set by half an hour
    "Pacific/Apia",  # has no 2011-12-30
    "Africa/Casablanca",
    "America/St_Johns",  # set at 00:01
]


def ms(text: str) -> int:
    """An instant of UTC, or with its own offset."""
    instant = datetime.fromisoformat(text)
    return round(instant.replace(tzinfo=instant.tzinfo or UTC).timestamp() * 1000)


def period(kind: PeriodKind, zone: str, at: str, anchor: str = "1970-01-01") -> tuple[str, str]:
    """The period at an instant, as its boundaries in the zone's own time."""
    found = period_at(PeriodRule(kind, zone), ms(at), ms(anchor))
    assert found.end_ms is not None
    return shown(found.start_ms, zone), shown(found.end_ms, zone)


def shown(at_ms: int, zone: str) -> str:
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    return local.isoformat(timespec="minutes")


def test_no_period_holds_every_instant() -> None:
    assert period_at(NO_PERIOD, ms("2026-02-03T04:05")) == Period(0, None)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PeriodKind.HOUR, ("2026-02-03T04:00+00:00", "2026-02-03T05:00+00:00")),
        (PeriodKind.DAY, ("2026-02-03T00:00+00:00", "2026-02-04T00:00+00:00")),
        (PeriodKind.MONTH, ("2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00")),
    ],
)
def test_calendar_periods_are_utc_by_default(kind: PeriodKind, expected: tuple[str, str]) -> None:
    assert period(kind, UTC_ZONE, "2026-02-03T04:05:06.789") == expected


@pytest.mark.parametrize("kind", BOUNDED)
def test_a_period_holds_its_first_millisecond_and_not_its_end(kind: PeriodKind) -> None:
    rule = PeriodRule(kind, BERLIN)
    found = period_at(rule, ms("2026-02-03T04:05"))
    assert found.end_ms is not None
    assert period_at(rule, found.start_ms) == found
    assert period_at(rule, found.end_ms - 1) == found
    assert period_at(rule, found.end_ms).start_ms == found.end_ms


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-02-28T22:59", ("2026-02-01T00:00+01:00", "2026-03-01T00:00+01:00")),
        ("2026-02-28T23:00", ("2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00")),
        ("2026-03-31T21:59", ("2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00")),
        ("2026-03-31T22:00", ("2026-04-01T00:00+02:00", "2026-05-01T00:00+02:00")),
        ("2026-10-31T23:00", ("2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00")),
    ],
)
def test_months_follow_the_clocks_of_their_zone(at: str, expected: tuple[str, str]) -> None:
    assert period(PeriodKind.MONTH, BERLIN, at) == expected


@pytest.mark.parametrize(
    ("zone", "at", "expected", "hours"),
    [
        (BERLIN, "2026-03-29T12:00", ("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"), 23),
        (BERLIN, "2026-10-25T12:00", ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"), 25),
        (
            "America/Sao_Paulo",
            "2018-11-04T12:00",
            ("2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"),
            23,
        ),
        (
            "America/Havana",
            "2018-11-04T12:00",
            ("2018-11-04T00:00-04:00", "2018-11-05T00:00-05:00"),
            25,
        ),
        (
            "Asia/Beirut",
            "2026-03-29T12:00",
            ("2026-03-29T01:00+03:00", "2026-03-30T00:00+03:00"),
            23,
        ),
        (
            "Pacific/Apia",
            "2011-12-30T11:00",
            ("2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00"),
            24,
        ),
    ],
)
def test_days_in_which_the_clocks_change(
    zone: str, at: str, expected: tuple[str, str], hours: int
) -> None:
    assert period(PeriodKind.DAY, zone, at) == expected
    found = period_at(PeriodRule(PeriodKind.DAY, zone), ms(at))
    assert found.end_ms == found.start_ms + hours * 3_600_000


def test_a_boundary_does_not_pass_twice_when_the_clocks_are_set_back_over_it() -> None:
    """St. John's set its clocks back from 00:01 to 23:01 of the day before."""
    zone = "America/St_Johns"
    first_midnight, after_the_change = ms("2006-10-29T02:30"), ms("2006-10-29T02:45")
    assert shown(after_the_change, zone) == "2006-10-28T23:15-03:30"
    rule = PeriodRule(PeriodKind.DAY, zone)
    assert period_at(rule, after_the_change).start_ms == first_midnight
    assert period_at(rule, first_midnight).end_ms == ms("2006-10-30T03:30")


@pytest.mark.parametrize(
    ("at", "starts", "minutes"),
    [
        ("2026-10-03T15:15", "2026-10-04T01:00+10:30", 60),  # 02:00 becomes 02:30
        ("2026-10-03T15:40", "2026-10-04T02:30+11:00", 30),
        ("2026-04-04T14:45", "2026-04-05T01:00+11:00", 60),  # 02:00 becomes 01:30
        ("2026-04-04T15:15", "2026-04-05T01:30+10:30", 30),
    ],
)
def test_hours_that_the_clocks_cut(at: str, starts: str, minutes: int) -> None:
    zone = "Australia/Lord_Howe"
    found = period_at(PeriodRule(PeriodKind.HOUR, zone), ms(at))
    assert (shown(found.start_ms, zone), found.end_ms) == (
        starts,
        found.start_ms + minutes * 60_000,
    )


def test_hours_of_a_zone_with_quarter_hours() -> None:
    assert period(PeriodKind.HOUR, "Asia/Kathmandu", "2026-01-01T12:00") == (
        "2026-01-01T17:00+05:45",
        "2026-01-01T18:00+05:45",
    )


@pytest.mark.parametrize(
    ("anchor", "boundaries"),
    [
        ("2026-01-31T10:30", ["01-31", "02-28", "03-31", "04-30", "05-31"]),
        ("2026-01-30T10:30", ["01-30", "02-28", "03-30", "04-30", "05-30"]),
        ("2026-01-29T10:30", ["01-29", "02-28", "03-29", "04-29", "05-29"]),
        ("2026-01-28T10:30", ["01-28", "02-28", "03-28", "04-28", "05-28"]),
        ("2028-01-31T10:30", ["01-31", "02-29", "03-31", "04-30", "05-31"]),
        ("2028-02-29T10:30", ["02-29", "03-29", "04-29", "05-29", "06-29"]),
    ],
)
def test_billing_months_from_days_that_some_months_lack(anchor: str, boundaries: list[str]) -> None:
    rule = PeriodRule(PeriodKind.ANCHOR)
    at_ms = ms(anchor)
    for here, there in pairwise(boundaries):
        found = period_at(rule, at_ms, ms(anchor))
        assert found == Period(ms(f"{anchor[:4]}-{here}T10:30"), ms(f"{anchor[:4]}-{there}T10:30"))
        assert found.end_ms is not None
        at_ms = found.end_ms


def test_billing_months_before_the_anchor_and_over_the_turn_of_the_year() -> None:
    assert period(PeriodKind.ANCHOR, UTC_ZONE, "2026-01-05", "2026-03-31T08:00") == (
        "2025-12-31T08:00+00:00",
        "2026-01-31T08:00+00:00",
    )


def test_billing_months_keep_their_time_of_day_when_the_clocks_change() -> None:
    assert period(PeriodKind.ANCHOR, BERLIN, "2026-04-01", "2026-01-15T12:00") == (
        "2026-03-15T13:00+01:00",
        "2026-04-15T13:00+02:00",
    )


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        period_at(PeriodRule(PeriodKind.DAY, "Mars/Olympus"), 0)


def test_more_rules_than_are_remembered_are_answered_all_the_same() -> None:
    zones = sorted(available_timezones())[: RULES_MAX + 10]
    at_ms = ms("2026-01-01")
    for zone in zones + zones[:10]:
        found = period_at(PeriodRule(PeriodKind.DAY, zone), at_ms)
        assert found.end_ms is not None
        assert found.start_ms <= at_ms < found.end_ms


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(BOUNDED),
    st.sampled_from(ODD_ZONES),
    st.integers(ms("1999-01-01"), ms("2037-12-01")),
    st.integers(ms("1999-01-01"), ms("2037-12-01")),
)
def test_periods_follow_each_other_without_gap_or_overlap(
    kind: PeriodKind, zone: str, at_ms: int, anchor_ms: int
) -> None:
    rule = PeriodRule(kind, zone)
    found = period_at(rule, at_ms, anchor_ms)
    for _ in range(3):
        assert found.end_ms is not None
        assert found.start_ms <= at_ms < found.end_ms
        assert period_at(rule, found.start_ms, anchor_ms) == found
        assert period_at(rule, found.end_ms - 1, anchor_ms) == found
        following = period_at(rule, found.end_ms, anchor_ms)
        assert following.start_ms == found.end_ms
        at_ms = found.end_ms
        found = following


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_every_change_of_the_clocks_is_survived(zone: str) -> None:
    """Quarter hour by quarter hour around each change in these years."""
    changes = []
    instant = datetime(2005, 1, 1, tzinfo=UTC)
    offset = instant.astimezone(ZoneInfo(zone)).utcoffset()
    while instant.year < 2027:
        instant += timedelta(days=1)
        if instant.astimezone(ZoneInfo(zone)).utcoffset() != offset:
            offset = instant.astimezone(ZoneInfo(zone)).utcoffset()
            changes.append(instant)
    for change in changes[::3]:
        for kind in (PeriodKind.HOUR, PeriodKind.DAY):
            before = None
            for quarter in range(-120, 8):
                at_ms = round(change.timestamp() * 1000) + quarter * 900_000
                found = period_at(PeriodRule(kind, zone), at_ms)
                assert found.end_ms is not None
                assert found.start_ms <= at_ms < found.end_ms
                assert before is None or found == before or found.start_ms == before.end_ms
                before = found
