"""Every error once: code, status, title. Codes are part of the public contract.

`Error` values are what a client may see; exceptions below carry one of them. A `Refusal` is a
decision (a value), an exception means that the world failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Error:
    code: str
    status: int
    title: str


# -- the client's request -------------------------------------------------------------------------
BAD_REQUEST = Error("bad-request", 400, "The request is malformed")
BAD_FRAMING = Error("bad-framing", 400, "The length of the request body is ambiguous")
BAD_PATH = Error("bad-path", 400, "The request path has more than one reading")
BAD_HEADER = Error("bad-header", 400, "A request header has more than one reading")
BAD_XML = Error("bad-xml", 400, "The XML of the request is malformed, or more than is served")
UNAUTHENTICATED = Error("unauthenticated", 401, "The API key is not valid")
NO_API_KEY = Error("no-api-key", 401, "No API key was given")
MALFORMED_API_KEY = Error("malformed-api-key", 401, "What was given cannot be an API key")
ACCOUNT_SUSPENDED = Error("account-suspended", 403, "The account is suspended")
FORBIDDEN = Error("forbidden", 403, "The API key may not do this")
QUOTA_EXCEEDED = Error("quota-exceeded", 403, "The request would exceed a quota")
OTHER_ACCOUNT = Error("other-account", 404, "There is no such account for this API key")
DURATION_TOO_LONG = Error("duration-too-long", 403, "The plan allows no such duration")
RESOLUTION_TOO_HIGH = Error("resolution-too-high", 403, "The plan allows no such resolution")
NO_ROUTE = Error("no-route", 404, "Nothing is served at this path")
UNKNOWN_SUBJECT = Error("unknown-subject", 404, "The account has nothing of this kind and id")
UNKNOWN_UPLOAD = Error("unknown-upload", 404, "There is no such upload")
METHOD_NOT_ALLOWED = Error("method-not-allowed", 405, "The path does not take this method")
REQUEST_TIMEOUT = Error("request-timeout", 408, "The request took too long to arrive")
UPLOAD_COMPLETE = Error("upload-complete", 409, "The upload has all of its bytes already")
UPLOAD_GONE = Error("upload-gone", 410, "The upload has expired or was ended")
LENGTH_REQUIRED = Error("length-required", 411, "This route needs a Content-Length")
PROTOCOL_VERSION = Error("protocol-version", 412, "This version of the protocol is not spoken")
FILE_TOO_LARGE = Error("file-too-large", 413, "The body is larger than the plan allows")
BODY_OVERRUN = Error("body-overrun", 413, "The body is longer than was declared")
INCONSISTENT_LENGTH = Error(
    "inconsistent-upload-length", 400, "The length of the upload is not what was declared"
)
URI_TOO_LONG = Error("uri-too-long", 414, "The request target is too long")
EXPECTATION_FAILED = Error("expectation-failed", 417, "Only 100-continue is understood in Expect")
RATE_LIMITED = Error("rate-limited", 429, "Too many requests")
HEADERS_TOO_LARGE = Error("headers-too-large", 431, "The request headers are too large")
UPGRADE_REFUSED = Error("upgrade-refused", 400, "This route does not allow protocol upgrades")
NOT_SERVED = Error("not-served", 501, "The gateway does not serve this operation")
VERSION_REFUSED = Error("version-refused", 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")

# -- the gateway and what stands behind it --------------------------------------------------------
INTERNAL = Error("internal", 500, "The gateway failed")
UPSTREAM_UNREACHABLE = Error("upstream-unreachable", 502, "The upstream could not be reached")
UPSTREAM_FAILED = Error("upstream-failed", 502, "The upstream broke off")
UPSTREAM_MALFORMED = Error("upstream-malformed", 502, "The upstream's answer was not understood")
UPSTREAM_TIMEOUT = Error("upstream-timeout", 504, "The upstream took too long")
STORE_UNAVAILABLE = Error("store-unavailable", 503, "Quota cannot be checked at the moment")
STORE_FULL = Error("store-full", 503, "The quota store is out of memory or disk")
STORE_LOST = Error("store-lost", 503, "The quota store has lost its books; an operator must accept")
DRAINING = Error("draining", 503, "The gateway is shutting down")

# -- the decision API -----------------------------------------------------------------------------
UNKNOWN_ACCOUNT = Error("unknown-account", 404, "There is no such account")
UNKNOWN_RESERVATION = Error("unknown-reservation", 404, "There is no such reservation")
RESERVATION_SETTLED = Error("reservation-settled", 409, "The reservation has ended differently")
KEY_IN_FLIGHT = Error("key-in-flight", 409, "A request of this name is being carried out")
ANSWER_LOST = Error("answer-lost", 409, "The request may have been carried out, unanswered")
KEY_REUSED = Error("key-reused", 422, "The name of this request was another one's before")
CONTENT_MISMATCH = Error("content-mismatch", 422, "The id was used before with other content")
INVALID_RANGE = Error("invalid-range", 422, "The range or the page cannot be given")
INVALID_AMOUNT = Error("invalid-amount", 400, "An amount must be an integer from 0 to 2^53 - 1")
UNKNOWN_METER = Error("unknown-meter", 400, "There is no such meter")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not let through, before or after the ledger was asked.

    `detail` is safe to show to the client; `headers` are added to the answer (Allow, Retry-After).
    """

    error: Error
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


class GatewayError(Exception):
    """The world failed. `error` says what a client is told; the message is for the log."""

    def __init__(self, error: Error, message: str = "") -> None:
        super().__init__(message or error.title)
        self.error = error


class StoreError(GatewayError):
    """Redis did not do what was asked. `transient`: the same call with the same id may succeed.

    `indeterminate`: the call may have taken effect (its reply was lost).
    """

    def __init__(
        self, error: Error, message: str = "", *, transient: bool, indeterminate: bool = False
    ) -> None:
        super().__init__(error, message)
        self.transient = transient
        self.indeterminate = indeterminate


class UpstreamError(GatewayError):
    """The upstream could not be reached, broke off, was too slow, or is not understood.

    `before_bytes`: a kept connection turned out to be closed before any byte of an answer came, so
    the request may be sent again on another one, if all of it is still at hand.
    """

    def __init__(self, error: Error, message: str = "", *, before_bytes: bool = False) -> None:
        super().__init__(error, message)
        self.before_bytes = before_bytes


class ClientGoneError(Exception):
    """The client closed its connection or went silent past its limits."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing wrong in a configuration: where (`routes[2].reserve`), what, and the remedy."""

    place: str
    problem: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.place if self.line is None else f"{self.place} (line {self.line})"
        return f"{where}: {self.problem}; {self.remedy}"


class ConfigError(Exception):
    """A configuration with everything that is wrong in it, at once."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
