"""Problems: errors as application/problem+json (RFC 9457), safe to show to the account they reach.

`type` is one of those that draft-ietf-httpapi-ratelimit-headers-11 and
draft-ietf-httpbis-resumable-upload-12 register, else `about:blank`, as RFC 9457, 4.2.1 has it: then
`title` is the phrase of the status. What went wrong exactly is always in `code`, which is part of
our contract, and in `detail`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypedDict

import orjson

from gateway.dialects.protocol import Answer
from gateway.errors import (
    DRAINING,
    INCONSISTENT_LENGTH,
    QUOTA_EXCEEDED,
    RATE_LIMITED,
    STORE_FULL,
    STORE_LOST,
    STORE_UNAVAILABLE,
    Error,
)

MEDIA_TYPE = "application/problem+json"
BLANK = "about:blank"
EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
INCONSISTENT = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"

RETRY_AFTER_S = 2
"""What a 503 asks for when nothing better is known."""

_TYPES = {
    QUOTA_EXCEEDED: EXCEEDED,
    RATE_LIMITED: EXCEEDED,
    STORE_UNAVAILABLE: REDUCED,
    STORE_FULL: REDUCED,
    STORE_LOST: REDUCED,
    DRAINING: REDUCED,
    INCONSISTENT_LENGTH: INCONSISTENT,
}
_TITLES = {
    EXCEEDED: "Quota Exceeded",
    REDUCED: "Temporary Reduced Capacity",
    INCONSISTENT: "Inconsistent Upload Length Values",
}
_PHRASES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""RFC 9110 renamed these; what the standard library says depends on its version."""


class Problem(TypedDict):
    """What went wrong (RFC 9457); `code` says what exactly."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def problem(
    error: Error,
    detail: str,
    request_id: str,
    *,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """`members` are added to the problem, `headers` to the answer."""
    kind = _TYPES.get(error, BLANK)
    document: Problem = {
        "type": kind,
        "title": _TITLES.get(kind) or _phrase(error.status),
        "status": error.status,
        "detail": detail or error.title,
        "code": error.code,
        "request_id": request_id,
    }
    fields = {
        "Content-Type": MEDIA_TYPE,
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
    }
    if error.status == 503:
        fields["Retry-After"] = str(RETRY_AFTER_S)
    if headers:
        fields |= headers
    said = {**document, **(members or {})}
    return Answer(error.status, orjson.dumps(said), fields)


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase
