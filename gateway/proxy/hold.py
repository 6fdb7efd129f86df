"""Hold: what a request may still pass on, and the growth of its reservation ahead of the bytes.

Nothing is forwarded that was not reserved: the transfer calls a cover with what it has counted,
before it passes that on. The cover cuts a body that overruns, and grows what is no longer enough.
"""

import math
from collections.abc import Mapping

from gateway.admission.estimate import growth, overrun
from gateway.admission.measure import BodyCount, Counts
from gateway.catalog.routes import Source
from gateway.clock import monotonic_s
from gateway.errors import STORE_UNAVAILABLE, Refusal, StoreError
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Refused
from gateway.ledger.quota import Quota
from gateway.proxy.answer import AnswerHead
from gateway.proxy.endings import CutError, DeniedError
from gateway.proxy.exchange import Exchange
from gateway.proxy.followers import Cover
from gateway.proxy.gate import Admitted


class Hold:
    """`quotas` are those of the last grant."""

    __slots__ = ("_admitted", "_count", "_delivery_began_s", "_exchange", "_held", "_ledger",
                 "_whole", "quotas")  # fmt: skip

    def __init__(
        self, ledger: Ledger, admitted: Admitted, exchange: Exchange, count: BodyCount
    ) -> None:
        self._ledger = ledger
        self._admitted = admitted
        self._exchange = exchange
        self._count = count
        self._delivery_began_s: float | None = None
        self._whole = False
        granted = admitted.granted
        self._held: Mapping[str, int] = {} if granted is None else granted.amounts
        self.quotas: tuple[Quota, ...] = () if granted is None else granted.quotas

    @property
    def body_cover(self) -> Cover | None:
        """None when no byte of the request's body can change what was decided."""
        estimate = self._admitted.estimate
        # What a head declares was judged by it, and the parser lets no more than that through.
        judged = estimate.declared is not None or (not estimate.growing and estimate.cap is None)
        return None if judged and not self._count.reads_bytes else self._cover_body

    @property
    def answer_cover(self) -> Cover | None:
        """None when all that its bytes can cost is held."""
        admitted = self._admitted
        sources = {admitted.match.route.reserve[meter] for meter in admitted.estimate.growing}
        if not sources or (self._whole and sources == {Source.RESPONSE}):
            return None
        return self._cover_answer

    async def expect_answer(self, answer: AnswerHead) -> None:
        """Before the head of an answer goes out: hold all of its length, if it says one."""
        self._delivery_began_s = monotonic_s()
        if answer.length is not None and not answer.bodyless:
            await self._grow({Source.RESPONSE: answer.length}, known=True)
            self._whole = True

    def counts(self, reported_size: int | None = None) -> Counts:
        """What was moved until now."""
        began_s = self._delivery_began_s
        return Counts(
            body=self._count.body,
            files=self._count.files,
            response_bytes=self._exchange.answer_bytes + self._exchange.upgraded_bytes,
            delivery_s=0.0 if began_s is None else monotonic_s() - began_s,
            reported_size=reported_size,
        )

    async def _cover_body(self, in_hand: int) -> None:
        """The bytes in hand have been fed to the count, which looks into envelopes."""
        refusal = overrun(self._admitted.estimate, self._count)
        if refusal is not None:
            raise CutError(refusal)
        await self._grow({Source.BODY: self._count.body, Source.FILES: self._count.files})

    async def _cover_answer(self, in_hand: int) -> None:
        counts = self.counts()
        await self._grow(
            {
                Source.RESPONSE: counts.response_bytes + in_hand,
                Source.DELIVERY_SECONDS: math.ceil(counts.delivery_s),
            }
        )

    async def _grow(self, counted: Mapping[Source, int], *, known: bool = False) -> None:
        admitted = self._admitted
        if not admitted.estimate.growing or admitted.terms is None:
            return
        lines = growth(admitted.estimate, admitted.match.route, self._held, counted, known=known)
        if isinstance(lines, Refusal):
            raise CutError(lines)
        if not lines:
            return
        outcome = await self._ledger.grow(admitted.terms, self._exchange.reservation_id, lines)
        match outcome:
            case Granted():
                grown = {line.meter: outcome.amounts[line.meter] for line in lines}
                self._held = {**self._held, **grown}
                self.quotas = outcome.quotas
            case Denied():
                raise DeniedError(outcome)
            case Refused():
                # Its lease has ended while the store or this process stood still: not a conflict
                # the client could resolve, but a reason to try again.
                raise StoreError(STORE_UNAVAILABLE, outcome.detail, transient=False)
