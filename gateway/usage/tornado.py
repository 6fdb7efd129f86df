"""Tornado's page of usage."""

from collections.abc import Mapping

from gateway.catalog.periods import period_at
from gateway.dialects.protocol import Answer
from gateway.dialects.tornado import BillingPeriod, Tornado, Usage
from gateway.ledger.history import History
from gateway.ledger.quota import ACCOUNT_SCOPE, Snapshot
from gateway.ledger.spans import HOUR_MS, Span
from gateway.usage.quotas import of_account
from gateway.usage.request import Page, Sources, UsageRequest
from gateway.usage.stripe import StripePeriod, StripeTrouble

PERIOD_METER = "period_bytes"
"""Counts what storage counts, anew in each billing period."""


async def _usage(request: UsageRequest, sources: Sources) -> Answer:
    dialect = request.dialect
    assert isinstance(dialect, Tornado)
    snapshot = await sources.ledger.snapshot(request.terms)
    usage = Usage(
        client_name=request.account.name or request.account.id,
        jobs=of_account(snapshot, "jobs"),
        storage=of_account(snapshot, "storage_bytes"),
        caps=request.terms.plan.caps,
        billing=await _billing(request, sources, snapshot),
    )
    return dialect.usage(usage, request.request_id)


async def _billing(
    request: UsageRequest, sources: Sources, snapshot: Snapshot
) -> BillingPeriod | str | None:
    if not request.account.subscription:
        return None
    match await sources.billing.of(request.account, snapshot.at_ms):
        case StripeTrouble(said):
            return said
        case StripePeriod() as period:
            if counts_exactly(request, period, snapshot.at_ms):
                used = of_account(snapshot, PERIOD_METER).used
            else:
                used = await _by_hours(sources.history, request, period, snapshot.at_ms)
            return BillingPeriod(period.start_ms, period.end_ms, used)


def counts_exactly(request: UsageRequest, period: StripePeriod, at_ms: int) -> bool:
    """The account's own billing month is that period, and was, on this plan, before it began."""
    account, terms = request.account, request.terms
    ours = period_at(terms.plan.period(PERIOD_METER), at_ms, terms.anchor_ms)
    same = (ours.start_ms, ours.end_ms) == (period.start_ms, period.end_ms)
    begun_ms = max(account.anchored_ms, account.planned_ms, account.created_ms)
    return same and begun_ms <= period.start_ms


async def _by_hours(
    history: History, request: UsageRequest, period: StripePeriod, at_ms: int
) -> int:
    """A period that the counters do not have as one: whole hours, the first one included."""
    first = max(period.start_ms, request.account.created_ms) // HOUR_MS * HOUR_MS
    last = -(-min(period.end_ms, at_ms + 1) // HOUR_MS) * HOUR_MS
    counter = f"{ACCOUNT_SCOPE}/{PERIOD_METER}"
    totals = await history.totals(request.terms.account, (counter,), Span(first, last))
    return totals[counter]


PAGES: Mapping[str, Page] = {"usage": _usage}
