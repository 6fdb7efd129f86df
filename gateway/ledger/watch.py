"""StoreWatch: notices that the store has lost its books, so that nothing is admitted on empty ones.

The store carries a generation, made once, and counts the beats of all gateways. A store without a
generation, with another one, or with fewer beats than it had `BACKWARDS_MAX_S` ago, was flushed or
came back from an old backup: what it says is used is not what is used. Admission then stays closed,
on every gateway, until an operator accepts the store as it is. Beats are counted and not timed: a
clock that is set must not look like a loss. A failover may lose seconds, and they are let pass.
"""

import asyncio
import logging
import secrets
from collections import deque
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.clock import StoreClock, monotonic_s
from gateway.errors import STORE_LOST, STORE_UNAVAILABLE, Error, StoreError
from gateway.ledger import scripts
from gateway.ledger.redispy import told
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

BEAT = scripts.load("beat")
NAME_STORE = scripts.load("name_store")

STORE = "qg:store"
ACCOUNTS = "qg:accounts"

BEAT_EVERY_S = 1.0
BEAT_WITHIN_S = 1.0
BACKWARDS_MAX_S = 30.0


class StoreWatch:
    """`error` is what admission is refused with, None while the store can be trusted. `reachable`
    says whether the last beat was answered. The clock learns the store's time from each beat."""

    def __init__(
        self,
        client: "Redis | RedisCluster",
        clock: StoreClock,
        *,
        every_s: float = BEAT_EVERY_S,
        backwards_max_s: float = BACKWARDS_MAX_S,
    ) -> None:
        self._client = client
        self._clock = clock
        self._every_s = every_s
        self._backwards_max_s = backwards_max_s
        self._generation = b""
        self._seen: deque[tuple[float, int]] = deque()
        """(when, beats): the first is from `backwards_max_s` ago or before, once there is one."""
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
        """One look at the store. Raises StoreError."""
        reply = await self._beat()
        if reply == [b"new"]:
            await found(self._client)
            reply = await self._beat()
        match reply:
            case [b"ok", generation, beats, now_ms]:
                self._clock.learn(now_ms)
                self._remember(generation, beats)
                if self.error is not None:
                    log.warning("the store was accepted; admission is open again")
                self.error = None
            case [b"lost", reason]:
                self._lost(reason.decode())
            case _:
                self._lost("it has accounts and no generation")

    async def _beat(self) -> Any:
        return await _run(self._client, BEAT, self._generation, b"%d" % self._least())

    def _least(self) -> int:
        """The beats that the store must have, if it is not one from the past."""
        if self._seen and monotonic_s() - self._seen[0][0] >= self._backwards_max_s:
            return self._seen[0][1]
        return 0

    def _remember(self, generation: bytes, beats: int) -> None:
        if generation != self._generation:
            self._generation = generation
            self._seen.clear()
        now_s = monotonic_s()
        self._seen.append((now_s, beats))
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= self._backwards_max_s:
            self._seen.popleft()

    def _lost(self, reason: str) -> None:
        if self.error is None:
            log.critical(
                "the store has lost its books (%s): admission is closed until it is restored, "
                "or accepted by `quota-gateway ledger accept`",
                reason,
            )
        self.error = STORE_LOST

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(BEAT_WITHIN_S):
                await self.beat()
        except (StoreError, TimeoutError) as failure:
            if self.reachable:
                log.warning("the store does not answer: %s", failure)
            self.reachable = False
        else:
            self.reachable = True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._look()


async def found(client: "Redis | RedisCluster") -> None:
    """Give a store that is new its generation; one with accounts and none has lost its books.
    Raises StoreError."""
    with told("found the store"):
        accounts = await client.exists(ACCOUNTS)
    if not accounts:
        await _run(client, NAME_STORE, secrets.token_hex(4).encode(), b"0")


async def accept(client: "Redis | RedisCluster") -> str:
    """An operator's word that the store's books hold as they are; its new generation.

    Every gateway opens again with its next beat. Raises StoreError.
    """
    generation: bytes = await _run(client, NAME_STORE, secrets.token_hex(4).encode(), b"1")
    return generation.decode()


async def _run(client: "Redis | RedisCluster", script: scripts.Script, *args: bytes) -> Any:
    redis: Any = client
    with told(script.name):
        return await redis.eval(script.source, 1, STORE, *args)
