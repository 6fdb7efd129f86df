"""Handler: one request from its arrival to the end of its answer, with its log line and metrics.

Every way a request can end comes together here and nowhere else: as an outcome of the gate, or as
an exception of the way through. What the client is told about it, if anything can still be said,
is the dialect's business.
"""

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway import errors
from gateway.admission.head import Head, HeadLimits, judge
from gateway.admission.pages import ACCOUNT, Found
from gateway.catalog.routes import Protocol
from gateway.clock import StoreClock, monotonic_s
from gateway.dialects.protocol import Answer
from gateway.errors import (
    OTHER_ACCOUNT,
    ClientGoneError,
    Error,
    GatewayError,
    Refusal,
    StoreError,
    UpstreamError,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Denied, Granted
from gateway.proxy import wire
from gateway.proxy.call import Call, Server
from gateway.proxy.connection import CLOSE, KEEP, Arrival, Connection
from gateway.proxy.endings import (
    AnsweredError,
    CutError,
    DeniedError,
    RateLimitedError,
    RefusedError,
)
from gateway.proxy.exchange import CLIENT_GONE, SAFE, Exchange
from gateway.proxy.gate import Gate, unavailable
from gateway.proxy.idempotency import Names
from gateway.proxy.live import Live
from gateway.proxy.senders import Senders
from gateway.proxy.watchdog import Watchdog
from gateway.records.identities import Identity
from gateway.tasks import StoppedError
from gateway.telemetry.access import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_ids import CURRENT, RequestIds

log = logging.getLogger(__name__)

UsagePages = Callable[[Found, Head, Identity, Terms, str], Awaitable[Answer]]
"""Answers a usage page for an account; raises StoreError."""

Work = Callable[[Arrival, Exchange, Head], Awaitable[bool]]
"""Answers a request; says whether the connection can stay."""

USAGE = "usage"
"""What logs and metrics call the usage pages where a route is asked for."""


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    head: HeadLimits
    lease_ms: int


class Handler:
    """Serves the public listener. `live` is the configuration in force; a reload replaces it."""

    def __init__(  # noqa: PLR0913  # the one place where everything a request needs comes together
        self,
        settings: HandlerSettings,
        live: Live,
        *,
        gate: Gate,
        protocols: Mapping[Protocol, Server],
        names: Names,
        clock: StoreClock,
        usage: UsagePages,
        senders: Senders,
        watchdog: Watchdog,
        metrics: Metrics,
        access: AccessLog,
    ) -> None:
        self.live = live
        self.draining = False
        self._settings = settings
        self._gate = gate
        self._protocols = protocols
        self._names = names
        self._clock = clock
        self._usage = usage
        self._senders = senders
        self._watchdog = watchdog
        self._metrics = metrics
        self._access = access
        self.returned: Callable[[Connection], Exchange | None] = _nothing_returned
        """What is known of a request that comes from the fast path."""
        self.request_ids = RequestIds()
        self._gateway_id = secrets.token_hex(6).encode()
        self._sequence = itertools.count(1)

    async def __call__(self, arrival: Arrival) -> web.StreamResponse:
        exchange = self.returned(arrival.connection)
        if exchange is None:
            peer = self._senders.address(arrival)
            exchange = Exchange(peer, monotonic_s(), self._settings.lease_ms)
            exchange.reservation_id = self.next_id().decode()
            exchange.dialect = self.live.dialects.default
            self._watchdog.enter(exchange)
        try:
            head = self._judged(arrival, exchange)
            if isinstance(head, Refusal):
                keep = self._say(arrival, exchange, None, self._refusal(exchange, head))
            else:
                keep = await self._guarded(arrival, exchange, head, self._answer)
        finally:
            self.over(exchange)
        if keep and not self.draining:
            return KEEP
        return CLOSE

    def next_id(self) -> bytes:
        """The id of a reservation."""
        return b"%b-%x" % (self._gateway_id, next(self._sequence))

    def over(self, exchange: Exchange) -> None:
        """A request has ended."""
        if isinstance(exchange.tried, Granted):
            # It was reserved, and then refused for another reason.
            self._gate.abandon(exchange)
        self._watchdog.leave(exchange)
        self._report(exchange)

    async def carry_on(
        self,
        arrival: Arrival,
        exchange: Exchange,
        head: Head,
        work: Work,
    ) -> bool:
        """The rest of a request that others have begun; say whether the connection can stay."""
        CURRENT.set(exchange.request_id)
        try:
            keep = await self._guarded(arrival, exchange, head, work)
        finally:
            self.over(exchange)
        return keep and not self.draining

    def _judged(self, arrival: Arrival, exchange: Exchange) -> Head | Refusal:
        """From now on it has a name."""
        head = judge(
            arrival.method,
            arrival.raw_target,
            (arrival.version.major, arrival.version.minor),
            arrival.raw_headers,
            self._settings.head,
        )
        inbound = None if isinstance(head, Refusal) else head.get(b"x-request-id")
        exchange.request_id = exchange.request_id or self.request_ids.of(inbound)
        exchange.method, exchange.target = arrival.method, arrival.raw_target
        CURRENT.set(exchange.request_id)
        return head

    async def _guarded(
        self,
        arrival: Arrival,
        exchange: Exchange,
        head: Head,
        work: Work,
    ) -> bool:
        """Say whether the connection can stay."""
        try:
            with exchange.stop:
                return await work(arrival, exchange, head)
        except ClientGoneError as failure:
            exchange.outcome = "client-gone"
            await self._tell(exchange, failure, None)
            return False
        except Exception as failure:  # every way to fail ends in an answer or a broken connection
            answer = self._ending(exchange, failure)
            await self._tell(exchange, failure, answer)
            return answer is not None and self._end(arrival, exchange, head, answer)

    async def _tell(self, exchange: Exchange, failure: Exception, answer: Answer | None) -> None:
        """How a named request ended."""
        if exchange.named is not None:
            await self._names.ended(exchange.named, failure, answer)

    async def _answer(self, arrival: Arrival, exchange: Exchange, head: Head) -> bool:
        if arrival.client_gone:
            raise ClientGoneError  # aiohttp has told before this began, and will not again
        if head.method in SAFE:
            arrival.on_client_gone = lambda: exchange.stop.stop(CLIENT_GONE)
        if self.draining:
            raise RefusedError(_draining())
        live = self.live
        found = live.pages.find(head.path)
        if found is not None:
            return await self._usage_page(arrival, exchange, head, found)
        entered = await self._gate.enter(head, exchange, live)
        if isinstance(entered, Refusal):
            raise RefusedError(entered)
        call = Call(arrival, exchange, entered, live, self._senders.of(arrival.connection))
        server = self._protocols[entered.match.route.protocol]
        keep = await self._names.serve(call, server)
        exchange.outcome = "relayed"
        return keep

    async def _usage_page(
        self, arrival: Arrival, exchange: Exchange, head: Head, found: Found
    ) -> bool:
        exchange.route = USAGE
        exchange.outcome = "usage"
        exchange.dialect = self.live.dialects.by_name[found.page.dialect]
        try:
            answer = await self._told(exchange, head, found)
        except StoreError as failure:
            self._metrics.store_error(failure.error)
            answer = unavailable(failure.error)
        if isinstance(answer, Refusal):
            answer = exchange.dialect.refusal(answer, exchange.request_id)
        return self._say(arrival, exchange, head, answer)

    async def _told(self, exchange: Exchange, head: Head, found: Found) -> Answer | Refusal:
        """Raises StoreError."""
        if not found.page.auth:
            return self.live.openapi(head.method, exchange.request_id)
        identity = await self._gate.identify(head, found.page.auth, exchange.peer)
        if isinstance(identity, Refusal):
            return identity
        exchange.account, exchange.plan = identity.account.id, identity.account.plan
        asked = found.params.get(ACCOUNT)
        if asked is not None and not identity.account.answers_to(asked):
            # The same answer for another's account as for none: no hint that it exists.
            return Refusal(OTHER_ACCOUNT, OTHER_ACCOUNT.title)
        terms = self.live.terms_of(identity, None)
        if terms is None:
            return Refusal(errors.INTERNAL, "the account's plan is not configured")
        return await self._usage(found, head, identity, terms, exchange.request_id)

    # -- what the client is told ------------------------------------------------------------------

    def _ending(self, exchange: Exchange, failure: Exception) -> Answer | None:
        """The answer to a request that ended by an exception; None: nobody is there to hear it."""
        match failure:
            case StoppedError(reason=Error() as error):
                return self._refusal(exchange, Refusal(error, error.title))
            case StoppedError():
                exchange.outcome = "client-gone"
                return None
            case CutError():
                exchange.outcome = "overrun"
                return self._refusal(exchange, failure.refusal)
            case AnsweredError():
                exchange.outcome = "replayed"
                return failure.answer
            case RefusedError():
                return self._refusal(exchange, failure.refusal)
            case DeniedError():
                return self._denial(exchange, failure.denied)
            case RateLimitedError():
                exchange.outcome = "rate-limited"
                return exchange.dialect.rate_limited(
                    failure.limited, exchange.request_id, self._clock.now_ms()
                )
            case GatewayError():
                return self._refusal(exchange, self._failure(exchange, failure))
            case _:
                log.error("a request failed", exc_info=failure)
                self._metrics.refused(errors.INTERNAL)
                refusal = Refusal(errors.INTERNAL, errors.INTERNAL.title)
                return exchange.dialect.refusal(refusal, exchange.request_id)

    def _refusal(self, exchange: Exchange, refusal: Refusal) -> Answer:
        if exchange.outcome == "internal":
            exchange.outcome = "refused"
        exchange.detail = exchange.detail or refusal.detail
        self._metrics.refused(refusal.error)
        return exchange.dialect.refusal(refusal, exchange.request_id)

    def _denial(self, exchange: Exchange, denied: Denied) -> Answer:
        exchange.outcome = "denied"
        exchange.detail = str(denied.quota)
        self._metrics.denied(exchange.route, denied.quota)
        return exchange.dialect.denial(denied, exchange.request_id, self._clock.now_ms())

    def _failure(self, exchange: Exchange, failure: GatewayError) -> Refusal:
        """What is said of a failure; the whole of it is for the log only."""
        exchange.detail = str(failure)
        match failure:
            case UpstreamError():
                exchange.outcome = "upstream-failed"
                self._metrics.upstream_failed(exchange.upstream, failure.error)
            case StoreError():
                exchange.outcome = "store-failed"
                self._metrics.store_error(failure.error)
                return unavailable(failure.error)
            case _:
                exchange.outcome = "refused"
        return Refusal(failure.error, failure.error.title)

    def _end(self, arrival: Arrival, exchange: Exchange, head: Head, answer: Answer) -> bool:
        """Answer after a failure, if no answer has begun; else break off, so that the client
        cannot take what it has for the whole."""
        if exchange.answering:
            arrival.connection.break_off()
            return False
        return self._say(arrival, exchange, head, answer)

    def _say(self, arrival: Arrival, exchange: Exchange, head: Head | None, answer: Answer) -> bool:
        """Write an answer of our own. The connection stays only if the whole request was read:
        whatever else comes on it would have two readings."""
        keep = head is not None and not arrival.should_close and arrival.content.is_eof()
        exchange.status = answer.status
        exchange.answering = True
        data = wire.own_answer(
            answer.status,
            answer.headers,
            answer.body,
            keep_alive=keep and not self.draining,
            head_only=arrival.method == "HEAD",
            client_version=(1, 1) if head is None else head.version,
        )
        try:
            arrival.write(data)
        except ClientGoneError:
            exchange.outcome = "client-gone"
            return False
        return keep

    def _report(self, exchange: Exchange) -> None:
        seconds = monotonic_s() - exchange.started_s
        self._metrics.request(exchange.route, exchange.outcome, exchange.status, seconds)
        self._metrics.moved(exchange.route, exchange.body_bytes, exchange.answer_bytes)
        self._access.write(
            request_id=exchange.request_id,
            method=exchange.method,
            path=exchange.target,
            route=exchange.route,
            status=exchange.status,
            outcome=exchange.outcome,
            duration_ms=round(seconds * 1_000, 3),
            account=exchange.account,
            key=exchange.key_id,
            plan=exchange.plan,
            reservation=exchange.reservation_id,
            body_bytes=exchange.body_bytes,
            answer_bytes=exchange.answer_bytes,
            peer=exchange.peer,
            detail=exchange.detail,
        )


def _nothing_returned(connection: Connection) -> None:
    """Without a fast path nothing comes back from it."""


def _draining() -> Refusal:
    return Refusal(errors.DRAINING, errors.DRAINING.title, {"Retry-After": "5"})
