"""Events of usage as those who are told of them want them: CloudEvents, and Stripe's meter events.

Sources: CloudEvents 1.0.2 with its JSON format and HTTP binding; Stripe API reference, "Create a
meter event".
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from gateway.ledger.outbox import UsageEvent, UsageLine

TYPE = "com.quota-gateway.usage.committed"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
IDENTIFIER_MAX = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cloud_event(event: UsageEvent, source: str) -> bytes:
    """`id` is the reservation's: whoever has had it before may drop it."""
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": TYPE,
        "subject": event.account,
        "time": _instant(event.at_ms),
        "datacontenttype": "application/json",
        "data": {
            "account": event.account,
            "number": event.number,
            "lines": [_line(line) for line in event.lines],
            "subject": _subject(event.subject),
        },
    }
    return orjson.dumps(document)


def meter_events(event: UsageEvent, customer: str, meters: Mapping[str, str]) -> Iterator[bytes]:
    """A form for each meter that Stripe is told of, in the order of `meters`.

    `identifier` is the reservation's id, so that Stripe drops what it has had within a day; of
    further meters it has the meter's name behind it.
    """
    told = [(meters[line.meter], line) for line in event.lines if line.meter in meters]
    told.sort(key=lambda pair: list(meters).index(pair[1].meter))
    for index, (name, line) in enumerate(told):
        identifier = event.id if index == 0 else f"{event.id}-{line.meter}"
        if len(identifier) > IDENTIFIER_MAX:
            identifier = hashlib.sha256(identifier.encode()).hexdigest()
        yield urlencode(
            {
                "event_name": name,
                "identifier": identifier,
                "timestamp": event.at_ms // 1_000,
                "payload[stripe_customer_id]": customer,
                "payload[value]": line.amount,
            }
        ).encode()


def _line(line: UsageLine) -> dict[str, Any]:
    end_ms = line.period_end_ms
    period = None
    if end_ms is not None:
        period = {"start": _instant(line.period_start_ms), "end": _instant(end_ms)}
    return {"meter": line.meter, "unit": line.unit, "amount": line.amount, "period": period}


def _subject(subject: tuple[str, str] | None) -> dict[str, str] | None:
    return None if subject is None else {"kind": subject[0], "id": subject[1]}


def _instant(at_ms: int) -> str:
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
