"""The public listener's pages, described: what each takes and answers, as operations of OpenAPI.

How a refusal is said is asked of the dialect itself, so that statuses and types are its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import orjson

from gateway import errors
from gateway.admission.paging import PAGE_MAX, PER_PAGE_MAX
from gateway.catalog import patterns
from gateway.catalog.catalog import Catalog
from gateway.catalog.routes import CredentialKind, UsagePath
from gateway.dialects.cloudflare import CommandsQuotaEnvelope, StorageUsageEnvelope
from gateway.dialects.native import ExplainPage, QuotaPage
from gateway.dialects.protocol import Dialect
from gateway.dialects.registry import FAILURES, Dialects
from gateway.dialects.stashfyle import StashFyleUsage
from gateway.dialects.tornado import TornadoUsage
from gateway.dialects.wowza_pages import (
    AccountPage,
    AccountsPage,
    PeakPage,
    StreamsPage,
    SummaryPage,
    TargetPage,
    TargetsPage,
    TranscoderPage,
    TranscodersPage,
    VodPage,
    VodsPage,
)
from gateway.errors import Error, Refusal
from gateway.openapi.document import Operation, Parameter, Reply, document
from gateway.openapi.schemas import Vocabulary, With
from gateway.usage.cloudflare import CREATOR_MAX

METERS = Vocabulary("meters")
METHODS = ("get", "head")
TITLE = "quota-gateway"

ALWAYS = {"X-Request-Id": "the id of the request", "Cache-Control": "no-store"}
BY_STATUS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "where an API key may be"},
    429: {"Retry-After": "seconds until a request would be let through"},
    503: {"Retry-After": "seconds until it may be asked again"},
}

EARLY = (
    errors.BAD_REQUEST,
    errors.URI_TOO_LONG,
    errors.EXPECTATION_FAILED,
    errors.HEADERS_TOO_LARGE,
    errors.REQUEST_TIMEOUT,
    errors.INTERNAL,
    errors.VERSION_REFUSED,
    errors.DRAINING,
)
"""Said before it is known which page is asked for, in the words of the file's dialect."""

ASKED = (
    errors.NO_API_KEY,
    errors.MALFORMED_API_KEY,
    errors.UNAUTHENTICATED,
    errors.BAD_HEADER,
    errors.RATE_LIMITED,
    errors.INTERNAL,
    errors.STORE_UNAVAILABLE,
)
"""Said by any page that asks for an API key."""

SCHEMES: Mapping[str, Mapping[str, Any]] = {
    "x-api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-auth-email": {"type": "apiKey", "in": "header", "name": "X-Auth-Email"},
    "x-auth-key": {"type": "apiKey", "in": "header", "name": "X-Auth-Key"},
    "s3": {"type": "apiKey", "in": "header", "name": "Authorization"},
}
_NEEDED: Mapping[CredentialKind, tuple[str, ...]] = {
    CredentialKind.X_API_KEY: ("x-api-key",),
    CredentialKind.BEARER: ("bearer",),
    CredentialKind.CLOUDFLARE: ("x-auth-email", "x-auth-key"),
    CredentialKind.S3: ("s3",),
}


@dataclass(frozen=True, slots=True)
class Described:
    """`refused` is what the page says no by, besides what every page does."""

    summary: str
    model: Any
    query: tuple[Parameter, ...] = ()
    refused: tuple[Error, ...] = ()


_METER = Parameter("meter", "query", Annotated[str, METERS], "what the request would need")
_AMOUNT = Parameter("amount", "query", str, "how much of it: 10GiB, or an integer")
_CREATOR = Parameter(
    "creator",
    "query",
    Annotated[str, With(minLength=1, maxLength=CREATOR_MAX)],
    "of one creator alone",
)
_RANGE = (
    Parameter("from", "query", str, "2022-04-07, 2022-04-07 15:00:00, ISO 8601, or last_bill_date"),
    Parameter("to", "query", str, "as from"),
)


def _whole(name: str, most: int, what: str) -> Parameter:
    return Parameter(name, "query", Annotated[int, With(minimum=1, maximum=most)], what)


_PER_PAGE = _whole("per_page", PER_PAGE_MAX, "how many a page lists")
_KEYED = (*_RANGE, _PER_PAGE, Parameter("next_page_key", "query", str, "what the page before said"))
_NUMBERED = (*_RANGE, _PER_PAGE, _whole("page", PAGE_MAX, "which page"))
_NO_RANGE = (errors.INVALID_RANGE, errors.NO_ROUTE)
_NO_SUBJECT = (*_NO_RANGE, errors.UNKNOWN_SUBJECT)

PAGES: Mapping[str, Mapping[str, Described]] = {
    "native": {
        "quota": Described("How the account stands on every meter", QuotaPage),
        "explain": Described(
            "Whether a request would be admitted",
            ExplainPage,
            (_METER, _AMOUNT),
            (errors.BAD_REQUEST, errors.INVALID_AMOUNT, errors.UNKNOWN_METER),
        ),
    },
    "tornado": {"usage": Described("What the key has used", TornadoUsage)},
    "stashfyle": {"usage": Described("What the account stores and has used", StashFyleUsage)},
    "cloudflare": {
        "storage-usage": Described(
            "What is stored", StorageUsageEnvelope, (_CREATOR,), (errors.BAD_REQUEST,)
        ),
        "commands-quota": Described("The commands of today", CommandsQuotaEnvelope),
    },
    "wowza": {
        "accounts": Described(
            "The account's usage in a range", AccountsPage | AccountPage, _RANGE, _NO_RANGE
        ),
        "stream-targets": Described("Usage of stream targets", TargetsPage, _KEYED, _NO_RANGE),
        "stream-target": Described("Usage of a stream target", TargetPage, _RANGE, _NO_SUBJECT),
        "real-time-streams": Described(
            "Usage of real-time streams", StreamsPage, _KEYED, _NO_RANGE
        ),
        "transcoders": Described("Usage of transcoders", TranscodersPage, _NUMBERED, _NO_RANGE),
        "transcoder": Described("Usage of a transcoder", TranscoderPage, _RANGE, _NO_SUBJECT),
        "storage-peak": Described("The most that was stored", PeakPage, _RANGE, _NO_RANGE),
        "vod-streams": Described("Usage of VOD streams", VodsPage, _KEYED, _NO_RANGE),
        "vod-stream": Described("Usage of a VOD stream", VodPage, _RANGE, _NO_SUBJECT),
        "vod-summary": Described(
            "Usage of all VOD streams together", SummaryPage, _RANGE, _NO_RANGE
        ),
    },
}
"""Dialect → page → what is said of it; as with what answers it, the catalog knows the names."""


def public_document(catalog: Catalog, pages: Sequence[UsagePath], dialects: Dialects) -> bytes:
    """`pages` are those in force; one without any key is this document."""
    operations = [_operation(page, catalog, dialects) for page in pages]
    words = {str(METERS): tuple(catalog.meters)}
    return orjson.dumps(document(TITLE, version(TITLE), operations, SCHEMES, words))


def _operation(page: UsagePath, catalog: Catalog, dialects: Dialects) -> Operation:
    early = _refusals(EARLY, dialects.default, catalog.dialect)
    if not page.auth:
        said = Reply(200, dict[str, object], headers=ALWAYS)
        summary = "This document"
        return Operation(METHODS, page.path, summary, (said, *early), tag="document")
    told = PAGES[page.dialect][page.page]
    path, parameters = _of_path(page.path)
    dialect = dialects.by_name[page.dialect]
    other = (errors.OTHER_ACCOUNT,) if "account" in (each.name for each in parameters) else ()
    return Operation(
        METHODS,
        path,
        told.summary,
        (
            Reply(200, told.model, headers=ALWAYS),
            *early,
            *_refusals((*ASKED, *other, *told.refused), dialect, page.dialect),
        ),
        (*parameters, *told.query),
        security=tuple(_NEEDED[kind] for kind in page.auth),
        tag=page.dialect,
    )


def _of_path(text: str) -> tuple[str, tuple[Parameter, ...]]:
    pattern = patterns.parse(text)
    assert isinstance(pattern, patterns.Pattern)
    path = "/" + "/".join(f"{{{one.name}}}" if one.name else one.text for one in pattern.segments)
    whose = {"account": "the account's own id, or an alias"}
    model = Annotated[str, With(minLength=1)]
    return path, tuple(
        Parameter(name, "path", model, whose.get(name, "")) for name in pattern.names
    )


def _refusals(said: Iterable[Error], dialect: Dialect, name: str) -> list[Reply]:
    replies = []
    for error in said:
        answer = dialect.refusal(Refusal(error, error.title), "")
        headers = {**ALWAYS, **BY_STATUS.get(answer.status, {})}
        media_type = answer.headers["Content-Type"]
        replies.append(Reply(answer.status, FAILURES[name], media_type, headers))
    return replies
