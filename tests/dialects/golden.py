"""Golden answers: what a vendor's documentation shows, one file each in `golden/`."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.dialects import cloudflare, stashfyle, tornado, wowza_pages
from gateway.dialects.protocol import Answer
from gateway.ledger.quota import Quota
from gateway.openapi.schemas import standalone

FILES = Path(__file__).parent / "golden"
ID = "req-1"

MODELS: Mapping[str, tuple[Any, ...]] = {
    "tornado": (tornado.TornadoUsage, tornado.TornadoFailure, tornado.TornadoDenial),
    "stashfyle": (stashfyle.StashFyleUsage, stashfyle.StashFyleFailure),
    "cloudflare": (
        cloudflare.StorageUsageEnvelope,
        cloudflare.CommandsQuotaEnvelope,
        cloudflare.CloudflareFailure,
    ),
    "wowza": (
        wowza_pages.AccountsPage,
        wowza_pages.AccountPage,
        wowza_pages.TargetsPage,
        wowza_pages.TargetPage,
        wowza_pages.VodsPage,
        wowza_pages.VodPage,
        wowza_pages.SummaryPage,
        wowza_pages.StreamsPage,
        wowza_pages.TranscodersPage,
        wowza_pages.TranscoderPage,
        wowza_pages.PeakPage,
        wowza_pages.WowzaFailure,
    ),
}
"""Dialect → all that it answers with."""


def golden(name: str) -> Any:
    return json.loads((FILES / f"{name}.json").read_text())


def said(answer: Answer) -> Any:
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"] == ID
    assert answer.headers["Cache-Control"] == "no-store"
    page = json.loads(answer.body)
    assert any(matching(page, dialect) for dialect in MODELS), f"no model has such a page: {page}"
    return page


def matching(page: Any, dialect: str) -> list[str]:
    """The names of the dialect's models that a page is one of; they are closed."""
    return [model.__name__ for model in MODELS[dialect] if validator(model).is_valid(page)]


@cache
def validator(model: Any) -> Draft202012Validator:
    return Draft202012Validator(standalone(model))


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
