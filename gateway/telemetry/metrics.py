"""Metrics: the one class that fills the series of `names`."""

import platform
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from gateway.errors import Error, StoreError
from gateway.ledger.outcomes import Denied, Expired, Granted, RateLimited, Refused, Settled
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State
from gateway.telemetry.instruments import Count, Family, Level, Name, Spread
from gateway.telemetry.joining import Exposition, Tally, exposition, tally
from gateway.telemetry.names import (
    ANSWER_BYTES,
    ASKED,
    BLOCK_SHARES,
    BODY_BYTES,
    BUILD,
    CALLED,
    CODES,
    CONNECTIONS,
    DENIALS,
    DOUBT_OUTCOMES,
    DOUBTS,
    DOUBTS_RESOLVED,
    DRIFT,
    EVENTS,
    EXPIRED,
    FAIL_OPEN_BYTES,
    IN_FLIGHT,
    JOB_END_WORDS,
    JOB_ENDS,
    JOB_POLLS,
    JOBS_UNNAMED,
    LEARNED,
    LEDGER_FAILURES,
    LEDGER_SECONDS,
    LOOP_LAG,
    NONE,
    OPEN_LEASES,
    OTHER,
    OUTCOMES,
    OVERAGE,
    PENDING,
    PREFIX,
    REASONS,
    REFUSALS,
    RELOADS,
    REQUEST_SECONDS,
    REQUESTS,
    RESERVATIONS,
    SCOPES,
    SETTLEMENT_REFUSALS,
    SETTLEMENTS,
    SIZE_MISMATCHES,
    STATES,
    STORE_ERRORS,
    STORE_UP,
    UPSTREAM_FAILURES,
    VERBS,
    WEBHOOKS,
    WORKER_RESTARTS,
    WORKERS,
)
from gateway.telemetry.plain import Plain


class Metrics:
    """Typed doors to all series. Attributes are single series; methods pick one by its labels."""

    def __init__(  # noqa: PLR0915 - a line for each family
        self, registry: CollectorRegistry, *, version: str = "unknown"
    ) -> None:
        self._registry = registry
        self._known: dict[str, frozenset[str]] = {
            "route": frozenset({NONE}),
            "meter": frozenset(),
            "plan": frozenset(),
            "upstream": frozenset(),
            "rule": frozenset(),
        }

        def counts(name: Name) -> Family[Count]:
            return Family(_prefixed(name), Count, registry)

        def levels(name: Name) -> Family[Level]:
            return Family(_prefixed(name), Level, registry)

        def spreads(name: Name) -> Family[Spread]:
            return Family(_prefixed(name), lambda: Spread(name.buckets), registry)

        self._requests = counts(REQUESTS)
        self._request_seconds = spreads(REQUEST_SECONDS)
        self._body_bytes = counts(BODY_BYTES)
        self._answer_bytes = counts(ANSWER_BYTES)
        self.in_flight = levels(IN_FLIGHT).of()
        self._refusals = counts(REFUSALS)
        self._reservations = counts(RESERVATIONS)
        self._denials = counts(DENIALS)
        self._settlements = counts(SETTLEMENTS)
        self._settlement_refusals = counts(SETTLEMENT_REFUSALS)
        self._overage = counts(OVERAGE)
        self._expired = counts(EXPIRED).of()
        self.open_leases = levels(OPEN_LEASES).of()
        self.block_shares = counts(BLOCK_SHARES).of()
        self.pending_settlements = levels(PENDING).of()
        self._fail_open_bytes = counts(FAIL_OPEN_BYTES)
        self._doubts = counts(DOUBTS)
        self._doubts_resolved = counts(DOUBTS_RESOLVED)
        self._size_mismatches = counts(SIZE_MISMATCHES)
        self._job_ends = counts(JOB_ENDS)
        self._jobs_unnamed = counts(JOBS_UNNAMED)
        self._job_polls = counts(JOB_POLLS)
        self._webhooks = counts(WEBHOOKS)
        self._events = counts(EVENTS)
        self._ledger_seconds = spreads(LEDGER_SECONDS)
        self._ledger_failures = counts(LEDGER_FAILURES)
        self._store_errors = counts(STORE_ERRORS)
        self.store_up = levels(STORE_UP).of()
        self.store_up.set(1)  # Nothing is served before the store was reached.
        self.audit_drift = levels(DRIFT).of()
        self._connections = levels(CONNECTIONS)
        self._upstream_failures = counts(UPSTREAM_FAILURES)
        self.loop_lag = spreads(LOOP_LAG).of()
        self._reloads = counts(RELOADS)
        self.workers, self.worker_restarts = levels(WORKERS).of(), counts(WORKER_RESTARTS).of()
        levels(BUILD).of(version, platform.python_version()).set(1)
        ProcessCollector(registry=registry)

    def know(self, label: str, values: Iterable[str]) -> None:
        """Values of `route`, `meter`, `plan`, `upstream` or `rule` that may become label values.

        What was known stays known: series do not vanish when a reload renames a route.
        """
        self._known[label] |= frozenset(values)

    # -- the data path ----------------------------------------------------------------------------

    def request(self, route: str, outcome: str, status: int, seconds: float) -> None:
        """One request has ended. `status` 0: the client was sent none."""
        route = self._one("route", route)
        outcome = outcome if outcome in OUTCOMES else OTHER
        self._requests.of(route, outcome, _status_class(status)).value += 1
        self._request_seconds.of(route).observe(seconds)

    def plain(self, route: str) -> Plain:
        """Where requests are counted that go as they should; keep it, it does not change."""
        route = self._one("route", route)
        return Plain(
            self._reservations.of("reserve", "granted"),
            self._settlements.of(STATES[State.COMMITTED], "answered", "false"),
            {n: self._requests.of(route, "relayed", _status_class(n * 100)) for n in range(2, 6)},
            self._request_seconds.of(route),
            self._body_bytes.of(route),
            self._answer_bytes.of(route),
        )

    def moved(self, route: str, body_bytes: int, answer_bytes: int) -> None:
        route = self._one("route", route)
        self._body_bytes.of(route).value += body_bytes
        self._answer_bytes.of(route).value += answer_bytes

    def refused(self, error: Error) -> None:
        self._refusals.of(_code(error)).value += 1

    # -- reservations -----------------------------------------------------------------------------

    def reservation(
        self, verb: str, outcome: Granted | Denied | RateLimited | Refused | StoreError
    ) -> None:
        """The ledger's answer to `reserve` or `grow`."""
        verb = verb if verb in VERBS else OTHER
        self._reservations.of(verb, _RESERVATION_OUTCOMES.get(type(outcome), OTHER)).value += 1

    def denied(self, route: str, quota: Quota) -> None:
        scope = SCOPES.get(quota.scope[:1], OTHER)
        meter = self._one("meter", quota.meter.name)
        self._denials.of(self._one("route", route), meter, scope).value += 1

    def settled(self, settled: Settled, reason: str = NONE) -> None:
        reason = reason if reason in REASONS or reason == NONE else OTHER
        late = "true" if settled.late else "false"
        self._settlements.of(STATES[settled.state], reason, late).value += 1
        for meter in settled.overage or ():
            self._overage.of(self._one("meter", meter)).value += 1

    def settlement_refused(self, refused: Refused) -> None:
        self._settlement_refusals.of(_code(refused.error)).value += 1

    def expired(self, expired: Expired) -> None:
        self._expired.value += expired.count

    def let_through(self, plan: str, amount: int) -> None:
        """`amount` bytes passed without a reservation while the store was away."""
        self._fail_open_bytes.of(self._one("plan", plan)).value += amount

    def doubted(self, route: str) -> None:
        self._doubts.of(self._one("route", route)).value += 1

    def doubt_resolved(self, outcome: str) -> None:
        self._doubts_resolved.of(outcome if outcome in DOUBT_OUTCOMES else OTHER).value += 1

    def size_mismatch(self, route: str) -> None:
        self._size_mismatches.of(self._one("route", route)).value += 1

    # -- jobs -------------------------------------------------------------------------------------

    def job_ended(self, rule: str, end: str, by: str) -> None:
        """A job of this rule has ended; `end` and `by` are words of ours."""
        end = end if end in JOB_END_WORDS else OTHER
        self._job_ends.of(self._one("rule", rule), end, by if by in LEARNED else OTHER).value += 1

    def job_unnamed(self, rule: str) -> None:
        self._jobs_unnamed.of(self._one("rule", rule)).value += 1

    def job_asked(self, rule: str, result: str) -> None:
        result = result if result in ASKED else OTHER
        self._job_polls.of(self._one("rule", rule), result).value += 1

    def webhook_called(self, rule: str, result: str) -> None:
        result = result if result in CALLED else OTHER
        self._webhooks.of(self._one("rule", rule), result).value += 1

    def event_delivered(self, result: str) -> None:
        self._events.of(result).value += 1

    def events_dropped(self, count: int) -> None:
        self._events.of("dropped").value += count

    # -- the store, upstreams and the process -----------------------------------------------------

    def ledger_seconds(self, verb: str) -> Spread:
        """How long its calls took; keep it, it does not change."""
        return self._ledger_seconds.of(verb if verb in VERBS else OTHER)

    def ledger_failed(self, verb: str, error: Error, calls: int = 1) -> None:
        self._ledger_failures.of(verb if verb in VERBS else OTHER, _code(error)).value += calls

    def store_error(self, error: Error) -> None:
        """A request could not be served because of the store."""
        self._store_errors.of(_code(error)).value += 1

    def connections(self, upstream: str, state: str) -> Level:
        """The level of `busy` or `idle` connections to an upstream; keep it, it does not change."""
        state = state if state in ("busy", "idle") else OTHER
        return self._connections.of(self._one("upstream", upstream), state)

    def upstream_failed(self, upstream: str, error: Error) -> None:
        self._upstream_failures.of(self._one("upstream", upstream), _code(error)).value += 1

    def reloaded(self, *, accepted: bool) -> None:
        self._reloads.of("accepted" if accepted else "refused").value += 1

    def exposition(self) -> Exposition:
        """What a scrape of this process alone is answered with."""
        return exposition(self._registry)

    def tally(self) -> Tally:
        """All series as they are now, to be joined with those of other workers."""
        return tally(self._registry)

    def _one(self, label: str, value: str) -> str:
        return value if value in self._known[label] else OTHER


_RESERVATION_OUTCOMES: dict[type, str] = {
    Granted: "granted",
    Denied: "denied",
    RateLimited: "rate_limited",
    Refused: "refused",
    StoreError: "failed",
}


def _prefixed(name: Name) -> Name:
    return Name(PREFIX + name.name, name.help, name.labels, name.buckets)


def _code(error: Error) -> str:
    return error.code if error.code in CODES else OTHER


def _status_class(status: int) -> str:
    if 100 <= status < 600:
        return ("1xx", "2xx", "3xx", "4xx", "5xx")[status // 100 - 1]
    return NONE
