"""Batch books: many jobs of one request, each with a reservation and a row of its own.

A batch has a row, too, under the reservation that the request was given: who calls back at the URL
of a batch is told apart by the job that it names. Rows are written before reservations are shared
out: a job that is known and has no part yet is charged all the same, once, when it has ended; what
was held for it in vain is free again with its lease.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.catalog.jobs import JobRule
from gateway.errors import INVALID_AMOUNT, STORE_UNAVAILABLE, StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Line, Refused
from gateway.ledger.reservation import State
from gateway.proxy.jobs.books import By, JobBooks, lease_ms_of
from gateway.records.jobs import Ended, Job, Naming, NewJob, Outcome, item_name

BATCH = "batch"
"""How the row of a batch has ended: its jobs speak for themselves."""


class BatchBooks:
    """Everything raises StoreError."""

    def __init__(self, ledger: Ledger, job_books: JobBooks) -> None:
        self._ledger = ledger
        self._job_books = job_books
        self._jobs = job_books.jobs

    async def open(
        self, batch: NewJob, rule: JobRule, items: Mapping[int, Mapping[str, int]]
    ) -> None:
        """Record a batch whose jobs are reserved for, by their number in it, and let them live."""
        await self._job_books.record(batch, rule)
        await self._close(await self._row(batch))
        await self._record(batch, rule, items)
        names = [item_name(batch.reservation, number) for number in items]
        if await self._ledger.extend(batch.account, names, lease_ms_of(rule)):
            raise StoreError(STORE_UNAVAILABLE, "the store took too long", transient=True)

    async def share(self, batch: Job, rule: JobRule, ids: Sequence[str], most: int) -> None:
        """Give each of the jobs that an answer names its part of what was held for `most`, and
        give back the rest."""
        fresh = [job_id for job_id in ids if await self._known(batch, job_id) is None]
        if fresh:
            await self._add(batch, rule, fresh, most)
        await self._ledger.release(batch.account, batch.reservation, reason="job-batch")
        await self._close(batch)

    async def item(self, batch: Job, rule: JobRule, job_id: str) -> Job | None:
        """The job of a batch that the upstream calls so, also if that is heard for the first time:
        from who calls back before the answer, or because a gateway died with it."""
        known = await self._known(batch, job_id)
        if known is not None:
            return known
        for item in await self._jobs.items_of(batch):
            naming = Naming(batch.account, item.reservation, batch.rule, job_id)
            if item.id is None and (job := await self._job_books.name(naming, rule)):
                return job
        if batch.ended is not None:
            return None
        await self._add(batch, rule, [job_id], 1)
        return await self._known(batch, job_id)

    async def _known(self, batch: Job, job_id: str) -> Job | None:
        found = await self._jobs.find(batch.account, batch.rule, job_id)
        return found if found is not None and found.batch == batch.reservation else None

    async def _add(self, batch: Job, rule: JobRule, ids: Sequence[str], most: int) -> None:
        terms = await self._job_books.terms(batch)
        first = await self._jobs.add_items(batch, len(ids))
        new = NewJob(
            batch.reservation,
            batch.account,
            batch.rule,
            batch.reserved,
            batch.key_id,
            batch.subject,
            batch.webhook,
            params=batch.params,
        )
        numbers = range(first, first + len(ids))
        await self._record(new, rule, dict.fromkeys(numbers, batch.reserved))
        names = [item_name(batch.reservation, number) for number in numbers]
        await self._split(terms, batch, rule, names, most)
        for name, job_id in zip(names, ids, strict=True):
            await self._job_books.name(Naming(batch.account, name, batch.rule, job_id), rule)

    async def _split(
        self, terms: Terms, batch: Job, rule: JobRule, names: Sequence[str], most: int
    ) -> None:
        """Each its part. Where there are more than was held for, more is asked for; if there is no
        room for that, the last ones have no part: they are charged when they end."""
        lease_ms, each = lease_ms_of(rule), batch.reserved
        outcome = await self._ledger.split(
            terms, batch.reservation, [(name, each) for name in names], lease_ms=lease_ms
        )
        short = isinstance(outcome, Refused) and outcome.error is INVALID_AMOUNT
        if not short or not isinstance(outcome, Refused) or outcome.state is not State.OPEN:
            return
        lines = [Line.exact(meter, amount * len(names)) for meter, amount in each.items()]
        grown = await self._ledger.grow(terms, batch.reservation, lines)
        fit = names if isinstance(grown, Granted) else names[:most]
        await self._ledger.split(
            terms, batch.reservation, [(name, each) for name in fit], lease_ms=lease_ms
        )

    async def _record(
        self, batch: NewJob, rule: JobRule, items: Mapping[int, Mapping[str, int]]
    ) -> None:
        for number, reserved in items.items():
            name = item_name(batch.reservation, number)
            one = replace(
                batch, reservation=name, reserved=reserved, batch=batch.reservation, items=None
            )
            await self._job_books.record(one, rule)

    async def _row(self, batch: NewJob) -> Job:
        row = await self._jobs.get(batch.account, batch.reservation)
        assert row is not None, "it was written just now"
        return row

    async def _close(self, batch: Job) -> None:
        await self._jobs.end(batch, Ended(BATCH, By.OPENING.value, Outcome.RELEASED))
        await self._jobs.unwatch(batch)
