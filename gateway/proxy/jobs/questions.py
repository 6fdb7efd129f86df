"""Job questions: what the gateway asks by itself to learn how a job is and what it used.

An answer that does not come, or says nothing, is no answer: whoever asked decides what then.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from gateway.admission import completion, json_fields, lengths
from gateway.admission.destinations import destination, is_listed
from gateway.admission.routing import filled
from gateway.catalog.jobs import JobRule
from gateway.catalog.meters import is_amount
from gateway.errors import Refusal, UpstreamError
from gateway.proxy.asking import Question, Told, ask_upstream
from gateway.proxy.live import Live
from gateway.proxy.outside import Outside
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.wire import Fields
from gateway.records.jobs import Job

QUESTION_S = 10.0

log = logging.getLogger(__name__)


class JobQuestions:
    def __init__(self, live: Callable[[], Live], outside: Outside) -> None:
        self._live = live
        self._outside = outside

    async def status(self, job: Job, rule: JobRule) -> Any:
        """The upstream's status answer; None if there is none to be had."""
        if rule.status_path is None or job.id is None:
            return None
        pool = self._live().pools[rule.upstream]
        # The names in the path are those it was opened by, as its client wrote them.
        names = {**job.params, "job": completion.as_written_in_a_path(job.id)}
        target = filled(rule.status_path, names)
        fields = [(n.encode(), v.encode()) for n, v in rule.status_headers.items()]
        question = Question(
            "GET", target, pool.address.authority, [(b"Accept", b"application/json"), *fields]
        )
        try:
            async with asyncio.timeout(QUESTION_S):
                told = await ask_upstream(pool, question)
        except (UpstreamError, TimeoutError) as failure:
            log.info("a question about a job was not answered: %s", failure)
            return None
        return json_fields.told(told.body) if 200 <= told.status < 300 else None

    async def size(self, url: str, rule: JobRule) -> int | None:
        """The length of what is at a URL that the upstream named; None if it cannot be known."""
        try:
            async with asyncio.timeout(QUESTION_S):
                told = await self._head(url, rule)
        except (UpstreamError, TimeoutError) as failure:
            log.info("a size was not told: %s", failure)
            return None
        size = None if told is None else lengths.told(told.status, told.length, told.headers)
        return size if is_amount(size) else None

    async def _head(self, url: str, rule: JobRule) -> Told | None:
        """By HEAD; where that is refused, as by presigned URLs that are good for GET only, by the
        first byte. None: the URL is neither of an upstream nor of a host that may be asked."""
        told = await self._ask(url, rule, "HEAD")
        if told is not None and told.status in lengths.HEAD_REFUSED:
            return await self._ask(url, rule, "GET", lengths.FIRST_BYTE)
        return told

    async def _ask(self, url: str, rule: JobRule, method: str, fields: Fields = ()) -> Told | None:
        there = destination(url, plain_http=True)
        if isinstance(there, Refusal):
            return None
        pool = self._upstream_of(url)
        if pool is not None:
            question = Question(method, there.target, pool.address.authority, fields)
            return await ask_upstream(pool, question, whole=False)
        if not is_listed(there.host, rule.size_hosts) or not (there.tls or rule.plain_http):
            log.warning("the jobs %s name sizes at %s, which is not asked", rule.name, there.host)
            return None
        allowed = rule.private_networks
        return await self._outside.ask(method, there, allowed, fields=fields, whole=False)

    def _upstream_of(self, url: str) -> UpstreamPool | None:
        origin = urlsplit(url)
        wanted = f"{origin.scheme}://{origin.netloc}".lower()
        pools = self._live().pools.values()
        return next((pool for pool in pools if pool.upstream.url.lower() == wanted), None)
