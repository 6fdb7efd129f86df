"""Reaper: ends the leases of gateways that died, on accounts that nobody asks about any more.

Admission and usage never depend on it: each script ends the due leases of its account first. What
it adds is that a quiet account is free again too, within seconds. Any number of gateways may do
this at the same time; a lease ends once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.clock import monotonic_s, wall_ms
from gateway.errors import StoreError
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Expired
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

BUSY = "qg:busy"
"""Sorted set of accounts that may have open reservations, by when one was last known. A hint:
a missing entry costs only time, since any question about the account ends its due leases."""

ROUND_S = 2.0
NOTE_EVERY_S = 3.0
ACCOUNTS_PER_ROUND = 500
NOTED_MAX = 100_000


class Reaper:
    def __init__(
        self,
        ledger: Ledger,
        client: "Redis | RedisCluster",
        *,
        on_expired: Callable[[Expired], None] = lambda expired: None,
        round_s: float = ROUND_S,
    ) -> None:
        self._ledger = ledger
        self._client: Any = client
        self._on_expired = on_expired
        self._round_s = round_s
        self._noted: dict[str, float] = {}
        self._fresh: set[str] = set()
        self._tasks = TaskSet()

    def note(self, account: str) -> None:
        """The account has an open reservation here. Written to the store with the next round."""
        now_s = monotonic_s()
        if now_s - self._noted.get(account, float("-inf")) < NOTE_EVERY_S:
            return
        if len(self._noted) >= NOTED_MAX:
            self._noted.clear()
        self._noted[account] = now_s
        self._fresh.add(account)

    def start(self) -> None:
        self._tasks.start(self._run(), name="reaper")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def sweep(self) -> int:
        """One round: tell which accounts are busy, end what is due on those that any gateway said
        were. Returns how many leases ended. Raises StoreError and RedisError."""
        fresh, self._fresh = self._fresh, set()
        if fresh:
            await self._client.zadd(BUSY, dict.fromkeys(fresh, wall_ms()))
        ended = 0
        for name in await self._client.zrange(BUSY, 0, ACCOUNTS_PER_ROUND - 1):
            account = name.decode() if isinstance(name, bytes) else name
            ended += await self._sweep_account(account)
        return ended

    async def _sweep_account(self, account: str) -> int:
        ended = 0
        while True:
            expired = await self._ledger.expire(account)
            ended += expired.count
            if expired.count:
                self._on_expired(expired)
            if not expired.more:
                break
        if expired.next_lease_end_ms is None and account not in self._fresh:
            await self._client.zrem(BUSY, account)
        else:
            # To the end of the line, so that a round of many accounts reaches them all in turn.
            await self._client.zadd(BUSY, {account: wall_ms()})
        return ended

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._round_s)
            try:
                await self.sweep()
            except (StoreError, RedisError, OSError) as failure:
                log.warning("the reaper could not reach the store: %s", failure)
