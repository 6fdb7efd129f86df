"""Golden answers: what a vendor's documentation shows, one file each in `golden/`."""

import json
from pathlib import Path
from typing import Any

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.dialects.protocol import Answer
from gateway.ledger.quota import Quota

FILES = Path(__file__).parent / "golden"
ID = "req-1"


def golden(name: str) -> Any:
    return json.loads((FILES / f"{name}.json").read_text())


def said(answer: Answer) -> Any:
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"] == ID
    assert answer.headers["Cache-Control"] == "no-store"
    return json.loads(answer.body)


def same_shape(ours: Any, theirs: Any) -> bool:
    """The same members in the same order, of the same types."""
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict)
            and list(ours) == list(theirs)
            and all(same_shape(ours[name], theirs[name]) for name in theirs)
        )
    if isinstance(theirs, list):
        return isinstance(ours, list) and all(same_shape(one, theirs[0]) for one in ours)
    if isinstance(theirs, int | float) and not isinstance(theirs, bool):
        return isinstance(ours, int | float) and not isinstance(ours, bool)
    return type(ours) is type(theirs)


def quota(
    name: str,
    used: int,
    reserved: int = 0,
    limit: int | None = None,
    *,
    kind: MeterKind = MeterKind.CUMULATIVE,
    unit: str = "bytes",
    resets_at_ms: int | None = None,
) -> Quota:
    return Quota(
        Meter(name, kind, unit),
        "a",
        limit,
        used,
        reserved,
        period=PeriodRule(PeriodKind.MONTH) if resets_at_ms else PeriodRule(PeriodKind.NONE),
        resets_at_ms=resets_at_ms,
    )
