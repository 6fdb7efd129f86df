"""Delivered: a small download on the fast path, which is charged for what its client was given.

    reserve ─▶ upstream ─▶ answer ─▶ commit
       │ else     │ else                │ else
       │          └─ carried on         └─ brought to its end by the settler
       └─ handed back

Reserved and handed back as in `rated.py`, kept and charged as in `small.py`. Once it is answered
nothing of it can be stopped any more.
"""

from typing import Any

from gateway.ledger.prepared import is_settled, is_unheard
from gateway.proxy.answer import AnswerHead
from gateway.proxy.exchange import Exchange
from gateway.proxy.passing import CHARGING, OVER
from gateway.proxy.small import Small


class Delivered(Small):
    """`_told`: the status and the bytes of the body that its client was given."""

    __slots__ = ("_told",)

    def _go_back(self) -> None:
        answer, transport = self._simple_answer(), self._connection.transport
        there = transport is not None and not transport.is_closing()
        if answer is None or not there or not self._is_charged(answer) or not self._fits(answer):
            self._carry_on()
            return
        delivered = self._write(answer, self._fields())
        self._upstream = None  # It serves others from now on.
        assert delivered is not None, "its client was there"
        self._told = (answer.status, delivered)
        self._charge(delivered)

    def _fits(self, answer: AnswerHead) -> bool:
        """All of it is held."""
        size = 0 if answer.bodyless else answer.length
        return size is not None and self._caller.prepared.has_room(self._reply, size)

    def _fields(self) -> bytes:
        charge, now_ms = self._caller, self._means.books.clock.now_ms()
        counted = charge.prepared.counted(self._reply)
        return charge.fields.lines(counted, self._reply[3:6], now_ms)

    def _settle(self, reply: Any) -> None:
        if not is_settled(reply):
            self.exchange().unheard = is_unheard(reply)
            self._settle_later()
            return
        self._settled(reply)
        self._step = OVER
        self._end(*self._told)

    def halt(self, reason: object) -> None:
        if self._step != CHARGING:
            super().halt(reason)

    def _settle_later(self) -> None:
        """The store is in trouble, or has another word for it."""
        self._step = OVER
        exchange = self.exchange()
        exchange.outcome = "relayed"
        exchange.answering = True
        exchange.status, exchange.answer_bytes = self._told
        work = self._settled_late(exchange)
        self._means.tasks.start(work, name=f"settle {exchange.reservation_id}")

    async def _settled_late(self, exchange: Exchange) -> None:
        means, charge = self._means, self._caller
        actual = charge.prepared.amounts(self._told[1])
        keep = False
        try:
            await means.books.settler.commit(
                charge.terms, exchange.reservation_id, actual, unheard=exchange.unheard
            )
            keep = not means.handler.draining
        finally:
            means.handler.over(exchange)
            self._connection.errand_over(self._held, keep=keep)
