"""The Cloudflare dialect: every answer in the envelope of API v4.

Source: Cloudflare API v4, "Responses" and "Make API calls"; `stream/storage-usage` and
`dex/commands/quota` of the API reference.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired, TypedDict

from gateway import errors
from gateway.dialects.json_answers import json_answer
from gateway.dialects.native import denied_in_words, limited_in_words
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import rate_limit_fields, retry_after_s
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota

AUTHENTICATION = 10000
HEADERS = 6003
"""Invalid request headers; which, the chain says: 6111 or 6103."""
OVER_QUOTA = 10011
TOO_MANY = 10429
MALFORMED = 10005

_ERRORS: Mapping[Error, tuple[int, int, str]] = {
    errors.NO_API_KEY: (401, AUTHENTICATION, "Authentication error"),
    errors.UNAUTHENTICATED: (401, AUTHENTICATION, "Authentication error"),
    errors.OTHER_ACCOUNT: (403, AUTHENTICATION, "Authentication error"),
    errors.ACCOUNT_SUSPENDED: (403, AUTHENTICATION, "Authentication error"),
    errors.NO_ROUTE: (404, 7003, "Could not route to this path"),
    errors.METHOD_NOT_ALLOWED: (405, 10000, "Method not allowed for this path"),
}
"""Error → status, code and message. Any other keeps its status and says what is wrong."""

_CHAINS = {
    "X-Auth-Key": {"code": 6103, "message": "Invalid format for X-Auth-Key header"},
    "Authorization": {"code": 6111, "message": "Invalid format for Authorization header"},
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_S = 60


class CloudflareSaid(TypedDict):
    code: int
    message: str


class CloudflareError(CloudflareSaid):
    """What is wrong; the chain says it more closely."""

    error_chain: NotRequired[list[CloudflareSaid]]


class StorageUsage(TypedDict):
    """Whole minutes of what is stored, by the creator if one was asked for."""

    creator: NotRequired[str]
    totalStorageMinutes: int
    totalStorageMinutesLimit: int | None
    videoCount: int


class CommandsQuota(TypedDict):
    """Commands of the day that ends at `reset_time`."""

    quota: int | None
    quota_usage: int
    reset_time: str | None


class _Envelope(TypedDict):
    success: bool
    errors: list[CloudflareError]
    messages: list[CloudflareSaid]


class StorageUsageEnvelope(_Envelope):
    result: StorageUsage


class CommandsQuotaEnvelope(_Envelope):
    result: CommandsQuota


class CloudflareFailure(_Envelope):
    result: None


@dataclass(frozen=True, slots=True)
class Cloudflare:
    """`total_quota`: `quota` of the commands is all of it, not what remains."""

    total_quota: bool = False

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        error, headers = refusal.error, refusal.headers
        if error == errors.MALFORMED_API_KEY:
            chain = [chain for name, chain in _CHAINS.items() if name in refusal.detail]
            said = {"code": HEADERS, "message": "Invalid request headers"}
            return failure(400, {**said, "error_chain": chain}, request_id, headers)
        known = _ERRORS.get(error)
        if known is not None:
            status, code, message = known
            return failure(status, {"code": code, "message": message}, request_id, headers)
        code = MALFORMED if error.status < 500 else 10000 + error.status - 500
        said = {"code": code, "message": refusal.detail or error.title}
        return failure(error.status, said, request_id, headers)

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        headers = rate_limit_fields((denied.quota,), denied.rate, now_ms)
        message = f"Quota exceeded: {denied_in_words(denied)}"
        return failure(403, {"code": OVER_QUOTA, "message": message}, request_id, headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        headers = {"Retry-After": str(retry_after_s(limited.rate))}
        headers |= rate_limit_fields((), limited.rate, now_ms)
        said = {"code": TOO_MANY, "message": limited_in_words(limited)}
        return failure(429, said, request_id, headers)

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        return rate_limit_fields(quotas, rate, now_ms)

    def storage_usage(
        self, storage: Quota, videos: Quota, request_id: str, *, creator: str | None = None
    ) -> Answer:
        """`GET /accounts/{account_id}/stream/storage-usage`: whole minutes of what is stored."""
        limit = None if storage.limit is None else storage.limit // _MINUTE_S
        result: StorageUsage = {
            "totalStorageMinutes": storage.used // _MINUTE_S,
            "totalStorageMinutesLimit": limit,
            "videoCount": videos.used,
        }
        if creator is not None:
            result = {"creator": creator, **result}
        return success(result, request_id)

    def commands_quota(self, commands: Quota, request_id: str) -> Answer:
        """`GET /accounts/{account_id}/dex/commands/quota`"""
        quota = commands.limit if self.total_quota else commands.remaining
        result: CommandsQuota = {
            "quota": quota,
            "quota_usage": commands.used,
            "reset_time": _instant(commands.resets_at_ms),
        }
        return success(result, request_id)


def success(result: Any, request_id: str) -> Answer:
    return _envelope(200, (), result, request_id, {})


def failure(
    status: int, error: Mapping[str, Any], request_id: str, headers: Mapping[str, str]
) -> Answer:
    return _envelope(status, (error,), None, request_id, headers)


def _envelope(
    status: int,
    errors_said: Sequence[Mapping[str, Any]],
    result: Any,
    request_id: str,
    headers: Mapping[str, str],
) -> Answer:
    document = {
        "result": result,
        "success": not errors_said,
        "errors": list(errors_said),
        "messages": [],
    }
    return json_answer(status, document, request_id, headers)


def _instant(instant_ms: int | None) -> str | None:
    """RFC 3339 with milliseconds, which the vendor's clients need to read it as an instant."""
    if instant_ms is None:
        return None
    instant = _EPOCH + timedelta(milliseconds=instant_ms)
    return instant.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
