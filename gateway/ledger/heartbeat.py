"""Heartbeat: extends the leases of the reservations this gateway is working on.

A lease is short, so that the reservations of a dead gateway are soon free; while the gateway lives
it extends them every few seconds, all those of one account in one call. What is over before the
first beat costs nothing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

from gateway.clock import monotonic_s
from gateway.errors import StoreError
from gateway.ledger.ledger import Ledger
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

IDS_PER_CALL = 256
ABREAST = 32
"""Calls made together, in one write to the store."""
AGAIN_AFTER_S = 0.5
"""After a beat that failed: leases run on meanwhile."""


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
        self._missed: set[str] = set()
        """Not open any more at the last beat: being settled just then, or lost."""
        self._tasks = TaskSet()

    def __len__(self) -> int:
        """How many reservations are kept open."""
        return len(self._running)

    def note(self, account: str) -> None:
        """The account has a reservation that is over or added soon."""
        self._note(account)

    def add(self, account: str, reservation_id: str, since_s: float | None = None) -> None:
        """Keep this reservation's lease from ending, from now on; it began `since_s`, or now."""
        self._running[reservation_id] = (account, monotonic_s() if since_s is None else since_s)
        self._note(account)

    def discard(self, reservation_id: str) -> None:
        self._running.pop(reservation_id, None)
        self._missed.discard(reservation_id)

    def start(self) -> None:
        self._tasks.start(self._run(), name="heartbeat")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def beat(self) -> None:
        """Extend what is older than an interval. Raises StoreError, after trying all of it."""
        old_s = monotonic_s() - self._interval_s
        by_account: dict[str, list[str]] = defaultdict(list)
        for reservation_id, (account, since_s) in self._running.items():
            if since_s <= old_s:
                by_account[account].append(reservation_id)
        calls: list[tuple[str, Sequence[str]]] = []
        for account, ids in by_account.items():
            self._note(account)
            for start in range(0, len(ids), IDS_PER_CALL):
                calls.append((account, ids[start : start + IDS_PER_CALL]))
        failure: StoreError | None = None
        for start in range(0, len(calls), ABREAST):
            failure = await self._extend(calls[start : start + ABREAST]) or failure
        if failure is not None:
            raise failure

    async def _extend(self, calls: Sequence[tuple[str, Sequence[str]]]) -> StoreError | None:
        answers = await asyncio.gather(
            # What outlives its request may have its own lease by the time this comes to the store.
            *(
                self._ledger.extend(account, ids, self._lease_ms, no_sooner=True)
                for account, ids in calls
            ),
            return_exceptions=True,
        )
        failure: StoreError | None = None
        for answer in answers:
            if isinstance(answer, StoreError):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._heed(answer)
        return failure

    def _heed(self, gone: Sequence[str]) -> None:
        """Its lease had ended: it will be committed late, which charges it just the same. Nothing
        to do, but an operator should know why. What was being settled is no longer here next time.
        """
        for reservation_id in gone:
            if reservation_id not in self._running:
                continue
            if reservation_id in self._missed:
                self.discard(reservation_id)
                log.warning("the lease of %s ended while it was in use", reservation_id)
            else:
                self._missed.add(reservation_id)

    async def _run(self) -> None:
        pause_s = self._interval_s
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.beat()
                pause_s = self._interval_s
            except StoreError as failure:
                log.warning("leases could not be extended: %s", failure)
                pause_s = min(AGAIN_AFTER_S, self._interval_s)
