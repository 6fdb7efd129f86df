"""Small: one request on the fast path, by callbacks, from its head to its answer.

    reserve ─▶ the whole body is here ─▶ upstream ─▶ commit ─▶ answer
       │ else           │ else              │ else      │ else
       └─ handed back ──┘                   └───────────┴─ carried on, in a Task of its own

It only does what the ordinary path would do next, by the same functions, as long as all goes well.
Else the request changes over to the ordinary path with all that is known of it: handed back before
anything was sent, carried on after. Each step is called by the reply it needs; a reply that comes
after the change finds the step over, and does nothing.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from gateway.admission import settle
from gateway.admission.estimate import Estimate, estimate
from gateway.admission.head import HeadLimits
from gateway.clock import monotonic_s
from gateway.dialects.ratelimit_headers import Fields
from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Granted
from gateway.ledger.prepared import Prepared, is_granted, is_settled
from gateway.proxy import wire
from gateway.proxy.answer import AnswerHead, Headers
from gateway.proxy.call import Books, Call
from gateway.proxy.exchange import Tried
from gateway.proxy.forward import Forwarder
from gateway.proxy.gate import Admitted, Entered, Gate
from gateway.proxy.handler import Handler
from gateway.proxy.lane import Errand, FastConnection
from gateway.proxy.senders import Senders
from gateway.proxy.shapes import Shape, Way, head_of
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.watchdog import Watchdog
from gateway.records.identities import Identity
from gateway.tasks import TaskSet
from gateway.telemetry.access import AccessLog

ANSWER_BYTES_MAX = 32 * 1024
"""Larger answers are relayed as the client takes them."""
HELD_BYTES_MAX = 64 * 1024
"""Of further requests that may wait here before reading from the client pauses."""
PATIENCE_S = 0.15
"""A reserve that failed sooner is worth another attempt."""

_RESERVING, _ASKING, _CHARGING, _OVER = range(4)


@dataclass(slots=True)
class Means:
    """What requests on the fast path are served with."""

    handler: Handler
    gate: Gate
    books: Books
    senders: Senders
    watchdog: Watchdog
    access: AccessLog
    limits: HeadLimits
    lease_ms: int
    tasks: TaskSet = field(default_factory=TaskSet)


class Charge:
    """How requests of one kind are charged to one account and API key, for an hour at most."""

    __slots__ = ("fields", "identity", "key_id", "logged", "prepared", "terms")

    def __init__(self, identity: Identity, terms: Terms, prepared: Prepared) -> None:
        self.identity = identity
        self.terms = terms
        self.key_id = "" if identity.key is None else identity.key.id
        self.prepared = prepared
        self.fields = Fields(prepared.counters, prepared.rate)
        self.logged = b""
        """The part of a line in the access log; for who writes it."""

    def holds(self, identity: Identity, subject: tuple[str, str] | None, now_ms: int) -> bool:
        """Whether this is how `identity` is charged now; it was made of the same."""
        same = self.identity is identity and self.terms.subject == subject
        return same and now_ms < self.prepared.until_ms


class Small(Errand):
    __slots__ = (
        "_begin",
        "_charge",
        "_connection",
        "_held",
        "_id",
        "_means",
        "_missing",
        "_raw",
        "_reply",
        "_shape",
        "_size",
        "_step",
        "_upstream",
        "_way",
    )  # fmt: skip

    def __init__(
        self,
        means: Means,
        connection: FastConnection,
        asked: tuple[Way, Shape, int],
        charge: Charge,
    ) -> None:
        way, shape, self._size = asked
        super().__init__(shape.peer, monotonic_s(), means.lease_ms)
        self._means, self._connection, self._way, self._shape = means, connection, way, shape
        self._charge = charge
        self._held: list[bytes] = []
        self._upstream: UpstreamConnection | None = None
        self._step = _RESERVING
        route = way.kind.route
        self.method, self.target = way.method, way.target
        self.route, self.upstream, self.dialect = route.name, route.upstream, way.kind.dialect
        self.account, self.plan = charge.terms.account, charge.terms.plan.name
        self.key_id = charge.key_id
        self.deadline_s = self.started_s + route.timeout_s
        handler = means.handler
        self.reservation_id = handler.next_id()
        self.request_id = handler.request_ids.of(shape.inbound_id)
        self.stop.diverted = self._stopped

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        """Reserve. The body begins at `begin`; the rest of it may still be on its way."""
        self._raw = [data]
        self._begin = begin
        self._missing = self._size - (len(data) - begin)
        self._id = self.reservation_id.encode()
        call = self._charge.prepared.reserve(self._id, self._size)
        self._means.books.ledger.begin_reserve(call, self._reserved)

    def more(self, data: bytes) -> None:
        missing = self._missing
        if missing:
            self._raw.append(data[:missing])
            self._missing = missing - len(self._raw[-1])
            data = data[missing:]
        if data:
            self._held.append(data)
            if sum(map(len, self._held)) > HELD_BYTES_MAX:
                self._connection.hold_reading()

    def _reserved(self, reply: Any) -> None:
        if self._step != _RESERVING:
            return
        self._reply = reply
        if not is_granted(reply) or self._missing:
            self._hand_back()
            return
        means = self._means
        self._way.kind.series.granted.value += 1
        means.gate.answered(self.account)
        means.books.heartbeat.add(self.account, self.reservation_id)
        self._ask()

    def _ask(self) -> None:
        """Send the whole request at once, on a connection that was used before."""
        self._step = _ASKING
        kind, shape = self._way.kind, self._shape
        upstream = self._upstream = kind.pool.take()
        if upstream is None:
            self._carry_on()
            return
        upstream.begin(self.method.encode())
        upstream.on_informational = self._inform
        after = shape.after % self._size if shape.sized else shape.after
        head = (self._way.forwarded, shape.before, self.request_id.encode(), after)
        upstream.send(b"".join((*head, *self._body())))
        upstream.end()
        self.body_bytes = self._size
        if upstream.congested:
            self._carry_on()
        else:
            upstream.tell(self._answered, kind.pool.upstream.answer_timeout_s)

    def _body(self) -> list[bytes | memoryview]:
        first = memoryview(self._raw[0])[self._begin :]
        return [first, *self._raw[1:]] if len(self._raw) > 1 else [first]

    def _answered(self) -> None:
        upstream = self._upstream
        if self._step != _ASKING or upstream is None:
            return
        reader, transport = upstream.whole, self._connection.transport
        answer = None if reader is None else reader.head
        if (
            answer is None
            or not settle.commits(self._way.kind.route, answer.status)
            or answer.length is None
            or answer.bodyless
            or answer.length > ANSWER_BYTES_MAX
            or self._means.books.settler.is_behind(self.account)
            or (transport is not None and transport.get_write_buffer_size())
        ):
            self._carry_on()
            return
        self._step = _CHARGING
        call = self._charge.prepared.commit(self._id, self._size, self._way.match.asset)
        self._means.books.ledger.begin_commit(call, self._charged)

    def _charged(self, reply: Any) -> None:
        if self._step != _CHARGING:
            return
        if not is_settled(reply):
            self._carry_on()
            return
        self._step = _OVER
        means, upstream, transport = self._means, self._upstream, self._connection.transport
        assert upstream is not None
        reader = upstream.whole
        if reader is None or reader.head is None:  # Something came behind its end.
            self._carry_on()
            return
        answer, body = reader.head, reader.take()
        upstream.release()
        books, charge, series = means.books, self._charge, self._way.kind.series
        books.heartbeat.discard(self.reservation_id)
        if reply[1:4] == _AS_HELD:
            series.settled.value += 1
        else:
            books.metrics.settled(charge.prepared.committed(self.reservation_id, reply), "answered")
        self.status = answer.status
        fields = charge.fields.lines(reply[4:], self._reply[3:6], books.clock.now_ms())
        if transport is None or transport.is_closing():
            self.outcome = "client-gone"
        else:
            transport.write(_answer(answer, fields, self.request_id.encode(), body))
            self.outcome = "relayed"
            self.answer_bytes = len(body)
        self._report()
        self._leave(keep=not means.handler.draining)

    def _report(self) -> None:
        means, way, charge = self._means, self._way, self._charge
        if self.outcome != "relayed" or not 200 <= self.status < 300:
            means.handler.over(self)
            return
        means.watchdog.leave(self)
        seconds = monotonic_s() - self.started_s
        way.kind.series.request(seconds, self.body_bytes, self.answer_bytes)
        access = means.access
        if not way.logged:
            way.logged = access.part({"method": self.method, "path": self.target,
                                      "route": self.route})  # fmt: skip
        if not charge.logged:
            charge.logged = access.part({"account": self.account, "key": self.key_id,
                                         "plan": self.plan})  # fmt: skip
        sizes = (self.body_bytes, self.answer_bytes)
        access.write_plain((way.logged, charge.logged, self.request_id.encode(), self.status,
                            seconds, self._id, sizes, self.peer.encode()))  # fmt: skip

    def _leave(self, *, keep: bool) -> None:
        self.stop.diverted = None
        self._connection.errand_over(self._held, keep=keep)

    def _inform(self, status: int, headers: Headers) -> None:
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(wire.informational(status, headers))

    # -- to the ordinary path ---------------------------------------------------------------------

    def _stopped(self, reason: object) -> None:
        """A limit, the drain or a revocation ends this request."""
        if self._step == _RESERVING:
            self._means.books.settler.abandon(self.account, self.reservation_id)
            self.stop.stop(reason)
            self._give_back()
        elif self._step != _OVER:
            self._carry_on()
            # Once it has begun to wait, as if it had always gone that way.
            asyncio.get_running_loop().call_soon(self.stop.stop, reason)

    def _hand_back(self) -> None:
        """Nothing was sent: the ordinary path begins anew, with what the store has said."""
        reply = self._reply
        tried: Tried | None
        if isinstance(reply, StoreError):
            soon = reply.transient and monotonic_s() - self.started_s < PATIENCE_S
            tried = None if soon else reply
        else:
            tried = self._charge.prepared.reserved(self.reservation_id, self._size, reply)
        self.tried = tried
        self._give_back()

    def _give_back(self) -> None:
        self._step = _OVER
        self.stop.diverted = None
        if self._connection.transport is not None:
            self._connection.hand_back(self, b"".join((*self._raw, *self._held)))
        else:
            self.bury()

    def bury(self) -> None:
        tried, self.tried = self.tried, None
        books = self._means.books
        if isinstance(tried, Granted):
            self._means.tasks.start(
                books.settler.release(self.account, self.reservation_id, reason="client-gone"),
                name=f"release {self.reservation_id}",
            )
        elif tried is None or (isinstance(tried, StoreError) and tried.indeterminate):
            books.settler.abandon(self.account, self.reservation_id)
        self.outcome = "client-gone"
        self._means.handler.over(self)

    def _carry_on(self) -> None:
        """It was reserved, and perhaps sent: the ordinary path goes on from there."""
        self._step = _OVER
        self.stop.diverted = None
        self._means.tasks.start(self._carried(), name=f"carry on {self.reservation_id}")

    async def _carried(self) -> None:
        keep = False
        try:
            keep = await self._carried_on()
        finally:
            self._leave(keep=keep)

    async def _carried_on(self) -> bool:
        means, way, terms = self._means, self._way, self._charge.terms
        first = self._raw[0]
        head = head_of(first[first.index(b"\r\n") : self._begin - 2], way, means.limits)
        assert head is not None, "it was judged before"
        granted = self._charge.prepared.reserved(self.reservation_id, self._size, self._reply)
        assert isinstance(granted, Granted)
        sized = estimate(head, way.kind.route, terms.plan)
        assert isinstance(sized, Estimate)
        arrival = self._connection.arrival(way.method, way.target, head.headers)
        sender = means.senders.of(self._connection)
        call = Call(arrival, self, Entered(head, way.match, terms), way.kind.live, sender)
        admitted = Admitted(head, way.match, terms, sized, granted)
        forwarder = Forwarder(means.books, call, admitted)
        forwarder.go_on(b"".join(self._body()), self._upstream)

        async def forward() -> bool:
            keep = await forwarder.forward()
            self.outcome = "relayed"
            return keep

        return await means.handler.carry_on(arrival, self, head, forward)


_AS_HELD = [b"0", 0, b""]
"""Not late, not replayed, not over any limit."""
_MARK = b"\0request-id\0"


def _answer(answer: AnswerHead, fields: bytes, request_id: bytes, body: bytes) -> bytes:
    """As `wire.answer_head` makes it, from parts that were made of the same head before."""
    parts = answer.relayed.get(bool(fields))
    if parts is None:
        parts = answer.relayed[bool(fields)] = _parts(answer, with_fields=bool(fields))
    return b"".join((parts[0], fields, parts[1], request_id, parts[2], body))


def _parts(answer: AnswerHead, *, with_fields: bool) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind the limits and the id."""
    extra = [(b"RateLimit-Policy", b""), (b"RateLimit", b"")] if with_fields else []
    extra.append((b"X-Request-Id", _MARK))
    head = wire.answer_head(answer, extra=extra, keep_alive=True, client_version=(1, 1))
    head, _, after = head.partition(_MARK)
    before, _, between = head.rpartition(b"RateLimit-Policy: \r\nRateLimit: \r\n")
    return before, between, after
