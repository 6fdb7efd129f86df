"""The native pages: how an account stands on every meter, and whether a request would be admitted.

`?meter=storage_bytes&amount=10GiB` asks about one meter, `?storage_bytes=10GiB&jobs=1` about
several that one request would need together.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

from gateway.catalog.meters import Meter
from gateway.catalog.sizes import Unreadable, amount, shown
from gateway.dialects.native import Native
from gateway.dialects.protocol import Answer, Explanation
from gateway.errors import BAD_REQUEST, INVALID_AMOUNT, UNKNOWN_METER, Refusal
from gateway.usage.request import Page, Sources, UsageRequest

HOLDERS_MAX = 20
QUERY_MAX = 64
"""Fields of a query; more are refused before they are looked at."""

NATIVE = Native()

EXAMPLE = "?meter=storage_bytes&amount=10GiB"


async def _quota(request: UsageRequest, sources: Sources) -> Answer:
    snapshot = await sources.ledger.snapshot(request.terms)
    snapshot = replace(snapshot, pending_settlements=request.pending_settlements)
    return NATIVE.usage(snapshot, request.request_id)


async def _explain(request: UsageRequest, sources: Sources) -> Answer:
    terms, ledger = request.terms, sources.ledger
    asked = wanted(request.query, terms.meters)
    if isinstance(asked, Refusal):
        return NATIVE.refusal(asked, request.request_id)
    snapshot = await ledger.snapshot(terms)
    holders = await ledger.holders(terms.account, HOLDERS_MAX)
    (meter, requested), *others = asked.items()
    explanation = Explanation(
        snapshot, meter, requested, holders, also=dict(others), cap=terms.plan.caps.file_bytes
    )
    return NATIVE.explain(explanation, request.request_id)


def wanted(query: str, meters: Mapping[str, Meter]) -> dict[str, int] | Refusal:
    """Meter → amount as the query asks, at least one."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_MAX, errors="strict")
    except ValueError:
        return Refusal(BAD_REQUEST, "the query cannot be read")
    named = [value for name, value in fields if name == "meter"]
    amounts = [value for name, value in fields if name == "amount"]
    if len(named) != len(amounts) or len(named) > 1:
        return Refusal(BAD_REQUEST, f"give one meter and one amount: {EXAMPLE}")
    pairs = [(name, value) for name, value in fields if name not in ("meter", "amount")]
    asked: dict[str, int] = {}
    for name, written in [*zip(named, amounts, strict=True), *pairs]:
        read = _read(name, written, meters)
        if isinstance(read, Refusal):
            return read
        if name in asked:
            return Refusal(BAD_REQUEST, f"{name} is given twice")
        asked[name] = read
    return asked or Refusal(BAD_REQUEST, f"say what the request would need: {EXAMPLE}")


def _read(name: str, written: str, meters: Mapping[str, Meter]) -> int | Refusal:
    meter = meters.get(name)
    if meter is None:
        known = ", ".join(sorted(meters))
        return Refusal(UNKNOWN_METER, f"{shown(name)} is not a meter; there are {known}")
    read = amount(written, meter.unit)
    if isinstance(read, Unreadable):
        return Refusal(INVALID_AMOUNT, f"{name}: {read.problem}; {read.remedy}")
    return read


PAGES: Mapping[str, Page] = {"quota": _quota, "explain": _explain}
