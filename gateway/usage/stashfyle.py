"""StashFyle's page of usage."""

import asyncio
from collections.abc import Mapping

from gateway.catalog.periods import period_at
from gateway.dialects.protocol import Answer
from gateway.dialects.stashfyle import StashFyle, Usage
from gateway.ledger.outcomes import Granted, RateLimited
from gateway.usage.quotas import of_account
from gateway.usage.request import Page, Sources, UsageRequest


async def _usage(request: UsageRequest, sources: Sources) -> Answer:
    """It counts against the rate limit as any request does: every answer says how that stands."""
    dialect, terms, ledger = request.dialect, request.terms, sources.ledger
    assert isinstance(dialect, StashFyle)
    name = f"usage-{request.request_id}"
    counted, snapshot = await asyncio.gather(
        ledger.reserve(terms, name, (), lease_ms=1, rate=terms.plan.rate), ledger.snapshot(terms)
    )
    if isinstance(counted, RateLimited):
        return dialect.rate_limited(counted, request.request_id, snapshot.at_ms)
    assert isinstance(counted, Granted), "without lines there is nothing to deny"
    period = period_at(terms.plan.period("bandwidth_bytes"), snapshot.at_ms, terms.anchor_ms)
    usage = Usage(
        storage=of_account(snapshot, "storage_bytes"),
        bandwidth=of_account(snapshot, "bandwidth_bytes"),
        uploads=of_account(snapshot, "uploads"),
        period_start_ms=period.start_ms,
    )
    return dialect.usage(usage, request.request_id, counted.rate, snapshot.at_ms)


PAGES: Mapping[str, Page] = {"usage": _usage}
