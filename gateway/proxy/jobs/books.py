"""Job books: what becomes of a job's reservation and row, whoever learns how the job is.

Many may learn of one end at once, on any gateway. The ledger decides which of them it was: the
first settlement of the reservation counts, all others change nothing and read the row. The ledger
moves first and the row after it; who dies in between leaves a row that the next one mends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from gateway.admission import completion
from gateway.admission.completion import ChargeIt, FreeIt
from gateway.catalog.jobs import JobEnd, JobRule
from gateway.errors import (
    INTERNAL,
    STORE_UNAVAILABLE,
    UNKNOWN_RESERVATION,
    GatewayError,
    StoreError,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Adjusted, Refused, Settled
from gateway.ledger.reservation import State
from gateway.proxy.call import Books
from gateway.proxy.jobs.questions import JobQuestions
from gateway.proxy.live import Live
from gateway.proxy.recall import Recall
from gateway.records.jobs import Ended, Job, Jobs, Naming, NewJob, Outcome
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0
SPARE_MS = 10_000
"""Of a lease, for an upstream that does not answer at once."""

_OUTCOMES = {
    State.COMMITTED: Outcome.COMMITTED,
    State.RELEASED: Outcome.RELEASED,
    State.EXPIRED: Outcome.EXPIRED,
}


class By(StrEnum):
    """How a job's end was learned."""

    OPENING = "opening"
    STATUS = "status"
    CANCELLATION = "cancellation"
    CALLBACK = "callback"
    WATCHER = "watcher"


class JobBooks:
    """Everything raises StoreError. Then nothing is lost: the row is open, and whoever learns of
    the end next comes again."""

    def __init__(
        self,
        books: Books,
        jobs: Jobs,
        questions: JobQuestions,
        recall: Recall,
        live: Callable[[], Live],
    ) -> None:
        self.jobs = jobs
        self.questions = questions
        self._ledger = books.ledger
        self._settler = books.settler
        self._clock = books.clock
        self._metrics = books.metrics
        self._recall = recall
        self._live = live
        self._tasks = TaskSet()

    async def stop(self) -> None:
        await self._tasks.stop()

    async def insist(
        self, work: Callable[[], Awaitable[None]], rule: JobRule, *, what: str
    ) -> None:
        """Do what an answer of the upstream demands, of which a repeat changes nothing. A store
        that does not take it now has it until it does: the client hears meanwhile, and what nobody
        else could tell is not forgotten."""
        if not await self._taken(work, rule, what):
            self._tasks.start(self._until_taken(work, rule, what), name=what)

    async def _until_taken(
        self, work: Callable[[], Awaitable[None]], rule: JobRule, what: str
    ) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_MOST_S, wait_s * 2)
            if await self._taken(work, rule, what):
                return

    async def _taken(self, work: Callable[[], Awaitable[None]], rule: JobRule, what: str) -> bool:
        """Whether there is nothing more to be done."""
        try:
            await work()
        except StoreError as failure:
            self._metrics.store_error(failure.error)
            if failure.transient:
                log.warning("%s is done later: %s", what, failure)
                return False
            self._metrics.job_unnamed(rule.name)
            log.error("%s failed: %s", what, failure)
        return True

    async def open(self, new: NewJob, rule: JobRule) -> None:
        """Record a job whose reservation was just made, and let it live as long as a job does."""
        lease_ms = lease_ms_of(rule)
        await self.record(new, rule)
        if await self._ledger.extend(new.account, (new.reservation,), lease_ms):
            raise StoreError(STORE_UNAVAILABLE, "the store took too long", transient=True)

    async def record(self, new: NewJob, rule: JobRule) -> None:
        """The row alone."""
        await self.jobs.open(new, lease_ms=lease_ms_of(rule), keep_ms=_keep_ms(rule))
        await self.jobs.watch(new.account, new.reservation, first_look_ms(rule))

    async def name(self, naming: Naming, rule: JobRule) -> Job | None:
        """The job that has the name now. An upstream may answer an opening with a job that it has
        already: then nothing more is held for it. A name of one that has ended may come again, and
        is another job's then. None: the job is called otherwise."""
        account, reservation = naming.account, naming.reservation
        keep_ms = _keep_ms(rule)
        holder = await self.jobs.name(naming, keep_ms=keep_ms)
        if holder is not None and holder != reservation and await self._is_over(naming, holder):
            holder = await self.jobs.name(naming, keep_ms=keep_ms, instead_of=holder)
        if holder is not None and holder != reservation:
            await self._ledger.release(account, reservation, reason="job-known")
            await self.jobs.drop(account, reservation)
        return None if holder is None else await self.jobs.get(account, holder)

    async def _is_over(self, naming: Naming, holder: str) -> bool:
        """Whether the job of that name has ended, or is forgotten. Within a batch a name is one
        job's: it may be heard of twice at once."""
        before = await self.jobs.get(naming.account, holder)
        if before is None or before.ended is None:
            return before is None
        batch = naming.reservation.rpartition(".")[0]
        return not batch or before.batch != batch

    async def name_late(self, job: Job, rule: JobRule, job_id: str) -> Job:
        """The job, named by what the upstream called back with."""
        naming = Naming(job.account, job.reservation, rule.name, job_id)
        return await self.name(naming, rule) or job

    async def terms(self, job: Job) -> Terms:
        """Those that its reservation was made by, as they are now. Raises GatewayError."""
        terms = await self._recall.terms(job.account, job.key_id, job.subject)
        if terms is None:
            raise GatewayError(INTERNAL, f"account {job.account} has no terms")
        return terms

    def rule_of(self, job: Job) -> JobRule | None:
        """None: the configuration does not have it any more."""
        return self._live().catalog.jobs.get(job.rule)

    async def heed(self, job: Job, document: Any, by: By, *, state_from: str | None = None) -> Job:
        """Settle or extend by what the upstream says of a job; the job as it is then."""
        rule = self.rule_of(job)
        if rule is None or job.ended is not None:
            return job
        heard = completion.heard(rule, document, state_from)
        if heard is None:
            return job
        if heard.end is None:
            return await self._alive(job, rule)
        sizes = {meter: await self.questions.size(url, rule) for meter, url in heard.urls.items()}
        known = {meter: size for meter, size in sizes.items() if size is not None}
        return await self.end(job, heard.end, {**heard.actual, **known}, by=by)

    async def end(self, job: Job, end: JobEnd, actual: Mapping[str, int], *, by: By) -> Job:
        """The job as it has ended, by this or before."""
        rule = self.rule_of(job)
        if job.ended is not None or rule is None:
            return job
        terms = await self.terms(job)
        decided = completion.settlement(rule, job.reserved, end, actual)
        asset = completion.asset_of(rule, job.id) if end is JobEnd.COMPLETED else None
        outcome, late = await self._settle(job, terms, decided, asset)
        used: Mapping[str, int] = {}
        if outcome is Outcome.COMMITTED and isinstance(decided, ChargeIt):
            used = decided.actual
            if asset is not None and self._live().owners_matter:
                await self._settler.own(terms, asset)
        job, first = await self.jobs.end(job, Ended(end.value, by.value, outcome, late, used))
        if first:
            self._metrics.job_ended(job.rule, end.value, by.value)
        await self.jobs.unwatch(job)
        return job

    async def _alive(self, job: Job, rule: JobRule) -> Job:
        """It shows life: extend its lease once half of it is over, within its lifetime."""
        now_ms = self._clock.now_ms()
        left_ms = job.opened_ms + _ms(rule.lifetime_s) - now_ms
        lease_ms = min(_ms(rule.lease_s), left_ms)
        if now_ms + lease_ms // 2 < job.lease_end_ms or lease_ms <= 0:
            return job
        if await self._ledger.extend(job.account, (job.reservation,), lease_ms):
            return job
        await self.jobs.extended(job, lease_ms)
        return replace(job, lease_end_ms=now_ms + lease_ms)

    async def _settle(
        self, job: Job, terms: Terms, decided: ChargeIt | FreeIt, asset: str | None
    ) -> tuple[Outcome, bool]:
        """What became of the reservation, and whether that was after its lease."""
        settled: Settled | Adjusted | Refused
        match decided:
            case ChargeIt(actual):
                known = {meter: amount for meter, amount in actual.items() if meter in terms.meters}
                settled = await self._ledger.commit(terms, job.reservation, known, asset=asset)
                if isinstance(settled, Refused) and settled.error is UNKNOWN_RESERVATION:
                    # So late that its record is forgotten: charged all the same, once by its id.
                    settled = await self._ledger.adjust(
                        terms, job.reservation, known, reason="late"
                    )
            case FreeIt(reason):
                settled = await self._ledger.release(job.account, job.reservation, reason=reason)
        match settled:
            case Settled():
                if not settled.replayed:
                    self._metrics.settled(settled, "job")
                return _OUTCOMES[settled.state], settled.late
            case Adjusted():
                return Outcome.COMMITTED, True
            case Refused(state=State() as state) if state in _OUTCOMES:
                return _OUTCOMES[state], False  # Somebody else was first.
            case Refused(error=error) if error is UNKNOWN_RESERVATION:
                return Outcome.EXPIRED, False
        raise GatewayError(settled.error, settled.detail)


def lease_ms_of(rule: JobRule) -> int:
    """How long a job that has just been opened may show no life."""
    return _ms(min(rule.lease_s, rule.lifetime_s))


def _keep_ms(rule: JobRule) -> int:
    return _ms(rule.lifetime_s + rule.keep_s)


def first_look_ms(rule: JobRule) -> int:
    """When the watcher looks at a job that has just been opened: in time to extend its lease, where
    it can ask; else when that is over."""
    lease_ms = lease_ms_of(rule)
    if rule.status_path is None:
        return lease_ms
    return near_the_end_ms(lease_ms) if rule.poll_every_s is None else _ms(rule.poll_every_s)


def near_the_end_ms(left_ms: int) -> int:
    """When to ask about a job whose lease runs so long: with time left to ask again."""
    return max(left_ms // 2, min(left_ms * 3 // 4, left_ms - SPARE_MS))


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
