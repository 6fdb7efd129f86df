"""Small: a request on the fast path that is reserved first, and charged before its answer.

    reserve ─▶ the whole body is here ─▶ upstream ─▶ commit ─▶ answer
       │ else           │ else              │ else      │ else
       └─ handed back ──┘                   └───────────┴─ carried on, in a Task of its own

What was not sent yet is handed back to the ordinary path, which begins anew with what the store has
said; all else is as in `passing.py`.
"""

from typing import Any, ClassVar

from gateway.admission import settle
from gateway.clock import monotonic_s
from gateway.errors import Error, StoreError
from gateway.ledger.outcomes import Granted
from gateway.ledger.prepared import is_granted, is_settled
from gateway.proxy.exchange import Exchange
from gateway.proxy.means import Charge
from gateway.proxy.passing import ASKING, CHARGING, OVER, RESERVING, Passing

BEAT_AFTER_S = 1.0
LEASE_LONG_MS = 6_000
"""What is shorter is kept from ending at once, and not when one of the watchdog's looks has seen
that it takes long."""
NOTE_EVERY_S = 1.0
PATIENCE_S = 0.15
"""A reserve that failed sooner is worth another attempt."""


class Small(Passing):
    """What it reserved is `_reply`, once that is granted."""

    __slots__ = ("_beating", "_reply")

    _caller: Charge
    first_step: ClassVar[int] = RESERVING

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        """Reserve."""
        self._beating = False
        self._take(data, begin)
        charge, books = self._caller, self._means.books
        if self._started_s >= charge.note_s:
            charge.note_s = self._started_s + NOTE_EVERY_S
            books.heartbeat.note(charge.account)
        books.ledger.begin_reserve(charge.prepared.reserve(self._id, self._size), self._reserved)

    def overdue(self, now_s: float) -> Error | None:
        """Also keeps what it holds from ending, once that is worth it."""
        age_s = now_s - self._started_s
        if age_s > BEAT_AFTER_S and not self._beating and self._step in (ASKING, CHARGING):
            self._beat()
        return super().overdue(now_s)

    def _beat(self) -> None:
        self._beating = True
        self._means.books.heartbeat.add(self.account, self._id.decode(), self._started_s)

    def _beat_no_more(self) -> None:
        if self._beating:
            self._beating = False
            self._means.books.heartbeat.discard(self._id.decode())

    def _reserved(self, reply: Any) -> None:
        if self._step == RESERVING:
            try:
                self._go_on(reply)
            except Exception as failure:  # Those whose replies come next must not feel it.
                self._failed(failure)

    def _go_on(self, reply: Any) -> None:
        self._reply = reply
        if not is_granted(reply) or self._missing:
            self._hand_back()
            return
        self._way.kind.series.granted.value += 1
        if self._means.lease_ms < LEASE_LONG_MS:
            self._beat()
        self._means.gate.answered(self._caller.account)
        self._ask()

    def _go_back(self) -> None:
        answer, means = self._simple_answer(), self._means
        if (
            answer is None
            or not settle.commits(self._way.kind.route, answer.status)
            or means.books.settler.is_behind(self._caller.account)
        ):
            self._carry_on()
            return
        self._step = CHARGING
        means.books.ledger.begin_commit(
            self._caller.prepared.commit(self._id, self._size, self._way.match.asset),
            self._charged,
        )

    def _charged(self, reply: Any) -> None:
        if self._step == CHARGING:
            try:
                self._end(reply)
            except Exception as failure:  # Those whose replies come next must not feel it.
                self._failed(failure)

    def _end(self, reply: Any) -> None:
        answer = self._whole_answer()
        if not is_settled(reply) or answer is None:
            self._carry_on()  # Or something came behind the answer's end.
            return
        means, charge = self._means, self._caller
        self._beat_no_more()
        if reply[1:4] == _AS_HELD:
            self._way.kind.series.settled.value += 1
        else:
            settled = charge.prepared.committed(self._id.decode(), reply)
            means.books.metrics.settled(settled, "answered")
        now_ms = means.books.clock.now_ms()
        self._relay(answer, charge.fields.lines(reply[4:], self._reply[3:6], now_ms))

    def _failed(self, failure: Exception) -> None:
        self._means.books.settler.abandon(self.account, self._id.decode())
        super()._failed(failure)

    # -- to the ordinary path ---------------------------------------------------------------------

    def exchange(self) -> Exchange:
        self._beat_no_more()
        return super().exchange()

    def halt(self, reason: object) -> None:
        if self._step != RESERVING:
            super().halt(reason)
            return
        exchange = self.exchange()
        exchange.stop.stop(reason)
        if self._connection.transport is not None:
            self._means.books.settler.abandon(self.account, exchange.reservation_id)
        self._give_back()

    def _hand_back(self) -> None:
        """Nothing was sent: the ordinary path begins anew, with what the store has said."""
        reply, exchange = self._reply, self.exchange()
        if isinstance(reply, StoreError):
            soon = reply.transient and monotonic_s() - self._started_s < PATIENCE_S
            exchange.tried = None if soon else reply
        else:
            exchange.tried = self._caller.prepared.reserved(
                exchange.reservation_id, self._size, reply
            )
        self._give_back()

    def _give_back(self) -> None:
        self._step = OVER
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

    def _granted(self) -> Granted:
        granted = self._caller.prepared.reserved(self._id.decode(), self._size, self._reply)
        assert isinstance(granted, Granted)
        return granted


_AS_HELD = [b"0", 0, b""]
"""Not late, not replayed, not over any limit."""
