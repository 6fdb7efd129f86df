"""The native dialect: plain JSON pages, problem+json, and the RateLimit fields.

Amounts are integers in the meter's unit, instants are RFC 3339 in UTC, and what does not apply is
null. Only what concerns the caller's own account is ever said, and no id of an API key or subject.
"""

from collections.abc import Iterable, Mapping
from typing import TypedDict

import orjson

from gateway.catalog.meters import AMOUNT_END, MeterKind
from gateway.catalog.periods import PeriodKind
from gateway.dialects.instants import rfc3339, rfc3339_or_none
from gateway.dialects.problem import Problem, problem
from gateway.dialects.protocol import Answer, Explanation
from gateway.dialects.ratelimit_headers import (
    RATE_POLICY,
    policy_name,
    rate_limit_fields,
    retry_after_s,
    room_back_ms,
)
from gateway.errors import QUOTA_EXCEEDED, RATE_LIMITED, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import ACCOUNT_SCOPE, OpenReservation, Quota, Snapshot

_SCOPES = {"a": "account", "k": "api key", "s": "subject"}
_SPOKEN = {"api key": "API key"}


class Period(TypedDict):
    """`zone` is the IANA name of the zone that days and months are those of."""

    kind: PeriodKind
    zone: str


class Standing(TypedDict):
    """How one meter stands, in its unit. A limit of null is none; `resets_at` is when the period
    ends: `used` of a cumulative meter, `peak` of a level one."""

    meter: str
    unit: str
    kind: MeterKind
    scope: str
    limit: int | None
    used: int
    reserved: int
    effective: int
    remaining: int | None
    overage: int
    peak: int | None
    period: Period
    resets_at: str | None


class Holder(TypedDict):
    """An open reservation: `lines` are meter → amount that it holds until `lease_end` at most."""

    id: str
    opened_at: str
    lease_end: str
    note: str
    lines: dict[str, int]


class QuotaPage(TypedDict):
    """How the account stands on every meter. `pending_settlements` are those that the store has
    not taken yet, so that `used` lacks them."""

    account: str
    at: str
    quotas: list[Standing]
    open_reservations: int
    pending_settlements: int
    next_lease_end: str | None


class ExplainPage(TypedDict):
    """Whether a request would be admitted now. `binding` is the quota that has no room, `shortfall`
    how much it lacks; `over_cap`: more than one request may store, `cap` bytes."""

    account: str
    at: str
    would_admit: bool
    requested: dict[str, int]
    binding: Standing | None
    shortfall: int
    cap: int | None
    over_cap: bool
    holders: list[Holder]
    open_reservations: int
    next_lease_end: str | None


DenialMembers = TypedDict(
    "DenialMembers",
    {
        "meter": str,
        "unit": str,
        "scope": str,
        "limit": int | None,
        "used": int,
        "reserved": int,
        "requested": int,
        "remaining": int | None,
        "resets_at": str | None,
        "violated-policies": list[str],
    },
)


class Denial(Problem, DenialMembers):
    """There is no room on `meter` for what was `requested`; `resets_at`: when there is again."""


RateMembers = TypedDict(
    "RateMembers",
    {"limit": int, "remaining": int, "retry_after": int, "violated-policies": list[str]},
)


class RateProblem(Problem, RateMembers):
    """Too many requests: `limit` are allowed, the next one in `retry_after` seconds."""


class Native:
    """Stateless; implements Dialect."""

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        return problem(refusal.error, refusal.detail, request_id, headers=refusal.headers)

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        quota = denied.quota
        members: DenialMembers = {
            "meter": quota.meter.name,
            "unit": quota.meter.unit,
            "scope": _scope(quota),
            "limit": quota.limit,
            "used": quota.used,
            "reserved": quota.reserved,
            "requested": denied.requested,
            "remaining": quota.remaining,
            "resets_at": rfc3339_or_none(room_back_ms(quota)),
            "violated-policies": [policy_name(quota)],
        }
        headers = rate_limit_fields((quota,), denied.rate, now_ms)
        detail = denied_in_words(denied)
        return problem(QUOTA_EXCEEDED, detail, request_id, members=members, headers=headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        rate = limited.rate
        wait_s = retry_after_s(rate)
        members: RateMembers = {
            "limit": rate.limit.requests,
            "remaining": rate.remaining,
            "retry_after": wait_s,
            "violated-policies": [RATE_POLICY],
        }
        headers = {"Retry-After": str(wait_s)} | rate_limit_fields((), rate, now_ms)
        detail = limited_in_words(limited)
        return problem(RATE_LIMITED, detail, request_id, members=members, headers=headers)

    def usage(self, snapshot: Snapshot, request_id: str) -> Answer:
        page: QuotaPage = {
            "account": snapshot.account,
            "at": rfc3339(snapshot.at_ms),
            "quotas": [_standing(quota) for quota in snapshot.quotas],
            "open_reservations": snapshot.open_count,
            "pending_settlements": snapshot.pending_settlements,
            "next_lease_end": rfc3339_or_none(snapshot.next_lease_end_ms),
        }
        return _page(page, request_id)

    def explain(self, explanation: Explanation, request_id: str) -> Answer:
        snapshot = explanation.snapshot
        requested = {explanation.meter: explanation.requested, **explanation.also}
        binding, shortfall = _binding(snapshot, requested)
        over_cap = _over_cap(snapshot, requested, explanation.cap)
        page: ExplainPage = {
            "account": snapshot.account,
            "at": rfc3339(snapshot.at_ms),
            "would_admit": binding is None and not over_cap,
            "requested": requested,
            "binding": None if binding is None else _standing(binding),
            "shortfall": shortfall,
            "cap": explanation.cap,
            "over_cap": over_cap,
            "holders": [_holder(reservation) for reservation in explanation.holders],
            "open_reservations": snapshot.open_count,
            "next_lease_end": rfc3339_or_none(snapshot.next_lease_end_ms),
        }
        return _page(page, request_id)

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        return rate_limit_fields(quotas, rate, now_ms)


def denied_in_words(denied: Denied) -> str:
    quota = denied.quota
    scope = _scope(quota)
    return (
        f"{quota} (used+reserved/limit) for this {_SPOKEN.get(scope, scope)} leaves"
        f" {max(0, _bound(quota) - quota.effective)}; the request needs {denied.requested}"
    )


def limited_in_words(limited: RateLimited) -> str:
    rate = limited.rate
    return (
        f"{rate.limit.requests} requests are allowed in {rate.limit.per_s} s;"
        f" the next one in {retry_after_s(rate)} s"
    )


def _page(page: QuotaPage | ExplainPage, request_id: str) -> Answer:
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
    }
    return Answer(200, orjson.dumps(page), headers)


def _standing(quota: Quota) -> Standing:
    return {
        "meter": quota.meter.name,
        "unit": quota.meter.unit,
        "kind": quota.meter.kind,
        "scope": _scope(quota),
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "effective": quota.effective,
        "remaining": quota.remaining,
        "overage": quota.overage,
        "peak": quota.peak,
        "period": {"kind": quota.period.kind, "zone": quota.period.zone},
        "resets_at": rfc3339_or_none(quota.resets_at_ms),
    }


def _holder(reservation: OpenReservation) -> Holder:
    """Lines in the account's own scope say it all: every line counts there."""
    lines = {}
    for counter, amount in reservation.lines.items():
        scope, _, meter = counter.rpartition("/")
        if scope in ("", ACCOUNT_SCOPE):
            lines[meter] = amount
    return {
        "id": reservation.id,
        "opened_at": rfc3339(reservation.opened_ms),
        "lease_end": rfc3339(reservation.lease_end_ms),
        "note": reservation.note,
        "lines": lines,
    }


def _binding(snapshot: Snapshot, requested: Mapping[str, int]) -> tuple[Quota | None, int]:
    """The first quota that has no room, in the ledger's order, and how much room it lacks."""
    for quota in snapshot.quotas:
        asked = requested.get(quota.meter.name)
        if asked is None:
            continue
        lacks = quota.effective + asked - _bound(quota)
        if lacks > 0:
            return quota, lacks
    return None, 0


def _bound(quota: Quota) -> int:
    """The most `effective` may be: without a limit, the end of what can be counted."""
    return AMOUNT_END - 1 if quota.limit is None else quota.limit


def _over_cap(snapshot: Snapshot, requested: Mapping[str, int], cap: int | None) -> bool:
    """A cap is on what one request stores, so it concerns level meters in bytes."""
    if cap is None:
        return False
    return any(
        requested.get(quota.meter.name, 0) > cap
        for quota in snapshot.quotas
        if quota.meter.kind is MeterKind.LEVEL and quota.meter.unit == "bytes"
    )


def _scope(quota: Quota) -> str:
    return _SCOPES.get(quota.scope[:1], "other")
