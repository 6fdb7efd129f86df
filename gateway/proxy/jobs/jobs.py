"""Jobs: requests that open work which outlives them, ask how it is, and call it off.

    open     take the JSON → reserve → row → long lease → forward → name the row → relay
    status   find the row → forward → settle or extend by what the upstream says → relay
    cancel   find the row → ask how it is → forward → settle → relay

A path with {job} opens work on a job of the account's that was there before: it needs no JSON, and
the job keeps its name unless the answer gives another.

The ledger moves before the client hears. A gateway that dies before the long lease leaves nothing
that outlives the short one; after it, the row tells what is open. An upstream that accepted a job
without naming it, or did not answer, leaves the reservation to whoever learns of its end, else to
its lease.
"""

import logging
from typing import Any, Protocol

from gateway.admission import callback, completion, opening, settle
from gateway.admission.estimate import Estimate
from gateway.admission.opening import Opening
from gateway.catalog.jobs import JobEnd
from gateway.errors import Refusal, StoreError
from gateway.ledger.outcomes import Line
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.carriage import Carriage, known
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.jobs.batch_books import BatchBooks
from gateway.proxy.jobs.batches import Answered, Named
from gateway.proxy.jobs.books import By, JobBooks
from gateway.records.jobs import Job, Naming, NewJob

log = logging.getLogger(__name__)

AGAIN = "job"
"""The parameter of a path that opens work on a job which was there before."""

RATE_ONLY = Lasting(Estimate(()))
"""Asking about a job reserves nothing, and counts as a request."""


class Undertaking(Protocol):
    """How a request opens its jobs, or its job."""

    async def admit(self, carriage: Carriage, wanted: Opening) -> Opening:
        """Reserve what is wanted; returns what of it goes upstream. Raises what `passed` does."""
        ...

    async def record(self, carriage: Carriage, new: NewJob) -> None:
        """The rows, then the long leases. Raises StoreError."""
        ...

    async def opened(self, carriage: Carriage, answer: AnswerHead) -> None:
        """Learn the names of the jobs. Whatever goes wrong here, they run and their client has to
        hear of it; leases hold what they may use."""
        ...

    async def free(self, carriage: Carriage, reason: str) -> None:
        """Nothing was opened."""
        ...


class JobOpenings:
    """Serves the requests that open jobs."""

    def __init__(self, gate: Gate, books: Books, job_books: JobBooks) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books
        self._batch_books = BatchBooks(books.ledger, job_books)

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        wanted = await self._wanted(carriage)
        carriage.attribute(wanted.subject)
        undertaking = self._undertaking(carriage, wanted)
        wanted = await undertaking.admit(carriage, wanted)
        answer = await self._forward(carriage, undertaking, wanted)
        async with carriage:
            if settle.commits(carriage.route, answer.status):
                await undertaking.opened(carriage, answer)
            else:
                await undertaking.free(carriage, settle.Reason.STATUS)
            return await carriage.relay(answer)

    def _undertaking(self, carriage: Carriage, wanted: Opening) -> Undertaking:
        batch = carriage.route.batch
        if batch is None or (batch.items_from is not None and wanted.items is None):
            return Single(self._gate, self._books, self._job_books)
        kind = Answered if wanted.items is None else Named
        return kind(self._gate, self._books, self._job_books, self._batch_books, batch)

    async def _wanted(self, carriage: Carriage) -> Opening:
        """What the request asks for, and what goes upstream: the client's own JSON, but for a URL
        that is called. Raises RefusedError: the upstream hears of nothing."""
        rule, terms = carriage.rule, carriage.terms
        head = carriage.call.entered.head
        if opening.is_creation(head):
            created = opening.judge_creation(head, carriage.route, terms.plan, rule)
            if isinstance(created, Refusal):
                raise RefusedError(created)
            return created
        if AGAIN in carriage.call.entered.match.params:
            await known(carriage, self._job_books)
            if not head.has_body:
                again = opening.judge_again(carriage.route, terms.plan, rule)
                if isinstance(again, Refusal):
                    raise RefusedError(again)
                return again
        refusal = opening.judge_head(head, rule)
        if refusal is not None:
            raise RefusedError(refusal)
        body = await carriage.transfer.take_body(rule.body_max)
        if body is None:
            raise RefusedError(opening.too_long(rule))
        wanted = opening.judge(body, carriage.route, terms.plan, rule)
        if isinstance(wanted, Opening) and rule.webhook is not None and rule.callback is not None:
            token = callback.token(rule.callback.secret, rule.name, terms.account, carriage.name)
            wanted = wanted.calling_back(rule.webhook.member, f"{rule.webhook.url}/{token}")
        if isinstance(wanted, Refusal):
            raise RefusedError(wanted)
        return wanted

    async def _forward(
        self, carriage: Carriage, undertaking: Undertaking, wanted: Opening
    ) -> AnswerHead:
        terms, rule = carriage.terms, carriage.rule
        new = NewJob(
            carriage.name,
            terms.account,
            rule.name,
            wanted.amounts,
            terms.key_id,
            terms.subject,
            wanted.webhook,
            params=carriage.call.entered.match.params,
        )
        try:
            await undertaking.record(carriage, new)
            return await carriage.request(wanted.body)
        except BaseException as failure:
            # Also when cancelled: what was set aside is free again, or known to be in doubt.
            carriage.transfer.abandon()
            facts = settle.Exchange(
                carriage.route, carriage.transfer.sent_all, failure=kind_of(failure)
            )
            match settle.decide(facts):
                case settle.ReleaseIt(reason):
                    await undertaking.free(carriage, reason)
                case _:
                    self._books.metrics.job_unnamed(rule.name)
                    if carriage.call.exchange.named is not None:
                        carriage.call.exchange.named.in_doubt = True
            raise


class Single:
    """One request, one job."""

    def __init__(self, gate: Gate, books: Books, job_books: JobBooks) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books

    async def admit(self, carriage: Carriage, wanted: Opening) -> Opening:
        lines = tuple(Line.exact(meter, amount) for meter, amount in wanted.amounts.items())
        lasting = Lasting(Estimate(lines), keep_ms=carriage.keep_ms)
        call = carriage.call
        carriage.took(passed(await self._gate.admit(call.entered, call.exchange, lasting)))
        return wanted

    async def record(self, carriage: Carriage, new: NewJob) -> None:
        await self._job_books.open(new, carriage.rule)

    async def opened(self, carriage: Carriage, answer: AnswerHead) -> None:
        rule, account = carriage.rule, carriage.terms.account
        document = await carriage.document(answer)
        job_id = completion.job_id(rule, document) or completion.id_in_head(rule, answer.headers)
        again = carriage.call.entered.match.params.get(AGAIN)
        if job_id is None and again is not None:
            job_id = completion.as_read_from_a_path(again)
        if job_id is None:
            log.warning("the upstream accepted one of the jobs %s without naming it", rule.name)
            self._books.metrics.job_unnamed(rule.name)
            return
        naming = Naming(account, carriage.name, rule.name, job_id)

        async def name() -> None:
            job = await self._job_books.name(naming, rule)
            if job is not None:
                await self._heed(job, document)

        await self._job_books.insist(name, rule, what=f"naming {job_id} of {account}")

    async def free(self, carriage: Carriage, reason: str) -> None:
        account = carriage.terms.account
        await self._books.settler.release(account, carriage.name, reason=reason)
        try:
            await self._job_books.jobs.drop(account, carriage.name)
        except StoreError as failure:
            # A row without a reservation holds nothing, and is forgotten in time.
            self._books.metrics.store_error(failure.error)

    async def _heed(self, job: Job, document: Any) -> None:
        """The answer may say already that the job is done."""
        try:
            await self._job_books.heed(job, document, By.OPENING)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)


class JobStatuses:
    """Serves the requests that ask how a job is."""

    def __init__(self, gate: Gate, books: Books, job_books: JobBooks) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        carriage.took(passed(await self._gate.admit(call.entered, call.exchange, RATE_ONLY)))
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

    def __init__(self, gate: Gate, books: Books, job_books: JobBooks) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books

    async def serve(self, call: Call) -> bool:
        carriage = Carriage(call, self._books)
        carriage.took(passed(await self._gate.admit(call.entered, call.exchange, RATE_ONLY)))
        job = await known(carriage, self._job_books)
        async with carriage:
            await self._ask_first(carriage, job)
            answer = await carriage.request(None)
            if 200 <= answer.status < 300:
                await self._called_off(carriage, job, answer)
            return await carriage.relay(answer)

    async def _ask_first(self, carriage: Carriage, job: Job) -> None:
        """What is done already is charged, and is not made undone by being called off."""
        if job.ended is None:
            document = await self._job_books.questions.status(job, carriage.rule)
            await self._job_books.heed(job, document, By.CANCELLATION)

    async def _called_off(self, carriage: Carriage, job: Job, answer: AnswerHead) -> None:
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
