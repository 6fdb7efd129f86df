"""Learning: writes down what answers told of subjects, after their clients have them.

Nothing waits for it and nothing fails by it: what could not be written is told again.
"""

import logging
from collections.abc import Mapping

from gateway.admission import learning
from gateway.catalog.routes import Learn
from gateway.clock import monotonic_s
from gateway.errors import StoreError
from gateway.ledger.subjects import Subjects
from gateway.records.rows import RedisClient
from gateway.records.subjects import Facts, SubjectFacts
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

KNOWN_S = 300.0
"""How long what was written down is not written again."""
KNOWN_MAX = 20_000
WRITING_MAX = 64
"""At a time; what is told meanwhile will be told again."""


class Learning:
    def __init__(self, client: RedisClient, metrics: Metrics) -> None:
        self._subjects = Subjects(client)
        self._facts = SubjectFacts(client)
        self._metrics = metrics
        self._tasks = TaskSet()
        self._known: dict[tuple[str, str, str], tuple[Facts, float]] = {}

    async def stop(self) -> None:
        await self._tasks.stop()

    async def written(self) -> None:
        """Wait until all that was heard is written down."""
        await self._tasks.join()

    def hear(self, account: str, rule: Learn, answer: bytes) -> None:
        """An answer that passed through, whole."""
        if len(self._tasks) >= WRITING_MAX:
            return
        now_s = monotonic_s()
        fresh = {
            name: facts
            for name, facts in learning.told(answer, rule).items()
            if not self._knows((account, rule.kind, name), facts, now_s)
        }
        if fresh:
            self._tasks.start(self._write(account, rule.kind, fresh), name="learn of subjects")

    async def _write(self, account: str, kind: str, told: Mapping[str, Facts]) -> None:
        try:
            await self._subjects.add(account, kind, *told)
            if not await self._facts.learn(account, kind, told):
                log.warning("account %s has a %s with too many facts", account, kind)
        except StoreError as failure:
            self._metrics.store_error(failure.error)
            return
        if len(self._known) + len(told) > KNOWN_MAX:
            self._known.clear()
        until_s = monotonic_s() + KNOWN_S
        for name, facts in told.items():
            self._known[account, kind, name] = facts, until_s

    def _knows(self, name: tuple[str, str, str], facts: Facts, now_s: float) -> bool:
        known, until_s = self._known.get(name, ({}, 0.0))
        return until_s > now_s and known == facts
