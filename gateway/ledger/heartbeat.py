"""Heartbeat: extends the leases of the reservations this gateway is working on.

A lease is short, so that the reservations of a dead gateway are soon free; while the gateway lives
it extends them every few seconds, all those of one account in one call. What is over before the
first beat costs nothing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from gateway.clock import monotonic_s
from gateway.errors import StoreError
from gateway.ledger.ledger import Ledger
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

IDS_PER_CALL = 256


class Heartbeat:
    """`note` is told of the accounts that have reservations old enough to be extended."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        lease_ms: int,
        interval_s: float,
        note: Callable[[str], None] = lambda account: None,
    ) -> None:
        self._ledger = ledger
        self._lease_ms = lease_ms
        self._interval_s = interval_s
        self._note = note
        self._running: dict[str, tuple[str, float]] = {}
        self._tasks = TaskSet()

    def __len__(self) -> int:
        """How many reservations are kept open."""
        return len(self._running)

    def add(self, account: str, reservation_id: str) -> None:
        """Keep this reservation's lease from ending, from now on."""
        self._running[reservation_id] = (account, monotonic_s())
        self._note(account)

    def discard(self, reservation_id: str) -> None:
        self._running.pop(reservation_id, None)

    def start(self) -> None:
        self._tasks.start(self._run(), name="heartbeat")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def beat(self) -> None:
        """Extend what is older than an interval. Raises StoreError."""
        old_s = monotonic_s() - self._interval_s
        by_account: dict[str, list[str]] = defaultdict(list)
        for reservation_id, (account, since_s) in self._running.items():
            if since_s <= old_s:
                by_account[account].append(reservation_id)
        for account, ids in by_account.items():
            self._note(account)
            for start in range(0, len(ids), IDS_PER_CALL):
                batch = ids[start : start + IDS_PER_CALL]
                gone = await self._ledger.extend(account, batch, self._lease_ms)
                for reservation_id in gone:
                    # Its lease had ended: it will be committed late, which charges it just the
                    # same. Nothing to do, but an operator should know why.
                    if self._running.pop(reservation_id, None) is not None:
                        log.warning("the lease of %s ended while it was in use", reservation_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.beat()
            except StoreError as failure:
                log.warning("leases could not be extended: %s", failure)
