"""The decision API: the ledger's verbs over HTTP, for those who move the bytes themselves.

Ids and answers are the ledger's: a repeat replays the first answer, unknown is 404, settled
otherwise is 409, the same id with other content is 422. Each call says who is charged, the same way
for all calls on one reservation.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import orjson
from aiohttp import web

from gateway.admin.charged import Charging
from gateway.admin.entrance import REQUEST_ID, response_of
from gateway.admin.reading import (
    ASSET_MAX,
    ID_MAX,
    LEASE_MAX_S,
    LEASE_S,
    Fields,
    UnfitError,
    amounts_of,
    lines_of,
    reservation_id,
)
from gateway.admin.views import QuotaView, quota_view
from gateway.catalog.catalog import Catalog
from gateway.clock import StoreClock
from gateway.dialects.protocol import Answer
from gateway.dialects.registry import NATIVE
from gateway.errors import RESERVATION_SETTLED, Error, Refusal
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, RateLimited, RateState, Refused, Settled
from gateway.records.api_keys import ApiKeys
from gateway.records.identities import Identities
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.names import NONE

CLIENT_ID_KEEP_MS = 86_400_000
GATEWAY_ID_KEEP_MS = 120_000


class Rate(TypedDict):
    remaining: int
    reset_after_ms: int


class GrantedPage(TypedDict):
    """What is reserved; `rate` says how the API key's rate limit stands, if it has one. Later calls
    may name who is charged by `account` and `key_id`."""

    id: str
    state: str
    amounts: dict[str, int]
    quotas: list[QuotaView]
    rate: Rate | None
    replayed: bool
    account: str
    key_id: str | None


class ExtendedPage(TypedDict):
    id: str
    state: str
    lease_s: int


class SettledPage(TypedDict):
    """How the reservation has ended; `overage` is meter → units now used over a limit."""

    id: str
    state: str
    late: bool
    overage: dict[str, int]
    quotas: list[QuotaView]
    replayed: bool


class RemovedPage(TypedDict):
    """`deltas` are meter → signed change; empty if there was no such asset."""

    asset: str
    deltas: dict[str, int]


@dataclass(frozen=True, slots=True)
class DecisionDeps:
    """`closed` says why nothing is reserved now: the store lost its books, or the gateway is
    shutting down. What is reserved can be settled until the end. `note` is told of accounts that
    have an open reservation, so that its lease is ended also if nobody asks again."""

    ledger: Ledger
    keys: ApiKeys
    identities: Identities
    catalog: Callable[[], Catalog]
    metrics: Metrics
    clock: StoreClock
    closed: Callable[[], Error | None]
    note: Callable[[str], None] = lambda account: None
    body_timeout_s: float = 10.0


class Decisions:
    def __init__(self, deps: DecisionDeps) -> None:
        self._ledger = deps.ledger
        self._catalog = deps.catalog
        self._metrics = deps.metrics
        self._clock = deps.clock
        self._closed = deps.closed
        self._note = deps.note
        self._body_timeout_s = deps.body_timeout_s
        self._charging = Charging(deps.keys, deps.identities, deps.catalog)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/reservations", self._on_body(self.reserve)),
            web.post("/v1/reservations/{id}/grow", self._on_body(self.grow)),
            web.post("/v1/reservations/{id}/extend", self._on_body(self.extend)),
            web.post("/v1/reservations/{id}/commit", self._on_body(self.commit)),
            web.post("/v1/reservations/{id}/release", self._on_body(self.release)),
            web.get("/v1/accounts/{account}/quota", self._quota),
            web.delete("/v1/accounts/{account}/assets/{asset:.+}", self._remove),
        ]

    # -- verbs: each reads its fields, asks the ledger, and says its answer -----------------------

    async def reserve(self, fields: Fields, request_id: str, _: str = "") -> Answer:
        closed = self._closed()
        if closed is not None:
            return self._no(Refusal(closed, closed.title), request_id)
        terms = await self._charging.opening(fields)
        if isinstance(terms, Refusal):
            return self._no(terms, request_id)
        own_id = fields.text("id", length_max=ID_MAX)
        name = secrets.token_hex(16) if own_id is None else reservation_id(own_id)
        lines = lines_of(fields.required_object("lines").take_all(), terms.meters)
        lease_s = fields.whole("lease_s", LEASE_S, least=1, most=LEASE_MAX_S)
        note = fields.text("note", "") or ""
        fields.end()
        outcome = await self._ledger.reserve(
            terms,
            name,
            lines,
            lease_ms=lease_s * 1_000,
            rate=terms.plan.rate,
            note=note,
            keep_ms=GATEWAY_ID_KEEP_MS if own_id is None else CLIENT_ID_KEEP_MS,
            remember_denial=own_id is not None,
        )
        self._metrics.reservation("reserve", outcome)
        return self._said(outcome, terms, request_id, status=201)

    async def grow(self, fields: Fields, request_id: str, name: str) -> Answer:
        terms = await self._charging.settling(fields)
        if isinstance(terms, Refusal):
            return self._no(terms, request_id)
        lines = lines_of(fields.required_object("lines").take_all(), terms.meters)
        fields.end()
        outcome = await self._ledger.grow(terms, reservation_id(name), lines)
        self._metrics.reservation("grow", outcome)
        return self._said(outcome, terms, request_id, status=200)

    async def extend(self, fields: Fields, request_id: str, name: str) -> Answer:
        terms = await self._charging.settling(fields)
        if isinstance(terms, Refusal):
            return self._no(terms, request_id)
        lease_s = fields.whole("lease_s", LEASE_S, least=1, most=LEASE_MAX_S)
        fields.end()
        account = terms.account
        gone = await self._ledger.extend(account, (reservation_id(name),), lease_s * 1_000)
        if gone:
            detail = f"reservation {name} is not open: it has ended, or never was"
            return self._no(Refusal(RESERVATION_SETTLED, detail), request_id)
        page: ExtendedPage = {"id": name, "state": "open", "lease_s": lease_s}
        return _page(200, page, request_id)

    async def commit(self, fields: Fields, request_id: str, name: str) -> Answer:
        terms = await self._charging.settling(fields)
        if isinstance(terms, Refusal):
            return self._no(terms, request_id)
        actual = amounts_of(fields.required_object("actual").take_all(), terms.meters)
        asset = fields.text("asset", length_max=ASSET_MAX)
        fields.end()
        outcome = await self._ledger.commit(
            terms, reservation_id(name), actual, asset=asset or None
        )
        return self._settled(outcome, NONE, request_id)

    async def release(self, fields: Fields, request_id: str, name: str) -> Answer:
        terms = await self._charging.settling(fields)
        if isinstance(terms, Refusal):
            return self._no(terms, request_id)
        reason = fields.text("reason", "") or "released"
        fields.end()
        account = terms.account
        outcome = await self._ledger.release(account, reservation_id(name), reason=reason)
        return self._settled(outcome, reason, request_id)

    # -- requests --------------------------------------------------------------------------------

    def _on_body(
        self, verb: Callable[[Fields, str, str], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            fields = Fields.of(await body_of(request, self._body_timeout_s))
            fields.default("account", one(request, "account"))
            name = request.match_info.get("id", "")
            return response_of(await verb(fields, request[REQUEST_ID], name))

        return handle

    async def _quota(self, request: web.Request) -> web.Response:
        terms = await self._charging.settling(_of_path(request))
        if isinstance(terms, Refusal):
            return response_of(self._no(terms, request[REQUEST_ID]))
        snapshot = await self._ledger.snapshot(terms)
        return response_of(NATIVE.usage(snapshot, request[REQUEST_ID]))

    async def _remove(self, request: web.Request) -> web.Response:
        terms = await self._charging.settling(_of_path(request))
        if isinstance(terms, Refusal):
            return response_of(self._no(terms, request[REQUEST_ID]))
        asset = request.match_info["asset"]
        removed = await self._ledger.remove(terms, asset)
        page: RemovedPage = {
            "asset": asset,
            "deltas": {} if removed is None else dict(removed.deltas),
        }
        return response_of(_page(200, page, request[REQUEST_ID]))

    # -- answers ---------------------------------------------------------------------------------

    def _said(
        self,
        outcome: Granted | Denied | RateLimited | Refused,
        terms: Terms,
        request_id: str,
        *,
        status: int,
    ) -> Answer:
        match outcome:
            case Granted():
                self._note(terms.account)
                page = _granted(outcome, terms)
                headers = {
                    **NATIVE.standing(outcome.quotas, outcome.rate, self._clock.now_ms()),
                    "X-Quota-Id": outcome.id,
                    "X-Quota-Account": terms.account,
                    "X-Quota-Key-Id": terms.key_id or "",
                }
                return _page(status, page, request_id, headers)
            case Denied():
                self._metrics.denied(NONE, outcome.quota)
                return NATIVE.denial(outcome, request_id, self._clock.now_ms())
            case RateLimited():
                return NATIVE.rate_limited(outcome, request_id, self._clock.now_ms())
            case Refused():
                return self._no(Refusal(outcome.error, outcome.detail), request_id)

    def _settled(self, outcome: Settled | Refused, reason: str, request_id: str) -> Answer:
        if isinstance(outcome, Refused):
            self._metrics.settlement_refused(outcome)
            return self._no(Refusal(outcome.error, outcome.detail), request_id)
        self._metrics.settled(outcome, reason)
        page: SettledPage = {
            "id": outcome.id,
            "state": outcome.state.name.lower(),
            "late": outcome.late,
            "overage": dict(outcome.overage or {}),
            "quotas": [quota_view(quota) for quota in outcome.quotas],
            "replayed": outcome.replayed,
        }
        return _page(200, page, request_id)

    def _no(self, refusal: Refusal, request_id: str) -> Answer:
        self._metrics.refused(refusal.error)
        return NATIVE.refusal(refusal, request_id)


def _granted(granted: Granted, terms: Terms) -> GrantedPage:
    rate = granted.rate
    return {
        "id": granted.id,
        "state": granted.state.name.lower(),
        "amounts": dict(granted.amounts),
        "quotas": [quota_view(quota) for quota in granted.quotas],
        "rate": None if rate is None else _rate(rate),
        "replayed": granted.replayed,
        "account": terms.account,
        "key_id": terms.key_id,
    }


def _rate(rate: RateState) -> Rate:
    return {"remaining": rate.remaining, "reset_after_ms": rate.reset_after_ms}


def _page(
    status: int,
    page: Mapping[str, object],
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    fields = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
    }
    return Answer(status, orjson.dumps(page), fields | dict(headers or {}))


async def body_of(request: web.Request, timeout_s: float) -> bytes:
    if request.content_type != "application/json" and request.can_read_body:
        raise UnfitError("send the body as application/json")
    if "Content-Encoding" in request.headers:
        raise UnfitError("send the body without a Content-Encoding")
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise UnfitError("the body took too long to arrive") from None


def _of_path(request: web.Request) -> Fields:
    values = {"account": request.match_info["account"], "key_id": one(request, "key_id")}
    return Fields({name: value for name, value in values.items() if value is not None})


def one(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise UnfitError(f"{name} is given twice")
    return values[0] if values else None
