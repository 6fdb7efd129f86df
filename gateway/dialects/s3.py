"""The S3 dialect: refusals as the XML that S3 clients raise as their own errors, by `Code`.

`QuotaExceeded` with 403 is not one of Amazon's codes but what other S3 servers say, and no client
retries it. Usage pages are the native ones. Statuses are those of S3, which has neither 401 nor
429; what may be tried again says so with `SlowDown` and `Retry-After`.

Source: Amazon S3 API Reference, "Error responses" (REST error responses, list of error codes).
"""

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

from gateway import errors
from gateway.dialects.native import Native, denied_in_words, limited_in_words
from gateway.dialects.problem import RETRY_AFTER_S
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import rate_limit_fields, retry_after_s
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited

QUOTA_EXCEEDED = "QuotaExceeded"
SLOW_DOWN = "SlowDown"

_CODES: Mapping[Error, tuple[str, int]] = {
    errors.BAD_PATH: ("InvalidURI", 400),
    errors.BAD_XML: ("MalformedXML", 400),
    errors.UNAUTHENTICATED: ("AccessDenied", 403),
    errors.NO_API_KEY: ("AccessDenied", 403),
    errors.MALFORMED_API_KEY: ("AccessDenied", 403),
    errors.ACCOUNT_SUSPENDED: ("AccountProblem", 403),
    errors.FORBIDDEN: ("AccessDenied", 403),
    errors.QUOTA_EXCEEDED: (QUOTA_EXCEEDED, 403),
    errors.UNKNOWN_UPLOAD: ("NoSuchUpload", 404),
    errors.METHOD_NOT_ALLOWED: ("MethodNotAllowed", 405),
    errors.REQUEST_TIMEOUT: ("RequestTimeout", 400),
    errors.UPLOAD_COMPLETE: ("OperationAborted", 409),
    errors.LENGTH_REQUIRED: ("MissingContentLength", 411),
    errors.FILE_TOO_LARGE: ("EntityTooLarge", 400),
    errors.BODY_OVERRUN: ("IncompleteBody", 400),
    errors.URI_TOO_LONG: ("KeyTooLongError", 400),
    errors.RATE_LIMITED: (SLOW_DOWN, 503),
    errors.NOT_SERVED: ("NotImplemented", 501),
    errors.STORE_UNAVAILABLE: (SLOW_DOWN, 503),
    errors.STORE_FULL: (SLOW_DOWN, 503),
    errors.STORE_LOST: ("ServiceUnavailable", 503),
    errors.DRAINING: ("ServiceUnavailable", 503),
}
"""Error → S3's code and status. Any other keeps its status and has a code for its kind."""

_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")
"""Characters that XML 1.0 has no way to say."""


class S3(Native):
    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        code, status = _CODES.get(refusal.error) or _of_its_kind(refusal.error)
        headers = {k: v for k, v in refusal.headers.items() if k != "WWW-Authenticate"}
        return _error(code, status, refusal.detail or refusal.error.title, request_id, headers)

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        headers = rate_limit_fields((denied.quota,), denied.rate, now_ms)
        return _error(QUOTA_EXCEEDED, 403, denied_in_words(denied), request_id, headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        headers = {"Retry-After": str(retry_after_s(limited.rate))}
        headers |= rate_limit_fields((), limited.rate, now_ms)
        return _error(SLOW_DOWN, 503, limited_in_words(limited), request_id, headers)


def _of_its_kind(error: Error) -> tuple[str, int]:
    return ("InvalidRequest" if error.status < 500 else "InternalError"), error.status


def _error(
    code: str, status: int, message: str, request_id: str, headers: Mapping[str, str]
) -> Answer:
    said = {"Code": code, "Message": message, "RequestId": request_id}
    elements = "".join(
        f"<{name}>{escape(_UNSPEAKABLE.sub('?', text))}</{name}>" for name, text in said.items()
    )
    fields = {
        "Content-Type": "application/xml",
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
        "x-amz-request-id": request_id,
    }
    if status == 503:
        fields["Retry-After"] = str(RETRY_AFTER_S)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{elements}</Error>'
    return Answer(status, body.encode(), fields | dict(headers))
