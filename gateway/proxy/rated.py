"""Rated: a request on the fast path that is counted against its plan's rate before it passes.

    reserve ─▶ the whole body is here ─▶ upstream ─▶ answer
       │ else           │ else              │ else
       └─ handed back ──┘                   └─ carried on, in a Task of its own

What was not sent yet is handed back to the ordinary path, which begins anew with what the store has
said; all else is as in `passing.py`. It holds nothing: `small.py` has what does.
"""

from typing import Any, ClassVar

from gateway.clock import monotonic_s
from gateway.errors import StoreError
from gateway.ledger.outcomes import Granted
from gateway.ledger.prepared import is_granted, is_of_another_hour
from gateway.proxy.means import Charge
from gateway.proxy.passing import OVER, RESERVING, Passing

PATIENCE_S = 0.15
"""A reserve that failed sooner is worth another attempt."""


class Rated(Passing):
    """`_reply`: what came of the reserve."""

    __slots__ = ("_reply",)

    _caller: Charge
    first_step: ClassVar[int] = RESERVING

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        self._take(data, begin)
        self._reserve()

    def _reserve(self) -> None:
        ledger, prepared = self._means.books.ledger, self._caller.prepared
        ledger.reserve_prepared(prepared, self._id, self._size, self._reserved)

    def _reserved(self, reply: Any) -> None:
        if self._step != RESERVING:
            return
        try:
            self._reply = reply
            if is_granted(reply):
                self._go_on()
            else:
                self._hand_back()
        except Exception as failure:  # Those whose replies come next must not feel it.
            self._failed(failure)

    def _go_on(self) -> None:
        """It was granted."""
        if self._missing:
            self._hand_back()
        else:
            self._count()
            self._ask()

    def _count(self) -> None:
        """Nobody else will count that it was granted."""
        self._way.kind.series.granted.value += 1
        self._means.gate.answered(self._caller.account)

    def _fields(self) -> bytes:
        now_ms = self._means.books.clock.now_ms()
        return self._caller.fields.lines((), self._reply[3:6], now_ms)

    # -- to the ordinary path ---------------------------------------------------------------------

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
        if is_of_another_hour(reply):
            self._caller.until_ms = 0  # By the time of the next the ordinary path knows the hour.
        if isinstance(reply, StoreError):
            soon = reply.transient and monotonic_s() - self._started_s < PATIENCE_S
            exchange.tried = None if soon else reply
            exchange.asked = True
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
        if isinstance(tried, Granted) and tried.amounts:
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
