"""Cloudflare's pages: what is stored at Stream, and the commands of DEX that are left today."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

from gateway.dialects.cloudflare import Cloudflare
from gateway.dialects.protocol import Answer
from gateway.errors import BAD_REQUEST, Refusal
from gateway.usage.quotas import of_account, of_subject
from gateway.usage.request import Page, Sources, UsageRequest

CREATOR_MAX = 64
QUERY_MAX = 64


async def _storage_usage(request: UsageRequest, sources: Sources) -> Answer:
    """A creator nobody has heard of stores nothing."""
    dialect = request.dialect
    assert isinstance(dialect, Cloudflare)
    creator = creator_of(request.query)
    if isinstance(creator, Refusal):
        return dialect.refusal(creator, request.request_id)
    if creator is None:
        snapshot = await sources.ledger.snapshot(request.terms)
        storage = of_account(snapshot, "storage_seconds")
        videos = of_account(snapshot, "videos")
        return dialect.storage_usage(storage, videos, request.request_id)
    terms = replace(request.terms, subject=("creator", creator))
    snapshot = await sources.ledger.snapshot(terms)
    storage = of_subject(snapshot, "storage_seconds")
    if storage.limit is None:
        storage = storage._replace(limit=of_account(snapshot, "storage_seconds").limit)
    videos = of_subject(snapshot, "videos")
    return dialect.storage_usage(storage, videos, request.request_id, creator=creator)


async def _commands_quota(request: UsageRequest, sources: Sources) -> Answer:
    dialect = request.dialect
    assert isinstance(dialect, Cloudflare)
    snapshot = await sources.ledger.snapshot(request.terms)
    return dialect.commands_quota(of_account(snapshot, "commands"), request.request_id)


def creator_of(query: str) -> str | Refusal | None:
    """Of a form-coded query; None if it does not ask for one."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_MAX, errors="strict")
    except ValueError:
        return Refusal(BAD_REQUEST, "the query cannot be read")
    named = [value for name, value in fields if name == "creator"]
    if not named:
        return None
    if len(named) > 1 or not 1 <= len(named[0]) <= CREATOR_MAX:
        return Refusal(BAD_REQUEST, f"give one creator of 1 to {CREATOR_MAX} characters")
    return named[0]


PAGES: Mapping[str, Page] = {
    "storage-usage": _storage_usage,
    "commands-quota": _commands_quota,
}
