"""The admin listener, described: what each path takes and answers, as operations of OpenAPI."""

from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import orjson

from gateway import errors
from gateway.admin.command import NAME_MAX
from gateway.admin.decisions import ExtendedPage, GrantedPage, RemovedPage, SettledPage
from gateway.admin.job_views import JobList, JobSettledView
from gateway.admin.reading import ASSET_MAX, ID_MAX, LEASE_MAX_S, LINES_MAX, TEXT_MAX
from gateway.admin.reservation_commands import COUNT_MAX
from gateway.admin.views import AdjustedView, AuditLogView, DoubtList, ReleasedView, ReservationList
from gateway.catalog.catalog import Catalog
from gateway.catalog.meters import AMOUNT_END
from gateway.dialects.native import Denial, QuotaPage, RateProblem
from gateway.dialects.problem import MEDIA_TYPE, Problem
from gateway.errors import Error
from gateway.openapi.document import ANY_METHOD, PATH, Operation, Parameter, Reply, document
from gateway.openapi.schemas import Vocabulary, With

METERS = Vocabulary("meters")
Meter = Annotated[str, METERS]
Amount = Annotated[int, With(minimum=0, maximum=AMOUNT_END - 1)]
Text = Annotated[str, With(maxLength=TEXT_MAX)]
Said = Annotated[str, With(minLength=1, maxLength=NAME_MAX, pattern=r"\S")]
Id = Annotated[str, With(pattern=rf"^[A-Za-z0-9._~:@+=-]{{1,{ID_MAX}}}$")]
Lease = Annotated[int, With(minimum=1, maximum=LEASE_MAX_S)]


class Span(TypedDict):
    """As much as there is room for, from the least to the most."""

    least: Amount
    most: Amount


Lines = Annotated[dict[Meter, Amount | Span], With(maxProperties=LINES_MAX)]
Actual = Annotated[dict[Meter, Amount], With(maxProperties=LINES_MAX)]
ByHand = Annotated[dict[Meter, int | str], With(maxProperties=LINES_MAX)]


class SubjectOf(TypedDict):
    kind: str
    id: str


class _OfAccount(TypedDict):
    account: Text
    key_id: NotRequired[Text | None]
    subject: NotRequired[SubjectOf | None]


class _OfKey(TypedDict):
    api_key: str
    subject: NotRequired[SubjectOf | None]


class _Reserve(TypedDict):
    lines: Lines
    id: NotRequired[Id | None]
    lease_s: NotRequired[Lease]
    note: NotRequired[Text | None]


class _Grow(TypedDict):
    lines: Lines


class _Extend(TypedDict):
    lease_s: NotRequired[Lease]


class _Commit(TypedDict):
    actual: Actual
    asset: NotRequired[Annotated[str, With(maxLength=ASSET_MAX)] | None]


class _Release(TypedDict):
    reason: NotRequired[Text | None]


class ReserveOfAccount(_OfAccount, _Reserve): ...


class ReserveOfKey(_OfKey, _Reserve): ...


class GrowOfAccount(_OfAccount, _Grow): ...


class GrowOfKey(_OfKey, _Grow): ...


class ExtendOfAccount(_OfAccount, _Extend): ...


class ExtendOfKey(_OfKey, _Extend): ...


class CommitOfAccount(_OfAccount, _Commit): ...


class CommitOfKey(_OfKey, _Commit): ...


class ReleaseOfAccount(_OfAccount, _Release): ...


class ReleaseOfKey(_OfKey, _Release): ...


class HandRelease(TypedDict):
    """Who does it, and why: both are in the audit log before it is done."""

    actor: Said
    reason: Said


class HandSettle(HandRelease):
    """What is not named in `actual` is charged as it was reserved."""

    actual: NotRequired[ByHand | None]


class HandAdjust(HandRelease):
    """`changes` are meter → amount, which may be negative, or text such as "-10MiB"."""

    changes: Annotated[ByHand, With(minProperties=1)]
    id: NotRequired[Id | None]


class Alive(TypedDict):
    status: Literal["alive"]


class Readiness(TypedDict):
    """`checks` are name → ok, or what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]


_ID = {"X-Request-Id": "the id of the request"}
_ALWAYS = {**_ID, "Cache-Control": "no-store"}
_GRANTED = {
    **_ALWAYS,
    "X-Quota-Id": "the reservation",
    "X-Quota-Account": "who is charged",
    "X-Quota-Key-Id": "by which key, if by one",
}
_BY_STATUS = {
    401: {"WWW-Authenticate": "what is asked for"},
    429: {"Retry-After": "seconds until a request would be let through"},
    503: {"Retry-After": "seconds until it may be asked again"},
}
TOKEN = {"token": {"type": "http", "scheme": "bearer"}}


def _refused(*said: Error) -> tuple[Reply, ...]:
    return tuple(
        Reply(each.status, Problem, MEDIA_TYPE, {**_ALWAYS, **_BY_STATUS.get(each.status, {})})
        for each in said
    )


_OPEN = _refused(errors.BAD_REQUEST, errors.INTERNAL)
_CLOSED = (*_OPEN, *_refused(errors.UNAUTHENTICATED, errors.FORBIDDEN, errors.STORE_UNAVAILABLE))
_DENIED = (
    Reply(403, Denial, MEDIA_TYPE, _ALWAYS),
    Reply(429, RateProblem, MEDIA_TYPE, {**_ALWAYS, **_BY_STATUS[429]}),
)
_UNKNOWN = _refused(errors.UNKNOWN_ACCOUNT)
_BODY = _refused(errors.FILE_TOO_LARGE)
_SETTLING = _refused(errors.RESERVATION_SETTLED, errors.CONTENT_MISMATCH)

READ = ("get", "head")
_COUNT = Parameter("count", "query", Annotated[int, With(minimum=1, maximum=COUNT_MAX)])
_STUCK = Parameter("stuck", "query", bool, "only those that will not end by themselves")
_KEY_ID = Parameter("key_id", "query", str, "with the limits of this API key")
_WHO = (
    Parameter("X-API-Key", "header", str, "who"),
    Parameter("X-Quota-Account", "header", str, "who, in its place"),
    Parameter("X-Quota-Key-Id", "header", str, "goes with the account"),
)
_LINES = Parameter("X-Quota-Lines", "header", str, "storage_bytes=1024,uploads=1")
_QUOTA_ID = Parameter("X-Quota-Id", "header", Id, "the reservation")
_TO_AUTHORIZE = (*_WHO, _LINES, _QUOTA_ID, Parameter("X-Quota-Lease", "header", Lease, "seconds"))
_TO_SETTLE = (
    *_WHO,
    _LINES,
    _QUOTA_ID,
    Parameter("X-Quota-Status", "header", Annotated[int, With(minimum=0, maximum=999)]),
    Parameter("X-Quota-Asset", "header", str),
)


def _operation(
    methods: tuple[str, ...],
    path: str,
    summary: str,
    replies: Iterable[Reply],
    parameters: tuple[Parameter, ...] = (),
    body: Any = None,
) -> Operation:
    """Behind the token; what stands in the path is a parameter."""
    model = Annotated[str, With(minLength=1)]
    named = [part.partition("}")[0] for part in path.split("{")[1:]]
    placed = tuple(Parameter(name, "path", model) for name in named)
    more = (*_CLOSED, *(_BODY if body is not None else ()))
    return Operation(
        methods, path, summary, (*replies, *more), (*placed, *parameters), body, (("token",),)
    )


def _done(model: Any, status: int = 200) -> Reply:
    return Reply(status, model, headers=_ALWAYS)


def _probes() -> list[Operation]:
    scrape = Reply(200, str, "text/plain", _ID)
    return [
        Operation(READ, "/livez", "Is the process running", (_done(Alive), *_OPEN)),
        Operation(
            READ,
            "/readyz",
            "Can requests be admitted",
            (_done(Readiness), _done(Readiness, 503), *_OPEN),
        ),
        _operation(READ, "/metrics", "Prometheus metrics", (scrape,)),
        _operation(READ, PATH, "This document", (_done(dict[str, object]),)),
    ]


def _decisions() -> list[Operation]:
    granted = Reply(200, GrantedPage, headers=_GRANTED)
    one = "/v1/reservations/{id}"
    settled = (_done(SettledPage), *_UNKNOWN, *_SETTLING)
    verbs = (
        ("grow", GrowOfAccount | GrowOfKey, (granted, *_DENIED, *_UNKNOWN, *_SETTLING)),
        ("extend", ExtendOfAccount | ExtendOfKey, (_done(ExtendedPage), *_UNKNOWN, *_SETTLING)),
        ("commit", CommitOfAccount | CommitOfKey, settled),
        ("release", ReleaseOfAccount | ReleaseOfKey, settled),
    )
    return [
        _operation(
            ("post",),
            "/v1/reservations",
            "Reserve",
            (Reply(201, GrantedPage, headers=_GRANTED), *_DENIED, *_UNKNOWN, *_SETTLING),
            body=ReserveOfAccount | ReserveOfKey,
        ),
        *(
            _operation(("post",), f"{one}/{verb}", verb.title(), replies, body=body)
            for verb, body, replies in verbs
        ),
        _operation(
            READ,
            "/v1/accounts/{account}/quota",
            "How an account stands on every meter",
            (_done(QuotaPage), *_UNKNOWN),
            (_KEY_ID,),
        ),
        _operation(
            ("delete",),
            "/v1/accounts/{account}/assets/{asset}",
            "Take an asset off the books",
            (_done(RemovedPage), *_UNKNOWN),
            (_KEY_ID,),
        ),
    ]


def _by_headers() -> list[Operation]:
    authorized = (
        Reply(200, GrantedPage, headers=_GRANTED),
        *_DENIED,
        *_UNKNOWN,
        *_SETTLING,
        *_BODY,
    )
    settled = (_done(SettledPage), *_UNKNOWN, *_SETTLING, *_BODY)
    found = []
    for below in ("", "/{path}"):
        path = f"/v1/authorize{below}"
        summary = "Reserve, for proxies that can only send headers"
        found.append(_operation(ANY_METHOD, path, summary, authorized, _TO_AUTHORIZE))
        path = f"/v1/settle{below}"
        summary = "Commit for a status of 200 to 299, else release"
        found.append(_operation(ANY_METHOD, path, summary, settled, _TO_SETTLE))
    return found


def _operations() -> list[Operation]:
    account = "/v1/accounts/{account}"
    refused = (*_UNKNOWN, *_SETTLING)
    return [
        _operation(
            READ,
            f"{account}/reservations",
            "What is open",
            (_done(ReservationList), *_UNKNOWN),
            (_COUNT,),
        ),
        _operation(
            ("post",),
            f"{account}/reservations/{{name}}/release",
            "Give back what a reservation holds",
            (_done(ReleasedView), *refused),
            body=HandRelease,
        ),
        _operation(
            READ,
            f"{account}/jobs",
            "Jobs, newest first",
            (_done(JobList), *_UNKNOWN),
            (_STUCK, _COUNT),
        ),
        _operation(READ, "/v1/jobs", "Jobs of all accounts", (_done(JobList),), (_STUCK, _COUNT)),
        _operation(
            ("post",),
            f"{account}/jobs/{{name}}/settle",
            "Charge a job as completed",
            (_done(JobSettledView), *refused),
            body=HandSettle,
        ),
        _operation(
            ("post",),
            f"{account}/adjustments",
            "Correct what is used",
            (_done(AdjustedView), *refused),
            body=HandAdjust,
        ),
        _operation(
            READ,
            "/v1/in-doubt",
            "Sent whole, never answered",
            (_done(DoubtList),),
            (_COUNT,),
        ),
        _operation(
            READ,
            "/v1/audit-log",
            "What was done by hand",
            (_done(AuditLogView),),
            (_COUNT,),
        ),
    ]


def admin_document(catalog: Catalog) -> bytes:
    groups = {
        "probes": _probes(),
        "decisions": _decisions(),
        "by headers": _by_headers(),
        "operations": _operations(),
    }
    operations = [replace(one, tag=tag) for tag, group in groups.items() for one in group]
    words = {str(METERS): tuple(catalog.meters)}
    name = "quota-gateway"
    told = document(f"{name} admin", version(name), operations, TOKEN, words)
    return orjson.dumps(told)
