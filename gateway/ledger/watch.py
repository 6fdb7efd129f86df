"""StoreWatch: notices that the store has lost its books, so that nothing is admitted on empty ones.

The store carries a generation, made once, and a beat that every gateway renews. A store without a
generation, with another one, or with a beat far older than one that was seen, was flushed or came
back from an old backup: what it says is used is not what is used. Admission then stays closed until
an operator accepts the store as it is.
"""

import asyncio
import logging
import secrets
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.clock import StoreClock
from gateway.errors import STORE_LOST, STORE_UNAVAILABLE, Error
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

STORE = "qg:store"
ACCOUNTS = "qg:accounts"
GENERATION = "generation"
BEAT = "beat_ms"

BEAT_EVERY_S = 1.0
BACKWARDS_MAX_MS = 30_000
"""How much older than seen before a beat may be: a failover loses seconds, a backup more."""


class StoreWatch:
    """`error` is what admission is refused with, None while the store can be trusted."""

    def __init__(self, client: "Redis | RedisCluster", clock: StoreClock) -> None:
        self._client: Any = client
        self._clock = clock
        self._generation: bytes | None = None
        self._beat_ms = 0
        self._tasks = TaskSet()
        self.error: Error | None = None
        self.reachable = False

    async def start(self) -> None:
        """Look once, then every second."""
        await self._look()
        self._tasks.start(self._run(), name="store watch")

    async def stop(self) -> None:
        await self._tasks.stop()

    @property
    def health(self) -> Error | None:
        """For /readyz: lost books, or a store that does not answer."""
        return self.error or (None if self.reachable else STORE_UNAVAILABLE)

    async def beat(self) -> None:
        """One look at the store. Raises RedisError and OSError."""
        generation, beat = await self._client.hmget(STORE, GENERATION, BEAT)
        if generation is None:
            await found(self._client)
            generation, beat = await self._client.hmget(STORE, GENERATION, BEAT)
        self.error = self._judge(generation, int(beat or 0))
        if self.error is None:
            self._generation = generation
            self._beat_ms = max(self._beat_ms, int(beat or 0), self._clock.now_ms())
            await self._client.hset(STORE, BEAT, self._beat_ms)

    def _judge(self, generation: bytes | None, beat_ms: int) -> Error | None:
        if generation is None:
            return STORE_LOST
        if self._generation is not None and generation != self._generation:
            return STORE_LOST
        if self._beat_ms - beat_ms > BACKWARDS_MAX_MS and self._generation is not None:
            return STORE_LOST
        return None

    async def _look(self) -> None:
        before = self.error
        try:
            await self.beat()
        except (RedisError, OSError) as failure:
            if self.reachable:
                log.warning("the store does not answer: %s", failure)
            self.reachable = False
            return
        self.reachable = True
        if self.error is not None and before is None:
            log.critical(
                "the store has lost its books; `quota-gateway ledger accept` when restored"
            )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            await self._look()


async def found(client: "Redis | RedisCluster") -> None:
    """Give a store that is new its generation; one with accounts and none has lost its books."""
    redis: Any = client
    if not await redis.hexists(STORE, GENERATION) and not await redis.exists(ACCOUNTS):
        await redis.hsetnx(STORE, GENERATION, secrets.token_hex(8))
