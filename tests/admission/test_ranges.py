"""Ranges of history as queries write them."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.admission.ranges import Now, range_of
from gateway.catalog.periods import Period, PeriodKind, PeriodRule, period_at
from gateway.errors import INVALID_RANGE, Refusal
from gateway.ledger.spans import HOUR_MS, Span


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def said(span: Span | Refusal) -> str:
    """`2022-04-07T15 2022-04-08T00`, or what is refused."""
    if isinstance(span, Refusal):
        assert span.error is INVALID_RANGE
        return span.detail
    assert span.from_ms % HOUR_MS == span.until_ms % HOUR_MS == 0
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ends = (epoch + timedelta(milliseconds=at) for at in (span.from_ms, span.until_ms))
    return " ".join(f"{end:%Y-%m-%dT%H}" for end in ends)


def now_at(text: str, *, zone: str = "UTC", anchor: str | None = None) -> Now:
    """Months of the calendar, or from the day of the anchor on."""
    kind = PeriodKind.MONTH if anchor is None else PeriodKind.ANCHOR
    period = period_at(PeriodRule(kind, zone), ms(text), 0 if anchor is None else ms(anchor))
    return Now(ms(text), period, zone)


APRIL = now_at("2022-04-20T10:20:30Z")


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2022-04-07", "2022-04-07T00"),
        ("2022-04-07 15:00:00", "2022-04-07T15"),
        ("2022-04-07+15:00:00", "2022-04-07T15"),
        ("2022-04-07 15:00:01", "2022-04-07T16"),
        ("2022-04-07 15:01:00", "2022-04-07T16"),
        ("2022-04-07 15:59:59", "2022-04-07T16"),
        ("2022-04-07 23:00:01", "2022-04-08T00"),
        ("2022-04-30 23:30:00", "2022-05-01T00"),
        ("2022-04-07 15:30", "2022-04-07T16"),
        ("2022-04-07T15:00:00Z", "2022-04-07T15"),
        ("2022-04-07T15:00:00.000Z", "2022-04-07T15"),
        ("2022-04-07T15:00:00.001Z", "2022-04-07T16"),
        ("2022-04-07T15:00:00.000000001Z", "2022-04-07T16"),
        ("2022-04-07t15:00:00z", "2022-04-07T15"),
        ("2022-04-07T15:00Z", "2022-04-07T15"),
        ("2022-04-07T15:00:00+02:00", "2022-04-07T13"),
        ("2022-04-07T15:00:00 02:00", "2022-04-07T13"),
        ("2022-04-07T15:00:00-0500", "2022-04-07T20"),
        ("2022-04-07T15:00:00+05:30", "2022-04-07T10"),
        ("2022-04-07T15:00:00-09", "2022-04-08T00"),
        ("2022-04-07 15:00:00 +0200", "2022-04-07T13"),
        ("2024-02-29", "2024-02-29T00"),
        ("last_bill_date", "2022-04-01T00"),
    ],
)
def test_the_forms_of_an_instant(written: str, hour: str) -> None:
    span = range_of(written, "2024-03-01", APRIL, days_max=None)
    assert said(span).split()[0] == hour


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "now", "yesterday", "2022", "2022-04", "2022-4-7", "22-04-07", "2022-13-01"),
        *("2022-02-30", "2023-02-29", "2022-04-07 24:00:00", "2022-04-07 15:60:00", "-1"),
        *("2022-04-07T15", "2022-04-07T15:00:00+25:00", "2022-04-07T15:00:00+02:60", "1649343600"),
        *("2022-04-07T15:00:00ZZ", " 2022-04-07", "2022-04-07 ", "2022-04-0\u0667", "2022-W14-4"),
        *("1969-12-31", "9999-01-01", "0000-01-01", "2022-04-07T15:00:00Europe/Berlin", "2022097"),
        "2022-04-07T15:00:00." + "0" * 1000,
    ],
)
def test_what_is_no_instant_is_refused(written: str) -> None:
    assert isinstance(range_of(written, None, APRIL), Refusal)
    assert "'to' is a date" in said(range_of(None, written, APRIL))
    assert isinstance(range_of(None, "last_bill_date", APRIL), Refusal)


LATE = "'from' and 'to' are more than 90 days apart"


@pytest.mark.parametrize(
    ("now", "since", "until", "expected"),
    [
        # Neither: the billing period up to the end of today.
        (APRIL, None, None, "2022-04-01T00 2022-04-21T00"),
        (now_at("2022-04-30T23:59:59.999Z"), None, None, "2022-04-01T00 2022-05-01T00"),
        (now_at("2022-05-01T00:00:00Z"), None, None, "2022-05-01T00 2022-05-02T00"),
        (now_at("2024-02-29T12:00:00Z"), None, None, "2024-02-01T00 2024-03-01T00"),
        (now_at("2024-02-29T12:00:00Z", anchor="2024-01-31T07:00:00Z"), None, None,
         "2024-02-29T07 2024-03-01T00"),
        (now_at("2023-03-01T06:00:00Z", anchor="2023-01-31T07:30:00Z"), None, None,
         "2023-02-28T07 2023-03-02T00"),
        (now_at("2022-12-31T12:00:00Z", anchor="2022-01-15T00:00:00Z"), None, None,
         "2022-12-15T00 2023-01-01T00"),
        # A meter without periods: no longer than a range may be.
        (Now(ms("2022-04-20T10:00:00Z"), Period(0, None)), None, None,
         "2022-01-21T00 2022-04-21T00"),
        # One of them: 90 days from it or before it.
        (APRIL, "2022-01-01", None, "2022-01-01T00 2022-04-01T00"),
        (APRIL, None, "2022-04-01", "2022-01-01T00 2022-04-01T00"),
        (APRIL, None, "2024-03-01", "2023-12-02T00 2024-03-01T00"),
        (APRIL, "2023-12-02", None, "2023-12-02T00 2024-03-01T00"),
        (APRIL, "last_bill_date", None, "2022-04-01T00 2022-06-30T00"),
        (APRIL, None, "1970-01-02", "1970-01-01T00 1970-01-02T00"),
        # Both.
        (APRIL, "2022-04-07 14:30:00", "2022-04-07 15:30:00", "2022-04-07T15 2022-04-07T16"),
        (APRIL, "2022-04-07 14:10:00", "2022-04-07 14:30:00", "2022-04-07T15 2022-04-07T15"),
        (APRIL, "2022-04-07", "2022-04-07", "2022-04-07T00 2022-04-07T00"),
        (APRIL, "last_bill_date", "2022-04-10", "2022-04-01T00 2022-04-10T00"),
        (APRIL, "2022-01-01", "2022-04-01", "2022-01-01T00 2022-04-01T00"),
        (APRIL, "2022-01-01", "2022-04-01 00:00:01", LATE),
        (APRIL, "2022-01-01", "2023-04-01", LATE),
        (APRIL, "2022-04-08", "2022-04-07", "'to' lies before 'from'"),
        # Zones: what names no offset is local, and days are those of the local calendar.
        (now_at("2022-04-20T23:00:00Z", zone="Europe/Berlin"), None, None,
         "2022-03-31T22 2022-04-21T22"),
        (now_at("2022-03-27T12:00:00Z", zone="Europe/Berlin"), None, None,
         "2022-02-28T23 2022-03-27T22"),
        (now_at("2022-10-30T12:00:00Z", zone="Europe/Berlin"), None, None,
         "2022-09-30T22 2022-10-30T23"),
        (now_at("2022-04-20T12:00:00Z", zone="Europe/Berlin"), "2022-03-27", "2022-03-28",
         "2022-03-26T23 2022-03-27T22"),
        (now_at("2022-04-20T12:00:00Z", zone="Europe/Berlin"), "2022-03-27 02:30:00", "2022-03-28",
         "2022-03-27T02 2022-03-27T22"),
        (now_at("2022-11-20T12:00:00Z", zone="Europe/Berlin"), "2022-10-30", None,
         "2022-10-29T22 2023-01-27T23"),
        (now_at("2022-11-20T12:00:00Z", zone="Europe/Berlin"), "2022-10-30", "2023-01-28",
         "2022-10-29T22 2023-01-27T23"),
        (now_at("2022-11-20T12:00:00Z", zone="Europe/Berlin"), None, "2022-11-01T00:00:00Z",
         "2022-08-02T23 2022-11-01T00"),
        (now_at("2022-04-20T12:00:00Z", zone="Asia/Kolkata"), "2022-04-07", "2022-04-08",
         "2022-04-06T19 2022-04-07T19"),
        (now_at("2022-04-20T12:00:00Z", zone="America/New_York"), "2022-04-07T00:00:00Z", None,
         "2022-04-07T00 2022-07-06T00"),
    ],
)  # fmt: skip
def test_ranges(now: Now, since: str | None, until: str | None, expected: str) -> None:
    assert said(range_of(since, until, now)) == expected


def test_peaks_are_told_of_any_range() -> None:
    span = range_of("2020-01-01", "2022-04-01", APRIL, days_max=None)
    assert said(span) == "2020-01-01T00 2022-04-01T00"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_no_default_is_longer_than_what_is_allowed(zone: str) -> None:
    """Also over every change of the clocks."""
    for day in range(0, 366, 3):
        at = datetime(2023, 11, 1, 12, tzinfo=UTC) + timedelta(days=day)
        now = Now(round(at.timestamp() * 1000), Period(0, None), zone)
        written = f"{at:%Y-%m-%d}"
        for since, until in ((written, None), (None, written), (None, None)):
            span = range_of(since, until, now)
            assert isinstance(span, Span), (since, until, span)
