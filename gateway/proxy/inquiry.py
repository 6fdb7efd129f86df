"""Inquiry: one question to an upstream about a request that it did not answer, and its word."""

import asyncio
import logging
from dataclasses import dataclass

from gateway.admission import probe
from gateway.admission.probe import Unclear, Verdict
from gateway.admission.sigv4_signing import signed_fields
from gateway.catalog.routes import Probe, Protocol, Route, S3Credentials
from gateway.errors import UpstreamError
from gateway.proxy.asking import Question, Told, ask_upstream
from gateway.proxy.live import Live
from gateway.records.doubts import Doubt

QUESTION_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Word:
    """What an upstream says of a doubt, and its answer as far as it was heard."""

    verdict: Verdict
    told: Told | None = None


def can_ask(route: Route) -> bool:
    if route.protocol is Protocol.S3:
        return route.s3_credentials is not None
    return route.probe is not None


async def inquire(live: Live, route: Route, doubt: Doubt, now_ms: int) -> Word:
    """Unclear when the upstream does not say, or there is no way to ask it."""
    if route.protocol is Protocol.S3:
        if route.s3_credentials is not None:
            return await _of_s3(live, route, route.s3_credentials, doubt, now_ms)
    elif route.probe is not None:
        return await _of_probe(live, route, route.probe, doubt)
    return Word(Unclear())


async def _of_probe(live: Live, route: Route, how: Probe, doubt: Doubt) -> Word:
    pool = live.pools[route.upstream]
    fields = [(name.encode(), value.encode()) for name, value in route.probe_headers.items()]
    target = probe.target(how, doubt.params)
    question = Question(how.method, target, pool.address.authority, fields)
    told = await _asked(live, route, question, whole=how.size is not None)
    if told is None:
        return Word(Unclear())
    return Word(probe.verdict(how, told.status, told.length, told.body), told)


async def _of_s3(
    live: Live, route: Route, credentials: S3Credentials, doubt: Doubt, now_ms: int
) -> Word:
    target = None if doubt.asset is None else probe.s3_target(doubt.asset)
    if target is None:
        return Word(Unclear())
    host = route.s3_domains[0]
    fields = signed_fields("HEAD", target, host, credentials, now_ms=now_ms)
    told = await _asked(live, route, Question("HEAD", target, host.encode(), fields))
    if told is None:
        return Word(Unclear())
    return Word(probe.s3_verdict(told.status, told.length, told.headers))


async def _asked(
    live: Live, route: Route, question: Question, *, whole: bool = True
) -> Told | None:
    try:
        async with asyncio.timeout(QUESTION_S):
            return await ask_upstream(live.pools[route.upstream], question, whole=whole)
    except (UpstreamError, TimeoutError) as failure:
        log.info("a question about a doubt was not answered: %s", failure)
        return None
