"""Gate: from the head of a request to a reservation, or to the outcome that ends it.

    judge → route → identify → terms → estimate → reserve

One direction; each step takes the last one's value, and the first `no` ends it. Nothing of the body
has been read and the upstream has heard nothing when this is over.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import errors
from gateway.admission.estimate import Estimate, estimate
from gateway.admission.head import Head
from gateway.admission.identify import credential, unauthenticated
from gateway.admission.routing import Match
from gateway.admission.throttle import FailureThrottle
from gateway.catalog.plans import Plan
from gateway.catalog.routes import AccountSource, CredentialKind, Route
from gateway.clock import monotonic_s
from gateway.errors import OTHER_ACCOUNT, Error, Refusal, StoreError
from gateway.ledger.arguments import Items
from gateway.ledger.blocks import BlockLedger
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Batch, Denied, Granted, Line, RateLimited, Refused
from gateway.proxy.allowance import Allowance
from gateway.proxy.exchange import Exchange
from gateway.proxy.live import Live
from gateway.proxy.settler import Settler
from gateway.records.assets import Owners
from gateway.records.identities import Identities, Identity
from gateway.telemetry.metrics import Metrics

RETRY_STORE_S = 1
NO_PLAN = Plan(name="none")
"""How long the record of a reservation outlives its end, for repeats of its settlement."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A request of a known caller on a known route. `terms` None: the route charges nobody."""

    head: Head
    match: Match
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class Lasting:
    """A reservation that is to outlive its request: what it sets aside, and how long its record is
    kept after its end. It is never let through unreserved."""

    sized: Estimate
    keep_ms: int = 86_400_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on. `granted` None: nothing is reserved, because nothing is to be, or
    because the plan is open while the store is away (`unreserved`: then what passes is charged
    afterwards)."""

    head: Head
    match: Match
    terms: Terms | None
    estimate: Estimate
    granted: Granted | None = None
    unreserved: bool = False


class Gate:
    def __init__(
        self,
        ledger: BlockLedger,
        settler: Settler,
        identities: Identities,
        owners: Owners,
        metrics: Metrics,
        store_error: Callable[[], Error | None],
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._identities = identities
        self._owners = owners
        self._metrics = metrics
        self._store_error = store_error
        self._throttle = FailureThrottle()
        self._allowance = Allowance()
        self.answered = self._allowance.restore
        """The store has answered for an account, others than this gate."""

    async def enter(self, head: Head, exchange: Exchange, live: Live) -> Entered | Refusal:
        """Which route a request takes, and whom it is charged to."""
        match = live.router.match(head)
        if isinstance(match, Refusal):
            return match
        route = match.route
        exchange.route, exchange.upstream = route.name, route.upstream
        exchange.dialect = live.dialects.of(route)
        exchange.limit_times(route)
        if route.account is AccountSource.NONE:
            return Entered(head, match, None)
        terms = await self._terms(head, match, exchange, live)
        return terms if isinstance(terms, Refusal) else Entered(head, match, terms)

    async def admit(
        self, entered: Entered, exchange: Exchange, lasting: Lasting | None = None
    ) -> Admitted | Refusal | Denied | RateLimited:
        """Reserve what one request and its answer may use, or else what is `lasting`."""
        head, match, terms = entered.head, entered.match, entered.terms
        plan = NO_PLAN if terms is None else terms.plan
        sized = estimate(head, match.route, plan) if lasting is None else lasting.sized
        if isinstance(sized, Refusal):
            return sized
        if terms is None or not (sized.lines or plan.rate):
            return Admitted(head, match, terms, sized)
        return await self._reserve(entered, terms, sized, exchange, lasting)

    async def admit_many(
        self, entered: Entered, exchange: Exchange, items: Items, *, keep_ms: int, partial: bool
    ) -> Batch | Refusal | Denied | RateLimited:
        """Reserve for each of many at once, which all outlive their request."""
        terms = entered.terms
        assert terms is not None, "what outlives a request is charged to somebody"
        lost = self._store_error()
        if lost is not None:
            return unavailable(lost)
        try:
            outcome = await self._ledger.reserve_many(
                terms,
                items,
                lease_ms=exchange.lease_ms,
                rate=terms.plan.rate,
                note=entered.match.route.name,
                keep_ms=keep_ms,
                partial=partial,
            )
        except BaseException as failure:
            # Also when cancelled: the store may have carried it out, and nobody would know.
            if not isinstance(failure, StoreError) or failure.indeterminate:
                for name, _ in items:
                    self._settler.abandon(terms.account, name)
            if not isinstance(failure, StoreError):
                raise
            self._metrics.store_error(failure.error)
            return unavailable(failure.error)
        return self._many(outcome)

    def _many(
        self, outcome: Batch | RateLimited | Refused
    ) -> Batch | Refusal | Denied | RateLimited:
        match outcome:
            case Refused():
                return Refusal(outcome.error, outcome.detail)
            case Batch(granted=(), denied=Denied() as denied):
                self._metrics.reservation("reserve_many", denied)
                return denied
            case Batch(granted=granted):
                for one in granted:
                    self._metrics.reservation("reserve_many", one)
            case RateLimited():
                self._metrics.reservation("reserve_many", outcome)
        return outcome

    async def identify(
        self, head: Head, auth: Sequence[CredentialKind], peer: str
    ) -> Identity | Refusal:
        """Who asks. Failures are slowed down per client address (failure row 64)."""
        given = credential(head, auth)
        if isinstance(given, Refusal):
            return given
        wait_s = self._throttle.wait_s(peer, monotonic_s())
        if wait_s > 0:
            return Refusal(
                errors.RATE_LIMITED,
                "too many failed attempts to authenticate",
                {"Retry-After": str(int(wait_s) + 1)},
            )
        identity = await self._identities.find(given.kind, given.secret)
        if identity is None:
            if (lost := self._store_error()) is not None:
                # With its books the store has lost its keys: that is no fault of the caller.
                return unavailable(lost)
            self._throttle.failed(peer, monotonic_s())
            return unauthenticated(auth, "the API key is not valid")
        return identity

    def at_hand(self, name: str, peer: str) -> Identity | None:
        """Who that is, where nobody has to be asked and nothing stands in the way."""
        if self._store_error() is not None or self._throttle.wait_s(peer, monotonic_s()) > 0:
            return None
        return self._identities.at_hand(name)

    def abandon(self, exchange: Exchange) -> None:
        """What was reserved for a request that ends before it is admitted."""
        exchange.tried = None
        self._settler.abandon(exchange.account, exchange.reservation_id)

    async def _terms(
        self, head: Head, match: Match, exchange: Exchange, live: Live
    ) -> Terms | Refusal:
        try:
            identity = await self._charged(head, match, exchange)
        except StoreError as failure:
            self._metrics.store_error(failure.error)
            return unavailable(failure.error)
        if isinstance(identity, Refusal):
            return identity
        account = identity.account
        exchange.account = account.id
        exchange.plan = account.plan
        exchange.key_id = "" if identity.key is None else identity.key.id
        if account.suspended:
            return Refusal(errors.ACCOUNT_SUSPENDED, "the account is suspended")
        terms = live.terms_of(identity, match.subject)
        if terms is None:
            return Refusal(errors.INTERNAL, "the account's plan is not configured")
        return terms

    async def _charged(self, head: Head, match: Match, exchange: Exchange) -> Identity | Refusal:
        """The identity the request is charged to, by the route's rule."""
        route = match.route
        caller: Identity | None = None
        if route.auth:
            identity = await self.identify(head, route.auth, exchange.peer)
            if isinstance(identity, Refusal):
                return identity
            caller = identity
        if route.account is AccountSource.KEY:
            assert caller is not None, "a route that charges the key's account asks for a key"
            return caller
        if route.account is AccountSource.PATH:
            owner: str | None = match.params["account"]
        else:
            assert match.asset is not None
            owner = await self._owners.find(match.asset)
        if caller is not None:
            # The same answer for another's account as for none: no hint that it exists.
            return caller if owner and caller.account.answers_to(owner) else _not_theirs(route)
        account = None if owner is None else await self._identities.account(owner)
        if account is not None:
            return Identity(account, None)
        lost = self._store_error()
        return _nothing_here() if lost is None else unavailable(lost)

    async def _reserve(
        self,
        entered: Entered,
        terms: Terms,
        sized: Estimate,
        exchange: Exchange,
        lasting: Lasting | None,
    ) -> Admitted | Refusal | Denied | RateLimited:
        lost = self._store_error()
        if lost is not None:
            return unavailable(lost)
        reservation_id = exchange.reservation_id
        tried, exchange.tried = exchange.tried, None
        try:
            if isinstance(tried, StoreError):
                raise tried
            outcome = tried or await self._ledger.reserve(
                terms,
                reservation_id,
                sized.lines,
                lease_ms=exchange.lease_ms,
                rate=terms.plan.rate,
                note=entered.match.route.name,
                keep_ms=exchange.keep_ms if lasting is None else lasting.keep_ms,
                plain=lasting is None
                and not (exchange.asked or sized.growing or entered.match.route.asset),
            )
        except StoreError as failure:
            if failure.indeterminate:
                self._settler.abandon(terms.account, reservation_id)
            self._metrics.store_error(failure.error)
            if lasting is not None:
                return unavailable(failure.error)
            return self._without_store(failure, entered, terms, sized)
        except asyncio.CancelledError:
            self._settler.abandon(terms.account, reservation_id)
            raise
        self._metrics.reservation("reserve", outcome)
        self._allowance.restore(terms.account)
        match outcome:
            case Granted():
                return Admitted(entered.head, entered.match, terms, sized, outcome)
            case Refused():
                return Refusal(outcome.error, outcome.detail)
            case _:
                return outcome

    def _without_store(
        self, failure: StoreError, entered: Entered, terms: Terms, sized: Estimate
    ) -> Admitted | Refusal:
        """Closed, unless the plan is open within a bound and the size is known."""
        most = _most_bytes(terms, sized.lines)
        known = not sized.growing
        if failure.transient and known and self._allowance.take(terms.account, terms.plan, most):
            self._metrics.let_through(terms.plan.name, most)
            return Admitted(entered.head, entered.match, terms, sized, unreserved=True)
        return unavailable(failure.error)


def unavailable(error: Error) -> Refusal:
    return Refusal(error, error.title, {"Retry-After": str(RETRY_STORE_S)})


def _nothing_here() -> Refusal:
    return Refusal(errors.NO_ROUTE, "nothing is served at this path")


def _not_theirs(route: Route) -> Refusal:
    if route.account is AccountSource.ASSET:
        return _nothing_here()
    return Refusal(OTHER_ACCOUNT, OTHER_ACCOUNT.title)


def _most_bytes(terms: Terms, lines: Sequence[Line]) -> int:
    amounts = (line.most for line in lines if terms.meters[line.meter].unit == "bytes")
    return max(amounts, default=0)
