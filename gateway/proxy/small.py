"""Small: a request on the fast path that is reserved first, and charged before its answer.

    reserve ─▶ the whole body is here ─▶ upstream ─▶ commit ─▶ answer
       │ else           │ else              │ else      │ else
       └─ handed back ──┘                   └───────────┴─ carried on, in a Task of its own

It is reserved, and handed back, as in `rated.py`; all else is as in `passing.py`.
"""

from typing import Any

from gateway.errors import Error
from gateway.ledger.prepared import is_settled, is_unheard
from gateway.proxy.answer import AnswerHead
from gateway.proxy.exchange import Exchange
from gateway.proxy.passing import CHARGING, OVER, RESERVING
from gateway.proxy.rated import Rated

BEAT_AFTER_S = 1.0
LEASE_LONG_MS = 6_000
"""What is shorter is kept from ending at once, and not when one of the watchdog's looks has seen
that it takes long."""
NOTE_EVERY_S = 1.0


class Small(Rated):
    """`_beating`: the heartbeat keeps what it holds from ending."""

    __slots__ = ("_beating",)

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        self._beating = False
        charge = self._caller
        if self._started_s >= charge.note_s:
            charge.note_s = self._started_s + NOTE_EVERY_S
            self._means.books.heartbeat.note(charge.account)
        self._take(data, begin)
        if self._means.lease_ms < LEASE_LONG_MS:
            self._beat()  # before there is anything to keep, which does no harm
        self._reserve()

    def overdue(self, now_s: float) -> Error | None:
        """Also keeps what it holds from ending, once that is worth it."""
        age_s = now_s - self._started_s
        if age_s > BEAT_AFTER_S and not self._beating and RESERVING < self._step < OVER:
            self._beat()
        return super().overdue(now_s)

    def _beat(self) -> None:
        self._beating = True
        self._means.books.heartbeat.add(self.account, self._id.decode(), self._started_s)

    def _beat_no_more(self) -> None:
        if self._beating:
            self._beating = False
            self._means.books.heartbeat.discard(self._id.decode())

    def _go_back(self) -> None:
        answer = self._simple_answer()
        if answer is None or not self._is_charged(answer):
            self._carry_on()
        else:
            self._charge(self._size)

    def _is_charged(self, answer: AnswerHead) -> bool:
        """At once, that is."""
        behind = self._means.books.settler.behind
        return answer.status in self._way.kind.commits and self._caller.account not in behind

    def _charge(self, size: int) -> None:
        self._step = CHARGING
        ledger, prepared = self._means.books.ledger, self._caller.prepared
        ledger.commit_prepared(prepared, self._id, size, self._way.stored, self._charged)

    def _charged(self, reply: Any) -> None:
        if self._step == CHARGING:
            try:
                self._settle(reply)
            except Exception as failure:  # Those whose replies come next must not feel it.
                self._failed(failure)

    def _settle(self, reply: Any) -> None:
        assert self._upstream is not None
        answer = self._upstream.whole
        if answer is None or not is_settled(reply):
            self.exchange().unheard = is_unheard(reply)
            self._carry_on()  # Or something came behind the answer's end.
            return
        self._settled(reply)
        now_ms = self._means.books.clock.now_ms()
        self._relay(answer, self._caller.fields.lines(reply[4:], self._reply[3:6], now_ms))

    def _settled(self, reply: Any) -> None:
        """It holds nothing any more."""
        if self._beating:
            self._beat_no_more()
        if reply[1:4] == _AS_HELD:
            self._way.kind.series.settled.value += 1
        else:
            settled = self._caller.prepared.committed(self._id.decode(), reply)
            self._means.books.metrics.settled(settled, "answered")

    def _failed(self, failure: Exception) -> None:
        self._means.books.settler.abandon(self.account, self._id.decode())
        super()._failed(failure)

    # -- to the ordinary path ---------------------------------------------------------------------

    def exchange(self) -> Exchange:
        self._beat_no_more()
        return super().exchange()


_AS_HELD = [b"0", 0, b""]
"""Not late, not replayed, not over any limit."""
