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
import logging
from typing import Any

from gateway.admission import settle
from gateway.admission.estimate import Estimate, estimate
from gateway.clock import monotonic_s
from gateway.errors import REQUEST_TIMEOUT, Error, StoreError
from gateway.ledger.outcomes import Granted
from gateway.ledger.prepared import is_granted, is_settled
from gateway.proxy import heads, wire
from gateway.proxy.answer import Headers
from gateway.proxy.call import Call
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.gate import Admitted, Entered
from gateway.proxy.lane import FastConnection
from gateway.proxy.means import Charge, Means
from gateway.proxy.shapes import Shape, Way, head_of
from gateway.proxy.upstream import UpstreamConnection

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 32 * 1024
"""Larger answers are relayed as the client takes them."""
HELD_BYTES_MAX = 64 * 1024
"""Of further requests that may wait here before reading from the client pauses."""
BEAT_AFTER_S = 1.0
LEASE_LONG_MS = 6_000
"""What is shorter is kept from ending at once, and not when one of the watchdog's looks has seen
that it takes long."""
NOTE_EVERY_S = 1.0
PATIENCE_S = 0.15
"""A reserve that failed sooner is worth another attempt."""

_RESERVING, _ASKING, _CHARGING, _OVER = range(4)


class Small:
    """What it reserved is `_reply`, once that is granted."""

    __slots__ = (
        "_beating",
        "_begin",
        "_body_bytes",
        "_charge",
        "_connection",
        "_exchange",
        "_held",
        "_id",
        "_means",
        "_missing",
        "_raw",
        "_reply",
        "_request_id",
        "_shape",
        "_size",
        "_started_s",
        "_step",
        "_tried",
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
        self._means = means
        self._connection = connection
        self._way, self._shape, self._size = asked
        self._charge = charge
        self._held: list[bytes] | None = None
        self._upstream: UpstreamConnection | None = None
        self._exchange: Exchange | None = None
        self._step = _RESERVING
        self._beating = False
        self._started_s = monotonic_s()
        self._id = means.handler.next_id()
        self._request_id = means.handler.request_ids.of(self._shape.inbound_id).encode()

    @property
    def account(self) -> str:
        return self._charge.terms.account

    @property
    def key_id(self) -> str:
        return self._charge.key_id

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        """Reserve. The body begins at `begin`; the rest of it may still be on its way."""
        self._raw = [data]
        self._begin = begin
        self._missing = self._size - (len(data) - begin)
        means, charge = self._means, self._charge
        self._connection.errand_begins(self)
        means.watchdog.enter(self)
        if self._started_s >= charge.note_s:
            charge.note_s = self._started_s + NOTE_EVERY_S
            means.books.heartbeat.note(charge.terms.account)
        means.books.ledger.begin_reserve(
            charge.prepared.reserve(self._id, self._size), self._reserved
        )

    def more(self, data: bytes) -> None:
        missing = self._missing
        if missing:
            self._raw.append(data[:missing])
            self._missing = missing - len(self._raw[-1])
            data = data[missing:]
        if data:
            self._held = [*(self._held or ()), data]
            if sum(map(len, self._held)) > HELD_BYTES_MAX:
                self._connection.hold_reading()

    def overdue(self, now_s: float) -> Error | None:
        """Also keeps what it holds from ending, once that is worth it."""
        age_s = now_s - self._started_s
        if age_s > BEAT_AFTER_S and not self._beating and self._step in (_ASKING, _CHARGING):
            self._beat()
        return REQUEST_TIMEOUT if age_s > self._way.kind.route.timeout_s else None

    def _beat(self) -> None:
        self._beating = True
        self._means.books.heartbeat.add(self.account, self._id.decode(), self._started_s)

    def _reserved(self, reply: Any) -> None:
        if self._step == _RESERVING:
            try:
                self._go_on(reply)
            except Exception as failure:  # Those whose replies come next must not feel it.
                self._failed(failure)

    def _go_on(self, reply: Any) -> None:
        self._reply = reply
        if not is_granted(reply) or self._missing:
            self._hand_back()
            return
        self._step = _ASKING
        kind, shape = self._way.kind, self._shape
        kind.series.granted.value += 1
        if self._means.lease_ms < LEASE_LONG_MS:
            self._beat()
        self._means.gate.answered(self._charge.terms.account)
        upstream = self._upstream = kind.pool.take()
        if upstream is None:
            self._carry_on()
            return
        after = shape.after % self._size if shape.sized else shape.after
        head = (self._way.forwarded, shape.before, self._request_id, after)
        request = b"".join((*head, *self._body()))
        upstream.ask(self._way.verb, request, self._answered, kind.pool.upstream.answer_timeout_s)
        upstream.on_informational = self._inform
        if upstream.congested:
            self._carry_on()

    def _body(self) -> list[bytes | memoryview]:
        first = memoryview(self._raw[0])[self._begin :]
        return [first, *self._raw[1:]] if len(self._raw) > 1 else [first]

    def _answered(self) -> None:
        if self._step == _ASKING:
            try:
                self._charge_it()
            except Exception as failure:
                self._failed(failure)

    def _charge_it(self) -> None:
        upstream = self._upstream
        assert upstream is not None
        reader, transport = upstream.whole, self._connection.transport
        answer = None if reader is None else reader.head
        if (
            answer is None
            or not settle.commits(self._way.kind.route, answer.status)
            or answer.length is None
            or answer.bodyless
            or answer.length > ANSWER_BYTES_MAX
            or self._means.books.settler.is_behind(self._charge.terms.account)
            or (transport is not None and transport.get_write_buffer_size())
        ):
            self._carry_on()
            return
        self._step = _CHARGING
        self._means.books.ledger.begin_commit(
            self._charge.prepared.commit(self._id, self._size, self._way.match.asset),
            self._charged,
        )

    def _charged(self, reply: Any) -> None:
        if self._step == _CHARGING:
            try:
                self._end(reply)
            except Exception as failure:  # Those whose replies come next must not feel it.
                self._failed(failure)

    def _end(self, reply: Any) -> None:
        upstream = self._upstream
        reader = None if upstream is None else upstream.whole
        if not is_settled(reply) or upstream is None or reader is None or reader.head is None:
            self._carry_on()  # Or something came behind the answer's end.
            return
        self._step = _OVER
        answer, body = reader.head, reader.take()
        upstream.release()
        means, charge, series = self._means, self._charge, self._way.kind.series
        if self._beating:
            means.books.heartbeat.discard(self._id.decode())
        if reply[1:4] == _AS_HELD:
            series.settled.value += 1
        else:
            settled = charge.prepared.committed(self._id.decode(), reply)
            means.books.metrics.settled(settled, "answered")
        now_ms = means.books.clock.now_ms()
        fields = charge.fields.lines(reply[4:], self._reply[3:6], now_ms)
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            self._report_otherwise("client-gone", answer.status, 0)
        else:
            transport.write(heads.whole_answer(answer, fields, self._request_id, body))
            if 200 <= answer.status < 300:
                self._report(answer.status, len(body))
            else:
                self._report_otherwise("relayed", answer.status, len(body))
        self._connection.errand_over(self._held, keep=not means.handler.draining)

    def _report(self, status: int, answer_bytes: int) -> None:
        means, way, charge = self._means, self._way, self._charge
        means.watchdog.leave(self)
        seconds = monotonic_s() - self._started_s
        way.kind.series.request(seconds, self._size, answer_bytes)
        if not way.logged:
            way.logged = means.access.part(
                {"method": way.method, "path": way.target, "route": way.kind.route.name}
            )
        if not charge.logged:
            terms = charge.terms
            charge.logged = means.access.part(
                {"account": terms.account, "key": charge.key_id, "plan": terms.plan.name}
            )
        sizes = (self._size, answer_bytes)
        means.access.write_plain((way.logged, charge.logged, self._request_id, status, seconds,
                                  self._id, sizes, self._shape.peer.encode()))  # fmt: skip

    def _report_otherwise(self, outcome: str, status: int, answer_bytes: int) -> None:
        exchange = self.exchange()
        exchange.outcome, exchange.status = outcome, status
        exchange.answer_bytes = answer_bytes
        self._means.handler.over(exchange)

    def _inform(self, status: int, headers: Headers) -> None:
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(wire.informational(status, headers))

    def _failed(self, failure: Exception) -> None:
        """By a mistake of ours: nothing is known but what the store knows."""
        log.error("a request on the fast path failed", exc_info=failure)
        self._step = _OVER
        exchange = self.exchange()
        if self._upstream is not None:
            self._upstream.abort()
        self._means.books.settler.abandon(self.account, exchange.reservation_id)
        self._means.handler.over(exchange)
        self._connection.errand_over(None, keep=False)

    # -- to the ordinary path ---------------------------------------------------------------------

    def exchange(self) -> Exchange:
        """From now on what is known of this request stands there."""
        if self._exchange is not None:
            return self._exchange
        means, way, route = self._means, self._way, self._way.kind.route
        exchange = Exchange(self._shape.peer, self._started_s, means.lease_ms)
        exchange.reservation_id = self._id.decode()
        exchange.request_id = self._request_id.decode()
        exchange.method, exchange.target = way.method, way.target
        exchange.route, exchange.upstream = route.name, route.upstream
        exchange.dialect = way.kind.dialect
        exchange.account, exchange.plan = self.account, self._charge.terms.plan.name
        exchange.key_id = self.key_id
        exchange.deadline_s = self._started_s + route.timeout_s
        if self._upstream is not None:
            exchange.body_bytes = self._size
        means.watchdog.leave(self)
        means.watchdog.enter(exchange)
        if self._beating:
            means.books.heartbeat.discard(exchange.reservation_id)
        self._exchange = exchange
        return exchange

    def halt(self, reason: object) -> None:
        """A limit, the drain or a revocation ends this request."""
        if self._step == _RESERVING:
            exchange = self.exchange()
            self._means.books.settler.abandon(self.account, exchange.reservation_id)
            exchange.stop.stop(reason)
            self._give_back()
        elif self._step != _OVER:
            self._carry_on()
            # Once it has begun to wait, as if it had always gone that way.
            asyncio.get_running_loop().call_soon(self.exchange().stop.stop, reason)

    def _hand_back(self) -> None:
        """Nothing was sent: the ordinary path begins anew, with what the store has said."""
        reply, exchange = self._reply, self.exchange()
        if isinstance(reply, StoreError):
            soon = reply.transient and monotonic_s() - self._started_s < PATIENCE_S
            exchange.tried = None if soon else reply
        else:
            exchange.tried = self._charge.prepared.reserved(
                exchange.reservation_id, self._size, reply
            )
        self._give_back()

    def _give_back(self) -> None:
        self._step = _OVER
        if self._connection.transport is not None:
            self._connection.hand_back(self, b"".join((*self._raw, *(self._held or ()))))
        else:
            self.bury()

    def bury(self) -> None:
        exchange, books = self.exchange(), self._means.books
        tried, exchange.tried = exchange.tried, None
        name = exchange.reservation_id
        if isinstance(tried, Granted):
            release = books.settler.release(self.account, name, reason="client-gone")
            self._means.tasks.start(release, name=f"release {name}")
        elif tried is None or (isinstance(tried, StoreError) and tried.indeterminate):
            books.settler.abandon(self.account, name)
        exchange.outcome = "client-gone"
        self._means.handler.over(exchange)

    def _carry_on(self) -> None:
        """It was reserved, and perhaps sent: the ordinary path goes on from there."""
        self._step = _OVER
        exchange = self.exchange()
        work = self._carried(exchange)
        self._means.tasks.start(work, name=f"carry on {exchange.reservation_id}")

    async def _carried(self, exchange: Exchange) -> None:
        keep = False
        try:
            keep = await self._carried_on(exchange)
        finally:
            self._connection.errand_over(self._held, keep=keep)

    async def _carried_on(self, exchange: Exchange) -> bool:
        means, way, terms = self._means, self._way, self._charge.terms
        first = self._raw[0]
        head = head_of(first[first.index(b"\r\n") : self._begin - 2], way, means.limits)
        assert head is not None, "it was judged before"
        name = exchange.reservation_id
        granted = self._charge.prepared.reserved(name, self._size, self._reply)
        assert isinstance(granted, Granted)
        sized = estimate(head, way.kind.route, terms.plan)
        assert isinstance(sized, Estimate)
        arrival = self._connection.arrival(way.method, way.target, head.headers)
        sender = means.senders.of(self._connection)
        call = Call(arrival, exchange, Entered(head, way.match, terms), way.kind.live, sender)
        admitted = Admitted(head, way.match, terms, sized, granted)
        forwarder = Forwarder(means.books, call, admitted)
        forwarder.go_on(b"".join(self._body()), self._upstream)

        async def forward() -> bool:
            keep = await forwarder.forward()
            exchange.outcome = "relayed"
            return keep

        return await means.handler.carry_on(arrival, exchange, head, forward)


_AS_HELD = [b"0", 0, b""]
"""Not late, not replayed, not over any limit."""
