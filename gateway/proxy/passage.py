"""Passage: one request of a resumable upload through the upstream, and its answer back.

It moves; what an answer means is decided between the two, while the client still waits.
"""

from collections.abc import Sequence

from gateway.admission.measure import BodyCount
from gateway.ledger.outcomes import RateState
from gateway.ledger.quota import Quota
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.followers import Cover
from gateway.proxy.transfer import Transfer


class Passage:
    """`quotas` and `rate` are told to the client in the answer's head."""

    def __init__(self, books: Books, call: Call, rate: RateState | None = None) -> None:
        self._books = books
        self._call = call
        self._rate = rate
        self.count = BodyCount()
        pool = call.live.pools[call.entered.match.route.upstream]
        self.transfer = Transfer(call.arrival, call.exchange, call.entered.head, pool, self.count)
        self.quotas: Sequence[Quota] = ()
        self.extra: list[tuple[bytes, bytes]] = []
        """Fields of ours in the answer's head, instead of the upstream's of the same name."""

    async def forward(
        self, cover: Cover | None = None, *, headers: wire.Fields | None = None
    ) -> AnswerHead:
        """Raises what Transfer.request raises, once the upstream is broken off."""
        try:
            request_head = heads.request_head(self._call, headers=headers)
            return await self.transfer.request(request_head, cover)
        except BaseException:  # Also when cancelled: the upstream must not wait for more of it.
            self.transfer.abandon()
            raise

    async def relay(self, answer: AnswerHead) -> bool:
        """Say whether the client's connection can stay."""
        version = self._call.entered.head.version
        asked = not self._call.arrival.should_close and self.transfer.sent_all
        keep = wire.keeps_client(answer, version, asked=asked)
        head = heads.answer_head(
            self._call,
            answer,
            self._books.clock.now_ms(),
            quotas=self.quotas,
            rate=self._rate,
            extra=self.extra,
            keep=keep,
        )
        try:
            await self.transfer.relay(head, answer, None)
        except BaseException:  # Also when cancelled: the upstream must not wait for more of it.
            self.transfer.abandon()
            raise
        return keep
