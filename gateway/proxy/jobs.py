"""Jobs: requests that open work which outlives them, ask how it is, and call it off.

    open     take the JSON → reserve → row → long lease → forward → name the row → relay
    status   find the row → forward → settle or extend by what the upstream says → relay
    cancel   find the row → ask how it is → forward → settle → relay

The ledger moves before the client hears. A gateway that dies before the long lease leaves nothing
that outlives the short one; after it, the row tells what is open. An upstream that accepted a job
without naming it, or did not answer, leaves the reservation to whoever learns of its end, else to
its lease.
"""

import logging
from typing import Any

from gateway.admission import callback, completion, json_fields, opening, settle
from gateway.admission.estimate import Estimate
from gateway.admission.measure import BodyCount
from gateway.admission.opening import Opening
from gateway.catalog.jobs import JobEnd, JobRule
from gateway.errors import NO_ROUTE, Refusal, StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Line
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Admitted, Gate, Lasting
from gateway.proxy.job_books import By, JobBooks
from gateway.proxy.transfer import Transfer
from gateway.records.jobs import Job, Naming, NewJob

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 1024 * 1024
"""The most of an upstream's answer that is looked at for what it says of a job."""

_WITHHELD = frozenset({b"accept-encoding", b"range", b"if-range", b"if-none-match",
                       b"if-modified-since"})  # fmt: skip
"""Fields of a request that would keep the gateway from reading its answer."""


class JobOpenings:
    """Serves the requests that open jobs."""

    def __init__(self, gate: Gate, books: Books, job_books: JobBooks) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        wanted = await self._wanted(carriage)
        lines = tuple(Line.exact(meter, amount) for meter, amount in wanted.amounts.items())
        lasting = Lasting(Estimate(lines), keep_ms=round(carriage.rule.keep_s * 1_000))
        admitted = passed(await self._gate.admit(call.entered, call.exchange, lasting))
        answer = await self._forward(carriage, wanted)
        async with carriage:
            if settle.commits(carriage.route, answer.status):
                await self._opened(carriage, answer)
            else:
                await self._not_opened(carriage, settle.Reason.STATUS)
            return await carriage.relay(answer, admitted)

    async def _wanted(self, carriage: "Carriage") -> Opening:
        """What the request asks for. Raises RefusedError: the upstream hears of nothing."""
        rule, terms = carriage.rule, carriage.terms
        refusal = opening.judge_head(carriage.call.entered.head, rule)
        if refusal is not None:
            raise RefusedError(refusal)
        body = await carriage.transfer.take_body(rule.body_max)
        if body is None:
            raise RefusedError(opening.too_long(rule))
        wanted = opening.judge(body, carriage.route, terms.plan, rule)
        if isinstance(wanted, Refusal):
            raise RefusedError(wanted)
        return wanted

    async def _forward(self, carriage: "Carriage", wanted: Opening) -> AnswerHead:
        terms, rule = carriage.terms, carriage.rule
        name = carriage.call.exchange.reservation_id
        try:
            body = _going_up(carriage, wanted)
            await self._job_books.open(
                NewJob(
                    name,
                    terms.account,
                    rule.name,
                    wanted.amounts,
                    terms.key_id,
                    terms.subject,
                    wanted.webhook,
                ),
                rule,
            )
            return await carriage.request(body)
        except BaseException as failure:
            # Also when cancelled: what was set aside is free again, or known to be in doubt.
            carriage.transfer.abandon()
            facts = settle.Exchange(
                carriage.route, carriage.transfer.sent_all, failure=kind_of(failure)
            )
            match settle.decide(facts):
                case settle.ReleaseIt(reason):
                    await self._not_opened(carriage, reason)
                case _:
                    self._books.metrics.job_unnamed(rule.name)
            raise

    async def _opened(self, carriage: "Carriage", answer: AnswerHead) -> None:
        """Learn the job's name. Whatever goes wrong here, the job runs and its client has to hear
        of it; the lease holds what it may use."""
        rule, account = carriage.rule, carriage.terms.account
        document = await carriage.document(answer)
        job_id = completion.job_id(rule, document)
        if job_id is None:
            log.warning("the upstream accepted one of the jobs %s without naming it", rule.name)
            self._books.metrics.job_unnamed(rule.name)
            return
        naming = Naming(account, carriage.call.exchange.reservation_id, rule.name, job_id)
        try:
            job = await self._job_books.name(naming, rule)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)
            self._books.metrics.job_unnamed(rule.name)
            log.error("job %s of account %s could not be named: %s", job_id, account, failure)
            return
        if job is not None:
            await self._heed(job, document)

    async def _heed(self, job: Job, document: Any) -> None:
        """The answer may say already that the job is done."""
        try:
            await self._job_books.heed(job, document, By.OPENING)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)

    async def _not_opened(self, carriage: "Carriage", reason: str) -> None:
        account, name = carriage.terms.account, carriage.call.exchange.reservation_id
        await self._books.settler.release(account, name, reason=reason)
        try:
            await self._job_books.jobs.drop(account, name)
        except StoreError as failure:
            # A row without a reservation holds nothing, and is forgotten in time.
            self._books.metrics.store_error(failure.error)


def _going_up(carriage: "Carriage", wanted: Opening) -> bytes:
    """The JSON that goes upstream: the client's own, but for a URL that is called."""
    rule, name = carriage.rule, carriage.call.exchange.reservation_id
    if rule.webhook is None or rule.callback is None:
        return wanted.body
    token = callback.token(rule.callback.secret, rule.name, carriage.terms.account, name)
    changed = wanted.calling_back(rule.webhook.member, f"{rule.webhook.url}/{token}")
    if isinstance(changed, Refusal):
        raise RefusedError(changed)
    return changed


class JobStatuses:
    """Serves the requests that ask how a job is."""

    def __init__(self, books: Books, job_books: JobBooks) -> None:
        self._books = books
        self._job_books = job_books

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        job = await known(carriage, self._job_books)
        async with carriage:
            answer = await carriage.request(None)
            if 200 <= answer.status < 300:
                document = await carriage.document(answer)
                try:
                    await self._job_books.heed(job, document, By.STATUS)
                except StoreError as failure:
                    # Nothing is lost: the next one who hears of the end settles it.
                    self._books.metrics.store_error(failure.error)
            return await carriage.relay(answer)


class JobCancels:
    """Serves the requests that call a job off."""

    def __init__(self, books: Books, job_books: JobBooks) -> None:
        self._books = books
        self._job_books = job_books

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        job = await known(carriage, self._job_books)
        async with carriage:
            await self._ask_first(carriage, job)
            answer = await carriage.request(None)
            if 200 <= answer.status < 300:
                await self._called_off(carriage, job, answer)
            return await carriage.relay(answer)

    async def _ask_first(self, carriage: "Carriage", job: Job) -> None:
        """What is done already is charged, and is not made undone by being called off."""
        if job.ended is None:
            document = await self._job_books.questions.status(job, carriage.rule)
            await self._job_books.heed(job, document, By.CANCELLATION)

    async def _called_off(self, carriage: "Carriage", job: Job, answer: AnswerHead) -> None:
        """The upstream may say how the job is now; else it is called off, unless (202) that is
        still to be done."""
        document = await carriage.document(answer)
        try:
            if completion.heard(carriage.rule, document) is not None:
                await self._job_books.heed(job, document, By.CANCELLATION)
            elif answer.status != 202:
                await self._job_books.end(job, JobEnd.CANCELLED, {}, by=By.CANCELLATION)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)


class Carriage:
    """One request about jobs on its way to the upstream and back. As a context: what breaks off
    is broken off on both sides."""

    def __init__(self, call: Call, books: Books) -> None:
        head, route = call.entered.head, call.entered.match.route
        assert route.jobs is not None, "a route about jobs names their rule"
        assert call.entered.terms is not None, "a job belongs to an account"
        self.call = call
        self.route = route
        self.rule: JobRule = call.live.catalog.jobs[route.jobs]
        self.terms: Terms = call.entered.terms
        self._books = books
        self.transfer = Transfer(
            call.arrival,
            call.exchange,
            head,
            call.live.pools[route.upstream],
            BodyCount.for_head(head, route),
        )

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

    async def relay(self, answer: AnswerHead, admitted: Admitted | None = None) -> bool:
        call = self.call
        asked = not call.arrival.should_close and self.transfer.sent_all
        keep = wire.keeps_client(answer, call.entered.head.version, asked=asked)
        granted = None if admitted is None else admitted.granted
        head = heads.answer_head(
            call,
            answer,
            self._books.clock.now_ms(),
            quotas=() if granted is None else granted.quotas,
            rate=None if granted is None else granted.rate,
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
