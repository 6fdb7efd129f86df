"""Tornado's page of usage."""

from collections.abc import Mapping

from gateway.dialects.protocol import Answer
from gateway.dialects.tornado import Tornado, Usage
from gateway.usage.quotas import of_account
from gateway.usage.request import Page, Sources, UsageRequest


async def _usage(request: UsageRequest, sources: Sources) -> Answer:
    dialect = request.dialect
    assert isinstance(dialect, Tornado)
    snapshot = await sources.ledger.snapshot(request.terms)
    usage = Usage(
        client_name=request.account.name or request.account.id,
        jobs=of_account(snapshot, "jobs"),
        storage=of_account(snapshot, "storage_bytes"),
        caps=request.terms.plan.caps,
    )
    return dialect.usage(usage, request.request_id)


PAGES: Mapping[str, Page] = {"usage": _usage}
