"""Watcher: asks upstreams about jobs of which nobody has told the end.

    claim what is due → ask → settle, or extend the lease and look again later
                          lease over and no word → note that the job is missing

Every gateway takes part; what one has claimed is not due for the others, until the claim of a
gateway that died has run out. A gateway asks about `ABREAST` jobs at a time and `ROUND_MAX` in a
round. What a missing job held is free again; if its end is told after all, it is charged late.
"""

import asyncio
import logging

from gateway.catalog.jobs import JobRule
from gateway.clock import ALONE, Turns
from gateway.errors import GatewayError, StoreError
from gateway.proxy.jobs.books import By, JobBooks, near_the_end_ms
from gateway.records.jobs import Job
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

ROUND_S = 1.0
ROUND_MAX = 64
ABREAST = 8
CLAIM_MS = 60_000
"""More than the questions about one job take at most."""
LEAST_MS = 500
AGAIN_MOST_MS = 30_000
"""Between two questions that were not answered."""


class Watcher:
    def __init__(self, job_books: JobBooks, metrics: Metrics) -> None:
        self._job_books = job_books
        self._metrics = metrics
        self._tasks = TaskSet()

    def start(self, turns: Turns = ALONE) -> None:
        self._tasks.start(self._run(turns), name="watcher of jobs")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def round(self) -> int:
        """Look at what is due; how many that was. Raises StoreError."""
        looked = 0
        while looked < ROUND_MAX:
            now_ms, due = await self._job_books.jobs.claim(ABREAST, claim_ms=CLAIM_MS)
            looks = (self._look(job, now_ms) for job in due)
            for failure in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(failure, GatewayError):
                    log.warning("a job could not be looked at: %s", failure)
                elif isinstance(failure, BaseException):
                    raise failure
            looked += len(due)
            if len(due) < ABREAST:
                break
        return looked

    async def _look(self, job: Job, now_ms: int) -> None:
        rule = self._job_books.rule_of(job)
        if rule is None or job.ended is not None:
            await self._job_books.jobs.unwatch(job)
            return
        document = await self._job_books.questions.status(job, rule)
        if rule.status_path is not None and job.id is not None:
            self._metrics.job_asked(job.rule, "answered" if document is not None else "failed")
        after = await self._job_books.heed(job, document, By.WATCHER)
        if after.ended is not None:
            return
        left_ms = after.lease_end_ms - now_ms
        if left_ms <= 0:
            await self._miss(after)
        else:
            again_ms = _again_ms(rule, left_ms, answered=document is not None)
            await self._job_books.jobs.watch(job.account, job.reservation, again_ms)

    async def _miss(self, job: Job) -> None:
        if await self._job_books.jobs.miss(job):
            self._metrics.job_ended(job.rule, "missing", By.WATCHER.value)
            log.warning("job %s of %s is missing: its lease is over", job.id, job.account)
        await self._job_books.jobs.unwatch(job)

    async def _run(self, turns: Turns) -> None:
        while True:
            try:
                await self.round()
            except StoreError as failure:
                log.warning("jobs could not be looked at: %s", failure)
            await asyncio.sleep(turns.wait_s(ROUND_S))


def _again_ms(rule: JobRule, left_ms: int, *, answered: bool) -> int:
    """When to look again, given how long the lease still runs."""
    if rule.status_path is None:
        return left_ms
    if answered:
        every_ms = near_the_end_ms(left_ms)
        if rule.poll_every_s is not None:
            every_ms = round(rule.poll_every_s * 1_000)
        return max(LEAST_MS, min(every_ms, left_ms))
    return max(LEAST_MS, min(left_ms // 4, AGAIN_MOST_MS))
