"""The Tornado dialect: a job API whose errors are `{"error": ...}` and whose GB is 2^30 bytes.

Source: Tornado API, "Usage & limits" (`GET /usage`). Where the vendor documents no error, what is
wrong is said in a sentence under `error`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from gateway import errors
from gateway.catalog.plans import Caps
from gateway.dialects.instants import rfc3339
from gateway.dialects.json_answers import json_answer
from gateway.dialects.native import denied_in_words, limited_in_words
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import rate_limit_fields, retry_after_s
from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota

GB = 1 << 30
MB = 1 << 20

MISSING = "Missing x-api-key header"
INVALID = "Invalid API Key"
EXCEEDED = "Storage quota exceeded"


class TornadoBilling(TypedDict, total=False):
    """Of an account that is billed by a subscription: its period, or why it is not known."""

    billing_period_start: str | int
    billing_period_end: str | int
    current_period_usage_gb: float
    billing_error: str


class TornadoCaps(TypedDict, total=False):
    """What the plan allows one job to ask for."""

    max_resolution_limit: str
    max_duration_limit_seconds: int
    max_filesize_limit_bytes: int
    max_filesize_limit_mb: float


class TornadoUsage(TornadoBilling, TornadoCaps):
    """What the key has used. Storage has limits where it is a trial; a GB is 2^30 bytes."""

    client_name: str
    usage_count: int
    storage_usage_gb: float
    storage_reserved_gb: float
    storage_effective_usage_gb: float
    storage_limit_gb: NotRequired[float]
    storage_limit_bytes: NotRequired[int]
    storage_remaining_gb: NotRequired[float]


class TornadoFailure(TypedDict):
    """What is wrong, in a sentence."""

    error: str


class TornadoDenial(TornadoFailure):
    """There is no room; `limit_gb` and `used_gb` have two decimals."""

    limit_gb: NotRequired[str]
    used_gb: NotRequired[str]
    message: str


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """The subscription's current period [start, end), and the bytes that were used in it."""

    start_ms: int
    end_ms: int
    used: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the page tells. `billing`: the account is billed by a subscription; its period, or why
    it is not known. `storage` is a cumulative meter of bytes, `jobs` one of jobs."""

    client_name: str
    jobs: Quota
    storage: Quota
    caps: Caps
    billing: BillingPeriod | str | None = None


@dataclass(frozen=True, slots=True)
class Tornado:
    """`epoch_dates`: billing dates are Unix seconds, as the vendor's own client reads them, and not
    the strings of the vendor's page."""

    epoch_dates: bool = False

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        match refusal.error:
            case errors.NO_API_KEY:
                said = MISSING
            case errors.UNAUTHENTICATED | errors.MALFORMED_API_KEY:
                said = INVALID
            case error:
                said = refusal.detail or error.title
        document: TornadoFailure = {"error": said}
        return json_answer(refusal.error.status, document, request_id, refusal.headers)

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        quota = denied.quota
        headers = rate_limit_fields((quota,), denied.rate, now_ms)
        if quota.meter.unit != "bytes" or quota.limit is None:
            other: TornadoDenial = {"error": "Quota exceeded", "message": denied_in_words(denied)}
            return json_answer(403, other, request_id, headers)
        used, limit = quota.effective / GB, quota.limit / GB
        document: TornadoDenial = {
            "error": EXCEEDED,
            "limit_gb": f"{limit:.2f}",
            "used_gb": f"{used:.2f}",
            "message": f"This API key has a {limit:.10g} GB limit and has used {used:.2f} GB",
        }
        return json_answer(403, document, request_id, headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        headers = {"Retry-After": str(retry_after_s(limited.rate))}
        headers |= rate_limit_fields((), limited.rate, now_ms)
        return json_answer(429, {"error": limited_in_words(limited)}, request_id, headers)

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        return rate_limit_fields(quotas, rate, now_ms)

    def usage(self, usage: Usage, request_id: str) -> Answer:
        """`GET /usage`: which fields there are depends on whether the account is billed by a
        subscription, has a limit (a trial), or neither."""
        storage = usage.storage
        page: TornadoUsage = {
            "client_name": usage.client_name,
            "usage_count": usage.jobs.used,
            "storage_usage_gb": _gb(storage.used),
            "storage_reserved_gb": _gb(storage.reserved),
            "storage_effective_usage_gb": _gb(storage.effective),
        }
        if usage.billing is not None:
            page = {**page, **self._billing(usage.billing)}
        elif storage.limit is not None:
            page["storage_limit_gb"] = _gb(storage.limit)
            page["storage_limit_bytes"] = storage.limit
            page["storage_remaining_gb"] = _gb(storage.remaining or 0)
        said: TornadoUsage = {**page, **_caps(usage.caps)}
        return json_answer(200, said, request_id)

    def _billing(self, billing: BillingPeriod | str) -> TornadoBilling:
        if isinstance(billing, str):
            return {"billing_error": billing}
        return {
            "billing_period_start": self._date(billing.start_ms),
            "billing_period_end": self._date(billing.end_ms),
            "current_period_usage_gb": _gb(billing.used),
        }

    def _date(self, instant_ms: int) -> str | int:
        return instant_ms // 1_000 if self.epoch_dates else rfc3339(instant_ms)


def _caps(caps: Caps) -> TornadoCaps:
    said: TornadoCaps = {}
    if caps.resolution is not None:
        said["max_resolution_limit"] = str(caps.resolution)
    if caps.duration_s is not None:
        said["max_duration_limit_seconds"] = caps.duration_s
    if caps.file_bytes is not None:
        said["max_filesize_limit_bytes"] = caps.file_bytes
        said["max_filesize_limit_mb"] = _rounded(caps.file_bytes / MB)
    return said


def _gb(amount: int) -> float | int:
    return _rounded(amount / GB)


def _rounded(number: float) -> float | int:
    """Two decimals, and none for a whole number, as JSON of the vendor has it."""
    rounded = round(number, 2)
    return int(rounded) if rounded.is_integer() else rounded
