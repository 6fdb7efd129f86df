"""The StashFyle dialect: a file API whose errors are `{"error": {"code", "message"}}`.

Source: StashFyle API, "Errors", "Rate limits" and "Usage" (`GET /v1/usage`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from gateway import errors
from gateway.catalog.meters import MeterKind
from gateway.dialects.json_answers import json_answer
from gateway.dialects.native import denied_in_words, limited_in_words
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import retry_after_s
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota

FULL = "storage_limit_exceeded"

_CODES: Mapping[Error, str] = {
    errors.NO_API_KEY: "unauthorized",
    errors.MALFORMED_API_KEY: "unauthorized",
    errors.UNAUTHENTICATED: "unauthorized",
    errors.FILE_TOO_LARGE: "file_too_large",
    errors.RATE_LIMITED: "rate_limit_exceeded",
}
_BY_STATUS = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
              413: "file_too_large", 429: "rate_limit_exceeded"}  # fmt: skip
"""Errors that the vendor does not have are said as the nearest one that it has."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StashFyleUsage(TypedDict):
    """What is stored now, and what was used in the period that began then."""

    storage_bytes: int
    bandwidth_bytes: int
    upload_count: int
    period_start: str


class StashFyleError(TypedDict):
    code: str
    message: str


class StashFyleFailure(TypedDict):
    """What is wrong: a code to act upon, and a sentence."""

    error: StashFyleError


@dataclass(frozen=True, slots=True)
class Usage:
    """`storage` is a level; `bandwidth` and `uploads` count in the period that began then."""

    storage: Quota
    bandwidth: Quota
    uploads: Quota
    period_start_ms: int


@dataclass(frozen=True, slots=True)
class StashFyle:
    """`full_status`: 403, or 413 as the vendor answers when storage is full."""

    full_status: int = 403

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        error = refusal.error
        known = _BY_STATUS.get(error.status, "bad_request" if error.status < 500 else "")
        code = _CODES.get(error) or known or "internal_error"
        return self._error(error.status, code, refusal.detail or error.title, request_id,
                           refusal.headers)  # fmt: skip

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        full = denied.quota.meter.kind is MeterKind.LEVEL
        status, code = (self.full_status, FULL) if full else (403, "forbidden")
        headers = self.standing((), denied.rate, now_ms)
        return self._error(status, code, denied_in_words(denied), request_id, headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        headers = {"Retry-After": str(retry_after_s(limited.rate))}
        headers |= self.standing((), limited.rate, now_ms)
        return self._error(
            429, "rate_limit_exceeded", limited_in_words(limited), request_id, headers
        )

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        """`X-RateLimit-Reset` is in Unix seconds."""
        if rate is None:
            return {}
        return {
            "X-RateLimit-Limit": str(rate.limit.requests),
            "X-RateLimit-Remaining": str(rate.remaining),
            "X-RateLimit-Reset": str(-(-(now_ms + rate.reset_after_ms) // 1_000)),
        }

    def usage(
        self, usage: Usage, request_id: str, rate: RateState | None = None, now_ms: int = 0
    ) -> Answer:
        """`GET /v1/usage`"""
        page: StashFyleUsage = {
            "storage_bytes": usage.storage.used,
            "bandwidth_bytes": usage.bandwidth.used,
            "upload_count": usage.uploads.used,
            "period_start": f"{_EPOCH + timedelta(milliseconds=usage.period_start_ms):%Y-%m-%d}",
        }
        return json_answer(200, page, request_id, self.standing((), rate, now_ms))

    def _error(
        self, status: int, code: str, message: str, request_id: str, headers: Mapping[str, str]
    ) -> Answer:
        document: StashFyleFailure = {"error": {"code": code, "message": message}}
        return json_answer(status, document, request_id, headers)
