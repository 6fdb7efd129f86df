"""Callbacks: an upstream says by itself how a job is.

    signed        verify → find the job it names → settle
    at our URL    verify the token → ask the upstream → settle → let the client's own URL be called

Whoever knows a URL is not the upstream for sure: a client may have been shown it. So what is said
there only makes the gateway ask, where there is a way to ask. A repeat gets the same answer and
changes nothing.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.admission import callback, completion, json_fields, opening
from gateway.admission.measure import BodyCount
from gateway.catalog.jobs import Callback, JobRule
from gateway.errors import BAD_REQUEST, NO_ROUTE, Refusal
from gateway.proxy import wire
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError
from gateway.proxy.jobs.batch_books import BatchBooks
from gateway.proxy.jobs.books import By, JobBooks
from gateway.proxy.transfer import Transfer
from gateway.records.jobs import Job
from gateway.records.webhooks import NewMessage, Webhooks

log = logging.getLogger(__name__)

ASK_AGAIN_MS = 5_000


@dataclass(frozen=True, slots=True)
class _Said:
    """One callback: of these jobs, and whether it is the upstream's word for sure."""

    body: bytes
    document: Any
    jobs: Sequence[Job]
    signed: bool


class Callbacks:
    """Serves what upstreams call."""

    def __init__(self, books: Books, job_books: JobBooks, webhooks: Webhooks) -> None:
        self._books = books
        self._job_books = job_books
        self._batch_books = BatchBooks(books.ledger, job_books)
        self._webhooks = webhooks

    async def serve(self, call: Call) -> bool:
        call.exchange.target = call.entered.match.route.path  # A token is nothing for a log.
        rule = call.live.catalog.jobs[call.entered.match.route.jobs or ""]
        assert rule.callback is not None, "a route of callbacks is about jobs that have some"
        said = await self._said(call, rule, rule.callback)
        jobs = [await self._heed(job, rule, said) for job in said.jobs]
        for job in jobs:
            await self._relay(job, call, said)
        return _answer(call, jobs[0])

    async def _said(self, call: Call, rule: JobRule, how: Callback) -> _Said:
        """Raises RefusedError."""
        token = call.entered.match.params.get("token")
        named = None if token is None else callback.named_by(token, how.secret, rule.name)
        if token is not None and named is None:
            raise RefusedError(_unknown())
        body = await self._body(call, rule)
        if token is None:
            refusal = callback.judge_signature(
                how, call.entered.head.index, body, self._books.clock.now_ms()
            )
            if refusal is not None:
                raise RefusedError(refusal)
        document = json_fields.told(body)
        if document is None:
            raise RefusedError(Refusal(BAD_REQUEST, "the body is not JSON"))
        job_id = completion.job_id(rule, document, how.id_from)
        jobs: Sequence[Job | None] = []
        if named is not None:
            jobs = [await self._of_token(rule, named, job_id)]
        elif job_id is not None:
            jobs = await self._job_books.jobs.find_anywhere(rule.name, job_id)
        found = [job for job in jobs if job is not None]
        if not found:
            raise RefusedError(_unknown())
        return _Said(body, document, found, signed=token is None)

    async def _body(self, call: Call, rule: JobRule) -> bytes:
        refusal = opening.judge_head(call.entered.head, rule)
        if refusal is not None:
            raise RefusedError(refusal)
        head, pool = call.entered.head, call.live.pools[rule.upstream]
        transfer = Transfer(call.arrival, call.exchange, head, pool, BodyCount())
        body = await transfer.take_body(rule.body_max)
        if body is None:
            raise RefusedError(opening.too_long(rule))
        return body

    async def _of_token(
        self, rule: JobRule, named: tuple[str, str], job_id: str | None
    ) -> Job | None:
        """The job that a URL was made for; of a batch, the one that is spoken of."""
        job = await self._job_books.jobs.get(*named)
        if job is None or job.items is None:
            return job
        return None if job_id is None else await self._batch_books.item(job, rule, job_id)

    async def _heed(self, job: Job, rule: JobRule, said: _Said) -> Job:
        """Raises StoreError: then the upstream comes again, or the watcher finds out."""
        if job.ended is not None:
            return job
        assert rule.callback is not None
        state_from = rule.callback.state_from
        job = await self._named(job, rule, said)
        heard = completion.heard(rule, said.document, state_from)
        if rule.status_path is not None and not (
            said.signed and heard is not None and heard.is_whole(rule)
        ):
            document = await self._job_books.questions.status(job, rule)
            if document is not None:
                return await self._job_books.heed(job, document, By.CALLBACK)
            await self._job_books.jobs.watch(job.account, job.reservation, ASK_AGAIN_MS)
            return job
        return await self._job_books.heed(job, said.document, By.CALLBACK, state_from=state_from)

    async def _named(self, job: Job, rule: JobRule, said: _Said) -> Job:
        """A callback may come before the answer to the opening, or where that had no id."""
        if job.id is not None or rule.callback is None:
            return job
        job_id = completion.job_id(rule, said.document, rule.callback.id_from)
        return job if job_id is None else await self._job_books.name_late(job, rule, job_id)

    async def _relay(self, job: Job, call: Call, said: _Said) -> None:
        if job.webhook is None or said.signed:
            return
        kind = call.entered.head.get(b"content-type") or b"application/json"
        await self._webhooks.add(
            NewMessage(
                job.account,
                job.reservation,
                job.rule,
                job.webhook,
                said.body,
                kind.decode("latin-1"),
            )
        )


def _unknown() -> Refusal:
    return Refusal(NO_ROUTE, "there is no such job")


def _answer(call: Call, job: Job) -> bool:
    """200 and how the job stands: the same for a repeat as for the first."""
    ended = job.ended
    told = {
        "job": job.id,
        "ended": ended is not None,
        "end": None if ended is None else ended.end,
        "outcome": None if ended is None else ended.outcome.value,
        "late": ended is not None and ended.late,
    }
    keep = not call.arrival.should_close and call.arrival.content.is_eof()
    call.exchange.status = 200
    call.exchange.answering = True
    call.arrival.write(
        wire.own_answer(
            200,
            {"Content-Type": "application/json", "X-Request-Id": call.exchange.request_id},
            json.dumps(told).encode(),
            keep_alive=keep,
            client_version=call.entered.head.version,
        )
    )
    return keep
