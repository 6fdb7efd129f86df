"""Events of usage by example, as their receivers read them."""

import json
from urllib.parse import parse_qs

from gateway.events.records import cloud_event, meter_events
from gateway.ledger.outbox import UsageEvent, UsageLine

JANUARY_MS, FEBRUARY_MS = 1_767_225_600_000, 1_769_904_000_000
EVENT = UsageEvent(
    "1767225600123-0",
    "r-1",
    "acme",
    (
        UsageLine("storage_bytes", "bytes", 100, 0, None),
        UsageLine("uploads", "count", 1, JANUARY_MS, FEBRUARY_MS),
    ),
    ("creator", "ann"),
)


def test_a_cloud_event() -> None:
    assert json.loads(cloud_event(EVENT, "gw")) == {
        "specversion": "1.0",
        "id": "r-1",
        "source": "gw",
        "type": "com.quota-gateway.usage.committed",
        "subject": "acme",
        "time": "2026-01-01T00:00:00.123Z",
        "datacontenttype": "application/json",
        "data": {
            "account": "acme",
            "number": "1767225600123-0",
            "lines": [
                {"meter": "storage_bytes", "unit": "bytes", "amount": 100, "period": None},
                {
                    "meter": "uploads",
                    "unit": "count",
                    "amount": 1,
                    "period": {
                        "start": "2026-01-01T00:00:00.000Z",
                        "end": "2026-02-01T00:00:00.000Z",
                    },
                },
            ],
            "subject": {"kind": "creator", "id": "ann"},
        },
    }


def test_stripes_meter_events_have_the_reservation_for_an_identifier() -> None:
    meters = {"uploads": "gw_uploads", "storage_bytes": "gw_storage", "jobs": "gw_jobs"}
    first, second = (parse_qs(form.decode()) for form in meter_events(EVENT, "cus_1", meters))
    assert first == {
        "event_name": ["gw_uploads"],
        "identifier": ["r-1"],
        "timestamp": ["1767225600"],
        "payload[stripe_customer_id]": ["cus_1"],
        "payload[value]": ["1"],
    }
    assert (second["event_name"], second["identifier"]) == (["gw_storage"], ["r-1-storage_bytes"])


def test_an_identifier_that_is_too_long_is_still_one_of_its_own() -> None:
    long = UsageEvent("1-0", "r" * 120, "acme", EVENT.lines)
    (form,) = meter_events(long, "cus_1", {"uploads": "u"})
    (again,) = meter_events(long, "cus_1", {"uploads": "u"})
    assert len(parse_qs(form.decode())["identifier"][0]) <= 100
    assert form == again


def test_what_is_told_of_no_meter_is_nothing() -> None:
    assert list(meter_events(EVENT, "cus_1", {"jobs": "gw_jobs"})) == []
