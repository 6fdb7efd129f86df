"""Webhooks: calls clients' URLs in the upstream's place, until they have answered or are given up.

What the upstream said is passed on as it said it. Only 2xx is an answer; a redirect is none. Where
a URL leads is judged each time it is called.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.admission.destinations import destination
from gateway.clock import ALONE, Turns
from gateway.errors import Refusal, StoreError, UpstreamError
from gateway.proxy.live import Live
from gateway.proxy.outside import ForbiddenError, Outside
from gateway.records.webhooks import Message, Webhooks
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

ROUND_S = 0.5
CLAIM_MS = 30_000
"""More than one call takes at most."""
ABREAST = 8
AGAIN_MS: Sequence[int] = (2_000, 10_000, 60_000, 300_000, 1_800_000, 7_200_000, 21_600_000)
"""After each try that failed; after the last one it is given up."""


class WebhookCaller:
    def __init__(
        self,
        webhooks: Webhooks,
        outside: Outside,
        live: Callable[[], Live],
        metrics: Metrics,
    ) -> None:
        self._webhooks = webhooks
        self._outside = outside
        self._live = live
        self._metrics = metrics
        self.again_ms = AGAIN_MS
        self._tasks = TaskSet()

    def start(self, turns: Turns = ALONE) -> None:
        self._tasks.start(self._run(turns), name="webhooks")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def round(self) -> int:
        """Call what is due, up to `ABREAST`; how many that was. Raises StoreError."""
        due = await self._webhooks.claim(ABREAST, claim_ms=CLAIM_MS)
        await asyncio.gather(*(self._call(each) for each in due))
        return len(due)

    async def _call(self, message: Message) -> None:
        result = await self._told(message)
        if result == "failed" and message.tries < len(self.again_ms):
            await self._webhooks.again(message, self.again_ms[message.tries])
        else:
            await self._webhooks.told(message)
        self._metrics.webhook_called(message.rule, result)

    async def _told(self, message: Message) -> str:
        """told, failed, or forbidden: a place that nobody may be called at."""
        rule = self._live().catalog.jobs.get(message.rule)
        if rule is None:
            return "forbidden"
        there = destination(message.url, plain_http=rule.plain_http)
        if isinstance(there, Refusal):
            return "forbidden"
        fields = [(b"Content-Type", message.kind.encode("latin-1"))]
        try:
            told = await self._outside.ask(
                "POST", there, rule.private_networks, fields=fields, body=message.body
            )
        except ForbiddenError as failure:
            log.warning("a webhook is not called: %s", failure)
            return "forbidden"
        except UpstreamError as failure:
            log.info("a webhook could not be called: %s", failure)
            return "failed"
        return "told" if 200 <= told.status < 300 else "failed"

    async def _run(self, turns: Turns) -> None:
        while True:
            try:
                if await self.round() == ABREAST:
                    continue
            except StoreError as failure:
                log.warning("webhooks could not be looked at: %s", failure)
            await asyncio.sleep(turns.wait_s(ROUND_S))
