"""Carriage: one request about jobs on its way to the upstream and back."""

from typing import Any

from gateway.admission import completion, json_fields
from gateway.admission.measure import BodyCount
from gateway.admission.subjects import Subject
from gateway.catalog.jobs import JobRule
from gateway.errors import NO_ROUTE, Refusal
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import RateState
from gateway.ledger.quota import Quota
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError
from gateway.proxy.gate import Admitted
from gateway.proxy.jobs.books import JobBooks
from gateway.proxy.transfer import Transfer
from gateway.records.jobs import Job

ANSWER_BYTES_MAX = 1024 * 1024
"""The most of an upstream's answer that is looked at for what it says of a job."""

_WITHHELD = frozenset({b"accept-encoding", b"range", b"if-range", b"if-none-match",
                       b"if-modified-since"})  # fmt: skip
"""Fields of a request that would keep the gateway from reading its answer."""


class Carriage:
    """As a context: what breaks off is broken off on both sides. `quotas`, `rate` and `fields` are
    said in the answer's head besides the upstream's own."""

    def __init__(self, call: Call, books: Books) -> None:
        head, route = call.entered.head, call.entered.match.route
        assert route.jobs is not None, "a route about jobs names their rule"
        assert call.entered.terms is not None, "a job belongs to an account"
        self.call = call
        self.route = route
        self.rule: JobRule = call.live.catalog.jobs[route.jobs]
        self.terms: Terms = call.entered.terms
        self.name = call.exchange.reservation_id
        self.quotas: tuple[Quota, ...] = ()
        self.rate: RateState | None = None
        self.fields: list[tuple[bytes, bytes]] = []
        self._books = books
        self.transfer = Transfer(
            call.arrival,
            call.exchange,
            head,
            call.live.pools[route.upstream],
            BodyCount.for_head(head, route),
        )

    @property
    def keep_ms(self) -> int:
        """How long the record of a reservation is kept after its end."""
        return round(self.rule.keep_s * 1_000)

    def attribute(self, subject: Subject | None) -> None:
        """Its JSON has told whose usage it is."""
        self.call = self.call.attributed(subject)
        assert self.call.entered.terms is not None
        self.terms = self.call.entered.terms

    def took(self, admitted: Admitted) -> None:
        """What was reserved for it is said in the answer."""
        if admitted.granted is not None:
            self.quotas, self.rate = admitted.granted.quotas, admitted.granted.rate

    async def __aenter__(self) -> "Carriage":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.transfer.abandon()

    async def request(self, body: bytes | None) -> AnswerHead:
        """`body`: the client's, taken before; None: it is passed on as it comes."""
        kept = [f for f in self.call.entered.head.headers if f[0].lower() not in _WITHHELD]
        length = None if body is None else len(body)
        request_head = heads.request_head(self.call, headers=kept, length=length)
        return await self.transfer.request(request_head, None, body=body)

    async def document(self, answer: AnswerHead) -> Any:
        """The JSON of an answer, before it is relayed; None if it is none that can be read."""
        body = await self.transfer.read_ahead(answer, ANSWER_BYTES_MAX)
        return None if body is None else json_fields.told(body)

    async def relay(self, answer: AnswerHead) -> bool:
        call = self.call
        asked = not call.arrival.should_close and self.transfer.sent_all
        keep = wire.keeps_client(answer, call.entered.head.version, asked=asked)
        head = heads.answer_head(
            call,
            answer,
            self._books.clock.now_ms(),
            quotas=self.quotas,
            rate=self.rate,
            extra=self.fields,
            keep=keep,
        )
        await self.transfer.relay(head, answer, None)
        return keep


async def known(carriage: Carriage, job_books: JobBooks) -> Job:
    """The account's own job that the path names; raises RefusedError. Another's is as unknown as
    one that never was."""
    job_id = completion.as_read_from_a_path(carriage.call.entered.match.params["job"])
    job = await job_books.jobs.find(carriage.terms.account, carriage.rule.name, job_id)
    if job is None:
        raise RefusedError(Refusal(NO_ROUTE, "there is no such job"))
    return job
