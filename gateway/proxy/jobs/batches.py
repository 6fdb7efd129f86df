"""Batches: one request that opens many jobs.

    named       the request lists them   → all reserved for in one step, or those that fit → each
                                           named by the answer
    answered    only the answer says how → reserved for as many as there may be → what is held is
                many there are             shared out among them, the rest given back

From there on each is a job like any other.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.admission import completion
from gateway.admission.estimate import Estimate
from gateway.admission.opening import Opening
from gateway.catalog.jobs import Batch
from gateway.errors import StoreError
from gateway.ledger.outcomes import Line
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books
from gateway.proxy.carriage import Carriage
from gateway.proxy.endings import passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.jobs.batch_books import BatchBooks
from gateway.proxy.jobs.books import By, JobBooks
from gateway.records.jobs import Naming, NewJob, item_name

log = logging.getLogger(__name__)

ADMITTED = b"X-Jobs-Admitted"
"""Says which items of a request were let through: their places in its list, from 0."""
ABREAST = 32


class Named:
    """The request lists its jobs. `_kept` are the places of those that were let through."""

    def __init__(
        self, gate: Gate, books: Books, job_books: JobBooks, batch_books: BatchBooks, batch: Batch
    ) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books
        self._batch_books = batch_books
        self._batch = batch
        self._kept: Mapping[int, Mapping[str, int]] = {}

    async def admit(self, carriage: Carriage, wanted: Opening) -> Opening:
        assert wanted.items is not None
        items = {
            item_name(carriage.name, number): [Line.exact(m, a) for m, a in amounts.items()]
            for number, amounts in enumerate(wanted.items)
        }
        call = carriage.call
        outcome = passed(
            await self._gate.admit_many(
                call.entered,
                call.exchange,
                list(items.items()),
                keep_ms=carriage.keep_ms,
                partial=self._batch.partial,
            )
        )
        granted = {one.id for one in outcome.granted}
        self._kept = {
            number: wanted.items[number] for number, name in enumerate(items) if name in granted
        }
        if outcome.granted:
            carriage.quotas = outcome.granted[-1].quotas
        carriage.rate = outcome.rate
        if not self._batch.partial:
            return wanted
        carriage.fields.append((ADMITTED, ", ".join(map(str, self._kept)).encode()))
        return wanted.keeping(self._batch, self._kept)

    async def record(self, carriage: Carriage, new: NewJob) -> None:
        batch = replace(new, reserved={}, items=max(self._kept) + 1)
        await self._batch_books.open(batch, carriage.rule, self._kept)

    async def opened(self, carriage: Carriage, answer: AnswerHead) -> None:
        """The ids are in the order of what was forwarded; what has none was not taken on."""
        ids = completion.job_ids(self._batch, await carriage.document(answer)) or ()
        numbers = list(self._kept)
        for _ in numbers[len(ids) :]:
            self._books.metrics.job_unnamed(carriage.rule.name)
        pairs = list(zip(numbers, ids, strict=False))
        for start in range(0, len(pairs), ABREAST):
            some = pairs[start : start + ABREAST]
            await asyncio.gather(*(self._named(carriage, *pair) for pair in some))

    async def free(self, carriage: Carriage, reason: str) -> None:
        await asyncio.gather(*(self._free(carriage, number, reason) for number in self._kept))
        await _dropped(carriage, self._job_books, carriage.name)

    async def _named(self, carriage: Carriage, number: int, job_id: str | None) -> None:
        if job_id is None:
            await self._free(carriage, number, "job-refused")
            return
        name = item_name(carriage.name, number)
        naming = Naming(carriage.terms.account, name, carriage.rule.name, job_id)

        async def give() -> None:
            await self._job_books.name(naming, carriage.rule)

        await self._job_books.insist(
            give, carriage.rule, what=f"naming {job_id} of {naming.account}"
        )

    async def _free(self, carriage: Carriage, number: int, reason: str) -> None:
        name = item_name(carriage.name, number)
        await self._books.settler.release(carriage.terms.account, name, reason=reason)
        await _dropped(carriage, self._job_books, name)


class Answered:
    """Only the answer says how many jobs there are, or that there is one."""

    def __init__(
        self, gate: Gate, books: Books, job_books: JobBooks, batch_books: BatchBooks, batch: Batch
    ) -> None:
        self._gate = gate
        self._books = books
        self._job_books = job_books
        self._batch_books = batch_books
        self._batch = batch

    async def admit(self, carriage: Carriage, wanted: Opening) -> Opening:
        most = self._batch.most
        lines = tuple(Line.exact(m, amount * most) for m, amount in wanted.amounts.items())
        lasting = Lasting(Estimate(lines), keep_ms=carriage.keep_ms)
        call = carriage.call
        carriage.took(passed(await self._gate.admit(call.entered, call.exchange, lasting)))
        return wanted

    async def record(self, carriage: Carriage, new: NewJob) -> None:
        await self._job_books.open(replace(new, items=0), carriage.rule)

    async def opened(self, carriage: Carriage, answer: AnswerHead) -> None:
        document = await carriage.document(answer)
        rule, account = carriage.rule, carriage.terms.account
        listed = completion.job_ids(self._batch, document)
        ids: Sequence[str | None] = (
            (completion.job_id(rule, document),) if listed is None else listed
        )
        names = list(dict.fromkeys(job_id for job_id in ids if job_id is not None))
        if listed is None and not names:
            self._books.metrics.job_unnamed(rule.name)
            return
        begun = False

        async def share() -> None:
            nonlocal begun
            batch = await self._job_books.jobs.get(account, carriage.name)
            if batch is None:
                self._books.metrics.job_unnamed(rule.name)
                return
            # What an earlier try has set aside and not named yet is to be used first.
            for name in names if begun else ():
                await self._batch_books.item(batch, rule, name)
            begun = True
            await self._batch_books.share(batch, rule, names, self._batch.most)
            if listed is None:
                job = await self._batch_books.item(batch, rule, names[0])
                if job is not None:
                    await self._job_books.heed(job, document, By.OPENING)

        await self._job_books.insist(share, rule, what=f"sharing out a batch of {account}")

    async def free(self, carriage: Carriage, reason: str) -> None:
        account = carriage.terms.account
        await self._books.settler.release(account, carriage.name, reason=reason)
        await _dropped(carriage, self._job_books, carriage.name)


async def _dropped(carriage: Carriage, job_books: JobBooks, name: str) -> None:
    try:
        await job_books.jobs.drop(carriage.terms.account, name)
    except StoreError as failure:
        # A row without a reservation holds nothing, and is forgotten in time.
        log.warning("a row could not be dropped: %s", failure)
