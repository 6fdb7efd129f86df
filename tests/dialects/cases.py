"""The native dialect by example: one list of what is said and the JSON it becomes.

Every check of the dialect goes over the whole list, so a case added here is checked by all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway import errors
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import RateLimit
from gateway.dialects.native import Native
from gateway.dialects.protocol import Answer, Explanation
from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import OpenReservation, Quota, Snapshot

ID = "req-1"
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR_MS = 3_600_000
EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

STORAGE = Meter("storage_bytes", MeterKind.LEVEL, "bytes")
EGRESS = Meter("egress_bytes", MeterKind.CUMULATIVE, "bytes")
UPLOADS = Meter("uploads", MeterKind.CUMULATIVE, "count")
JOBS = Meter("jobs", MeterKind.CONCURRENCY, "count")
SECONDS = Meter("storage_seconds", MeterKind.LEVEL, "seconds")
DAILY = PeriodRule(PeriodKind.DAY)
MONTHLY = PeriodRule(PeriodKind.MONTH, "Europe/Berlin")

FULL = Quota(STORAGE, "a", 100, 60, 40, peak=80)
EGRESS_LEFT = Quota(
    EGRESS, "k:k3yk3y", 1_000, 250, 0, period=DAILY, resets_at_ms=NOW_MS + 6 * HOUR_MS
)
UNLIMITED = Quota(UPLOADS, "a", None, 7, 1, period=MONTHLY, resets_at_ms=NOW_MS + HOUR_MS - 1)
OVER = Quota(SECONDS, "s:creator:c-9", 50, 70, 0, peak=90)
BUSY = Quota(JOBS, "a", 3, 0, 2)
RATE = RateState(RateLimit(100, 60), remaining=40, reset_after_ms=36_001)
SPENT = RateState(RateLimit(100, 60), remaining=0, reset_after_ms=60_000, retry_after_ms=599)

STANDING = Snapshot("acme", NOW_MS, (FULL, EGRESS_LEFT, UNLIMITED, OVER, BUSY), 3, NOW_MS + 10_250)
EMPTY = Snapshot("new", NOW_MS + 1, (), 0, None, pending_settlements=2)
HOLDER = OpenReservation(
    "r-1",
    NOW_MS - 5_000,
    NOW_MS + 10_250,
    "upload",
    {"a/storage_bytes": 40, "k:k3yk3y/storage_bytes": 40, "a/jobs": 1},
)


@dataclass(frozen=True)
class Case:
    name: str
    say: Callable[[Native], Answer]
    status: int
    page: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    """Beyond Content-Type, Cache-Control and X-Request-Id, which every answer has."""


def _quota(quota: Quota, scope: str, **more: Any) -> dict[str, Any]:
    return {
        "meter": quota.meter.name,
        "unit": quota.meter.unit,
        "kind": quota.meter.kind.value,
        "scope": scope,
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "period": {"kind": "none", "zone": "UTC"},
        "peak": None,
        "resets_at": None,
        "overage": 0,
    } | more


FULL_PAGE = _quota(FULL, "account", effective=100, remaining=0, peak=80)
EGRESS_PAGE = _quota(
    EGRESS_LEFT,
    "api key",
    effective=250,
    remaining=750,
    period={"kind": "day", "zone": "UTC"},
    resets_at="2026-01-01T06:00:00Z",
)
UNLIMITED_PAGE = _quota(
    UNLIMITED,
    "account",
    effective=8,
    remaining=None,
    period={"kind": "month", "zone": "Europe/Berlin"},
    resets_at="2026-01-01T00:59:59.999Z",
)
OVER_PAGE = _quota(OVER, "subject", effective=70, remaining=0, overage=20, peak=90)
BUSY_PAGE = _quota(BUSY, "account", effective=2, remaining=1)

HOLDER_PAGE = {
    "id": "r-1",
    "opened_at": "2025-12-31T23:59:55Z",
    "lease_end": "2026-01-01T00:00:10.250Z",
    "note": "upload",
    "lines": {"storage_bytes": 40, "jobs": 1},
}


def _explained(**more: Any) -> dict[str, Any]:
    return {
        "account": "acme",
        "at": "2026-01-01T00:00:00Z",
        "would_admit": True,
        "binding": None,
        "shortfall": 0,
        "cap": None,
        "over_cap": False,
        "holders": [],
        "open_reservations": 3,
        "next_lease_end": "2026-01-01T00:00:10.250Z",
    } | more


def _blank(error: errors.Error, title: str, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": title,
        "status": error.status,
        "detail": detail,
        "code": error.code,
        "request_id": ID,
    }


def _refusal(refusal: Refusal) -> Callable[[Native], Answer]:
    return lambda dialect: dialect.refusal(refusal, ID)


def _denial(quota: Quota, requested: int, rate: RateState | None) -> Callable[[Native], Answer]:
    return lambda dialect: dialect.denial(Denied("r-9", quota, requested, rate), ID, NOW_MS)


def _explain(explanation: Explanation) -> Callable[[Native], Answer]:
    return lambda dialect: dialect.explain(explanation, ID)


CASES = (
    Case(
        "usage of an account with every kind of quota",
        lambda dialect: dialect.usage(STANDING, ID),
        200,
        {
            "account": "acme",
            "at": "2026-01-01T00:00:00Z",
            "quotas": [FULL_PAGE, EGRESS_PAGE, UNLIMITED_PAGE, OVER_PAGE, BUSY_PAGE],
            "open_reservations": 3,
            "pending_settlements": 0,
            "next_lease_end": "2026-01-01T00:00:10.250Z",
        },
    ),
    Case(
        "usage of an account without meters",
        lambda dialect: dialect.usage(EMPTY, ID),
        200,
        {
            "account": "new",
            "at": "2026-01-01T00:00:00.001Z",
            "quotas": [],
            "open_reservations": 0,
            "pending_settlements": 2,
            "next_lease_end": None,
        },
    ),
    Case(
        "explain: one byte too many, and who holds the room",
        _explain(Explanation(STANDING, "storage_bytes", 1, (HOLDER,))),
        200,
        _explained(
            would_admit=False,
            requested={"storage_bytes": 1},
            binding=FULL_PAGE,
            shortfall=1,
            holders=[HOLDER_PAGE],
        ),
    ),
    Case(
        "explain: the very last unit fits",
        _explain(Explanation(STANDING, "egress_bytes", 750, ())),
        200,
        _explained(requested={"egress_bytes": 750}),
    ),
    Case(
        "explain: a limit of one API key binds",
        _explain(Explanation(STANDING, "egress_bytes", 1_000, ())),
        200,
        _explained(
            would_admit=False,
            requested={"egress_bytes": 1_000},
            binding=EGRESS_PAGE,
            shortfall=250,
        ),
    ),
    Case(
        "explain: no limit, no bound",
        _explain(Explanation(STANDING, "uploads", 1 << 52, ())),
        200,
        _explained(requested={"uploads": 1 << 52}),
    ),
    Case(
        "explain: of several meters the one without room binds",
        _explain(Explanation(STANDING, "egress_bytes", 10, (), also={"jobs": 2})),
        200,
        _explained(
            would_admit=False,
            requested={"egress_bytes": 10, "jobs": 2},
            binding=BUSY_PAGE,
            shortfall=1,
        ),
    ),
    Case(
        "explain: room enough, but more than one request may store",
        _explain(
            Explanation(
                Snapshot("acme", NOW_MS, (Quota(STORAGE, "a", None, 0, 0),), 0, None),
                "storage_bytes",
                11,
                (),
                cap=10,
            )
        ),
        200,
        _explained(
            would_admit=False,
            requested={"storage_bytes": 11},
            cap=10,
            over_cap=True,
            open_reservations=0,
            next_lease_end=None,
        ),
    ),
    Case(
        "explain: the cap is on what is stored, not on what is delivered",
        _explain(Explanation(STANDING, "egress_bytes", 11, (), cap=10)),
        200,
        _explained(requested={"egress_bytes": 11}, cap=10),
    ),
    Case(
        "denied by the account's storage, which never resets",
        _denial(FULL, 10, RATE),
        403,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 403,
            "detail": "storage_bytes 60+40/100 (used+reserved/limit) for this account leaves 0;"
            " the request needs 10",
            "code": "quota-exceeded",
            "request_id": ID,
            "meter": "storage_bytes",
            "unit": "bytes",
            "scope": "account",
            "limit": 100,
            "used": 60,
            "reserved": 40,
            "requested": 10,
            "remaining": 0,
            "resets_at": None,
            "violated-policies": ["storage_bytes"],
        },
        {
            "RateLimit-Policy": '"storage_bytes";q=100;qu="content-bytes",'
            ' "request-rate";q=100;w=60',
            "RateLimit": '"storage_bytes";r=0, "request-rate";r=40;t=37',
        },
    ),
    Case(
        "denied by the day's egress of one API key",
        _denial(EGRESS_LEFT, 751, None),
        403,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 403,
            "detail": "egress_bytes 250+0/1000 (used+reserved/limit) for this API key leaves 750;"
            " the request needs 751",
            "code": "quota-exceeded",
            "request_id": ID,
            "meter": "egress_bytes",
            "unit": "bytes",
            "scope": "api key",
            "limit": 1_000,
            "used": 250,
            "reserved": 0,
            "requested": 751,
            "remaining": 750,
            "resets_at": "2026-01-01T06:00:00Z",
            "violated-policies": ["egress_bytes/api-key"],
        },
        {
            "RateLimit-Policy": '"egress_bytes/api-key";q=1000;qu="content-bytes";w=86400',
            "RateLimit": '"egress_bytes/api-key";r=750;t=21600',
        },
    ),
    Case(
        "denied by a quota that the RateLimit fields have no unit for",
        _denial(OVER, 1, None),
        403,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 403,
            "detail": "storage_seconds 70+0/50 (used+reserved/limit) for this subject leaves 0;"
            " the request needs 1",
            "code": "quota-exceeded",
            "request_id": ID,
            "meter": "storage_seconds",
            "unit": "seconds",
            "scope": "subject",
            "limit": 50,
            "used": 70,
            "reserved": 0,
            "requested": 1,
            "remaining": 0,
            "resets_at": None,
            "violated-policies": ["storage_seconds/subject"],
        },
    ),
    Case(
        "denied without a limit, at the end of what can be counted",
        _denial(Quota(STORAGE, "a", None, (1 << 53) - 3, 1), 2, None),
        403,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 403,
            "detail": "storage_bytes 9007199254740989+1/∞ (used+reserved/limit) for this account"
            " leaves 1; the request needs 2",
            "code": "quota-exceeded",
            "request_id": ID,
            "meter": "storage_bytes",
            "unit": "bytes",
            "scope": "account",
            "limit": None,
            "used": (1 << 53) - 3,
            "reserved": 1,
            "requested": 2,
            "remaining": None,
            "resets_at": None,
            "violated-policies": ["storage_bytes"],
        },
    ),
    Case(
        "denied by a level whose peak has a period: its room does not come back then",
        _denial(FULL._replace(period=DAILY, resets_at_ms=NOW_MS + HOUR_MS), 1, None),
        403,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 403,
            "detail": "storage_bytes 60+40/100 (used+reserved/limit) for this account leaves 0;"
            " the request needs 1",
            "code": "quota-exceeded",
            "request_id": ID,
            "meter": "storage_bytes",
            "unit": "bytes",
            "scope": "account",
            "limit": 100,
            "used": 60,
            "reserved": 40,
            "requested": 1,
            "remaining": 0,
            "resets_at": None,
            "violated-policies": ["storage_bytes"],
        },
        {
            "RateLimit-Policy": '"storage_bytes";q=100;qu="content-bytes"',
            "RateLimit": '"storage_bytes";r=0',
        },
    ),
    Case(
        "over the rate limit",
        lambda dialect: dialect.rate_limited(RateLimited(SPENT), ID, NOW_MS),
        429,
        {
            "type": EXCEEDED,
            "title": "Quota Exceeded",
            "status": 429,
            "detail": "100 requests are allowed in 60 s; the next one in 1 s",
            "code": "rate-limited",
            "request_id": ID,
            "limit": 100,
            "remaining": 0,
            "retry_after": 1,
            "violated-policies": ["request-rate"],
        },
        {
            "Retry-After": "1",
            "RateLimit-Policy": '"request-rate";q=100;w=60',
            "RateLimit": '"request-rate";r=0;t=1',
        },
    ),
    Case(
        "the store is away",
        _refusal(Refusal(errors.STORE_UNAVAILABLE, "", {"Retry-After": "1"})),
        503,
        _blank(
            errors.STORE_UNAVAILABLE,
            "Temporary Reduced Capacity",
            "Quota cannot be checked at the moment",
        )
        | {"type": REDUCED},
        {"Retry-After": "1"},
    ),
    Case(
        "the gateway is shutting down",
        _refusal(Refusal(errors.DRAINING, "this gateway takes no new requests")),
        503,
        _blank(errors.DRAINING, "Temporary Reduced Capacity", "this gateway takes no new requests")
        | {"type": REDUCED},
        {"Retry-After": "2"},
    ),
    Case(
        "no API key",
        _refusal(Refusal(errors.UNAUTHENTICATED, "no API key", {"WWW-Authenticate": "Bearer"})),
        401,
        _blank(errors.UNAUTHENTICATED, "Unauthorized", "no API key"),
        {"WWW-Authenticate": "Bearer"},
    ),
    Case(
        "too large: the phrase of RFC 9110",
        _refusal(Refusal(errors.FILE_TOO_LARGE, "at most 10 bytes")),
        413,
        _blank(errors.FILE_TOO_LARGE, "Content Too Large", "at most 10 bytes"),
    ),
    Case(
        "quotes and controls in a detail stay inside the JSON",
        _refusal(Refusal(errors.BAD_REQUEST, 'a "b" \r\n c\x00 ü')),
        400,
        _blank(errors.BAD_REQUEST, "Bad Request", 'a "b" \r\n c\x00 ü'),
    ),
)
