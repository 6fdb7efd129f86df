"""Passing: one small request on the fast path, by callbacks, from its head to its answer.

    the whole request is here ─▶ upstream ─▶ answer
                                     │ else
                                     └─ carried on, in a Task of its own

It only does what the ordinary path would do next, by the same functions, as long as all goes well.
Else the request changes over to the ordinary path with all that is known of it. Each step is called
by what it waited for; what comes after the change finds the step over, and does nothing.

This one asks nothing of the store; `rated.py` and `small.py` have what does.
"""

import asyncio
import logging
from typing import ClassVar

from gateway.admission.estimate import Estimate, estimate
from gateway.clock import monotonic_s
from gateway.errors import REQUEST_TIMEOUT, Error
from gateway.ledger.outcomes import Granted
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead, Headers
from gateway.proxy.call import Call
from gateway.proxy.exchange import CLIENT_GONE, SAFE, Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.gate import NO_PLAN, Admitted, Entered
from gateway.proxy.lane import FastConnection
from gateway.proxy.means import Caller, Means
from gateway.proxy.shapes import Shape, Way, head_of
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import Interrupt

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 32 * 1024
"""Larger answers are relayed as the client takes them."""
COPIED_BYTES_MAX = 8 * 1024
"""A larger body is cheaper to write beside its head than behind it."""
HELD_BYTES_MAX = 64 * 1024
"""Of further requests that may wait here before reading from the client pauses."""

RESERVING, AWAITING, CONNECTING, SENDING, ASKING, CHARGING, OVER = range(7)


class Passing:
    """`_step`: what it waits for, until it is over here."""

    __slots__ = (
        "_begin",
        "_caller",
        "_connection",
        "_exchange",
        "_held",
        "_id",
        "_means",
        "_missing",
        "_raw",
        "_request_id",
        "_shape",
        "_size",
        "_started_s",
        "_step",
        "_upstream",
        "_way",
    )  # fmt: skip

    first_step: ClassVar[int] = ASKING

    def __init__(
        self,
        means: Means,
        connection: FastConnection,
        asked: tuple[Way, Shape, int],
        caller: Caller,
    ) -> None:
        self._means = means
        self._connection = connection
        self._way, self._shape, self._size = asked
        self._caller = caller
        self._held: list[bytes] | None = None
        self._upstream: UpstreamConnection | None = None
        self._exchange: Exchange | None = None
        self._step = self.first_step
        self._started_s = monotonic_s()
        self._id = means.handler.next_id()
        self._request_id = means.handler.request_ids.bytes_of(self._shape.inbound_id)

    @property
    def account(self) -> str:
        return self._caller.account

    @property
    def key_id(self) -> str:
        return self._caller.key_id

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        """The body begins at `begin`."""
        self._take(data, begin)
        self._ask()

    def _take(self, data: bytes, begin: int) -> None:
        """The rest of the body may still be on its way."""
        self._raw = [data]
        self._begin = begin
        self._missing = self._size - (len(data) - begin)
        self._connection.errand_begins(self)
        self._means.watchdog.enter(self)

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
        late = now_s - self._started_s > self._way.kind.route.timeout_s
        return REQUEST_TIMEOUT if late else None

    def _ask(self) -> None:
        """Send all of it to the upstream."""
        self._step = ASKING
        kind = self._way.kind
        upstream = self._upstream = kind.pool.take()
        if upstream is None:
            self._carry_on()
            return
        request = [self._head(), *self._body()]
        if self._size <= COPIED_BYTES_MAX:
            request = [b"".join(request)]
        upstream.ask(self._way.verb, request, self._answered, kind.pool.upstream.answer_timeout_s)
        upstream.on_informational = self._inform
        if upstream.congested:
            self._carry_on()

    def _head(self) -> bytes:
        """For the upstream."""
        shape = self._shape
        after = shape.after % self._size if shape.sized else shape.after
        return b"".join((self._way.forwarded, shape.before, self._request_id, after))

    def _body(self) -> list[bytes | memoryview]:
        first = memoryview(self._raw[0])[self._begin :]
        return [first, *self._raw[1:]] if len(self._raw) > 1 else [first]

    def _answered(self) -> None:
        if self._step == ASKING:
            try:
                self._go_back()
            except Exception as failure:  # The upstream's connection must not feel it.
                self._failed(failure)

    def _go_back(self) -> None:
        """There is some answer, or none will come."""
        answer = self._simple_answer()
        if answer is None:
            self._carry_on()
        else:
            self._relay(answer, self._fields())

    def _fields(self) -> bytes:
        """Lines on the limits, for the head of its answer."""
        return b""

    def _simple_answer(self) -> AnswerHead | None:
        """If all of it is here, it is small, and the client has taken what it was sent before."""
        assert self._upstream is not None
        answer, transport = self._upstream.whole, self._connection.transport
        if answer is None:
            return None
        length = 0 if answer.bodyless else answer.length
        if length is None or length > ANSWER_BYTES_MAX:
            return None
        return None if transport is not None and transport.get_write_buffer_size() else answer

    def _relay(self, answer: AnswerHead, fields: bytes) -> None:
        self._step = OVER
        self._end(answer.status, self._write(answer, fields))

    def _write(self, answer: AnswerHead, fields: bytes) -> int | None:
        """Give the whole answer to the client; say how large its body is. None: nobody is there."""
        upstream, transport = self._upstream, self._connection.transport
        assert upstream is not None
        body = upstream.taken()
        upstream.release()
        if transport is None or transport.is_closing():
            return None
        transport.write(heads.whole_answer(answer, fields, self._request_id, body))
        return len(body)

    def _end(self, status: int, answer_bytes: int | None) -> None:
        """Be done with it. `answer_bytes` None: the client had gone."""
        if answer_bytes is None:
            self._report_otherwise("client-gone", status, 0)
        elif 200 <= status < 600:
            self._report(status, answer_bytes)
        else:
            self._report_otherwise("relayed", status, answer_bytes)
        self._connection.errand_over(self._held, keep=not self._means.handler.draining)

    def _report(self, status: int, answer_bytes: int) -> None:
        means, way, caller = self._means, self._way, self._caller
        means.watchdog.leave(self)
        seconds = monotonic_s() - self._started_s
        way.kind.series.request(status, seconds, self._size, answer_bytes)
        if not way.logged:
            way.logged = means.access.part(
                {"method": way.method, "path": way.target, "route": way.kind.route.name}
            )
        if not caller.logged:
            caller.logged = means.access.part(
                {"account": caller.account, "key": caller.key_id, "plan": caller.plan}
            )
        sizes = (self._size, answer_bytes)
        means.access.write_plain((way.logged, caller.logged, self._request_id, status, seconds,
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
        self._step = OVER
        exchange = self.exchange()
        if self._upstream is not None:
            self._upstream.abort()
        self._means.handler.over(exchange)
        self._connection.errand_over(None, keep=False)

    # -- to the ordinary path ---------------------------------------------------------------------

    def exchange(self) -> Exchange:
        """From now on what is known of this request stands there."""
        if self._exchange is None:
            self._exchange = self._facts()
            self._means.watchdog.leave(self)
            self._means.watchdog.enter(self._exchange)
        return self._exchange

    def _facts(self) -> Exchange:
        means, way, route = self._means, self._way, self._way.kind.route
        exchange = Exchange(self._shape.peer, self._started_s, means.lease_ms)
        exchange.reservation_id = self._id.decode()
        exchange.request_id = self._request_id.decode()
        exchange.method, exchange.target = way.method, way.target
        exchange.route, exchange.upstream = route.name, route.upstream
        exchange.dialect = way.kind.dialect
        exchange.account, exchange.plan = self._caller.account, self._caller.plan
        exchange.key_id = self._caller.key_id
        exchange.limit_times(route)
        if self._upstream is not None:
            exchange.body_bytes = self._size
        return exchange

    def halt(self, reason: object) -> None:
        """A limit, the drain, a revocation or a client that has gone ends this request."""
        if self._step != OVER:
            self._carry_on()
            # Once it has begun to wait, as if it had always gone that way.
            asyncio.get_running_loop().call_soon(self.exchange().halt, reason)

    def client_gone(self) -> None:
        """The upstream is heard to the end all the same, where that may change something."""
        if self._way.method not in SAFE:
            return
        if self._step != OVER:
            self.halt(CLIENT_GONE)
        elif self._exchange is not None:
            self._exchange.stop.stop(CLIENT_GONE)

    def _carry_on(self) -> None:
        """It was let through, and perhaps sent: the ordinary path goes on from there."""
        self._step = OVER
        exchange = self.exchange()
        work = self._carried(exchange)
        self._means.tasks.start(work, name=f"carry on {exchange.reservation_id}")

    async def _carried(self, exchange: Exchange) -> None:
        if exchange.stop.stopped:
            # Just before this: what is to be stopped has to begin, or nobody would let go of what
            # it holds.
            reason, exchange.stop = exchange.stop.reason, Interrupt()
            asyncio.get_running_loop().call_soon(exchange.halt, reason)
        keep = False
        try:
            keep = await self._carried_on(exchange)
        finally:
            self._let_go(keep=keep)

    def _let_go(self, *, keep: bool) -> None:
        self._connection.errand_over(self._held, keep=keep)

    async def _carried_on(self, exchange: Exchange) -> bool:
        means, way, terms = self._means, self._way, self._caller.terms
        first = self._raw[0]
        head = head_of(first[first.index(b"\r\n") : self._begin - 2], way, means.limits)
        assert head is not None, "it was judged before"
        sized = estimate(head, way.kind.route, NO_PLAN if terms is None else terms.plan)
        assert isinstance(sized, Estimate)
        arrival = self._connection.arrival(
            way.method, way.target, head.headers, whole=self._is_whole
        )
        sender = means.senders.of(self._connection)
        call = Call(arrival, exchange, Entered(head, way.match, terms), way.kind.live, sender)
        admitted = Admitted(head, way.match, terms, sized, self._granted())
        forwarder = Forwarder(means.books, call, admitted)
        self._hand_on(forwarder)

        async def forward(*_: object) -> bool:
            keep = await forwarder.forward()
            exchange.outcome = "relayed"
            return keep

        return await means.handler.carry_on(arrival, exchange, head, forward)

    @property
    def _is_whole(self) -> bool:
        """Its client has nothing of it left to send."""
        return True

    def _hand_on(self, forwarder: Forwarder) -> None:
        """What of the request was done."""
        forwarder.go_on(b"".join(self._body()), self._upstream)

    def _granted(self) -> Granted | None:
        """What it holds meanwhile."""
        return None
