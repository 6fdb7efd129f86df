"""Sender: delivers what waits in the outboxes, each account's events in their order.

    commit → outbox (same script) → account due → claim → deliver one by one → cursor

Every gateway takes part; an account that one has claimed is not due for the others until the claim
has run out. What a gateway left and could not note before it died is found by a look at all
accounts now and then. An event is delivered again when its cursor could not be moved: at least
once.
"""

import asyncio
import logging
from collections.abc import Callable

from gateway.catalog.events import Events
from gateway.clock import ALONE, Turns, monotonic_s
from gateway.errors import StoreError
from gateway.events.delivery import Delivery, Result
from gateway.ledger.outbox import Outbox
from gateway.records.accounts import Accounts
from gateway.records.due import DueList
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

EVERYBODY = "*"
"""On the due list: the look at all accounts."""
ROUND_S = 0.5
ABREAST = 8
WORK_S = 30.0
"""How long an account's events are delivered before others have a turn."""
SPARE_S = 30.0
"""What a claim has beyond that, and beyond the longest that one event may take."""
BATCH = 100
AGAIN_FIRST_MS = 2_000
AGAIN_MOST_MS = 300_000
SWEEP_MS = 600_000
PAGE = 500


class EventSender:
    """`configured` is what the configuration in force says of events; None: there are none."""

    def __init__(
        self,
        outbox: Outbox,
        due: DueList,
        accounts: Accounts,
        delivery: Delivery,
        configured: Callable[[], Events | None],
        metrics: Metrics,
    ) -> None:
        self._outbox = outbox
        self._due = due
        self._accounts = accounts
        self._delivery = delivery
        self._configured = configured
        self._metrics = metrics
        self._noted: set[str] = set()
        self._tries: dict[str, int] = {}
        self._tasks = TaskSet()

    async def start(self, turns: Turns = ALONE) -> None:
        await self._delivery.start()
        self._tasks.start(self._run(turns), name="usage events")

    async def stop(self) -> None:
        await self._tasks.stop()
        await self._delivery.stop()

    def note(self, account: str) -> None:
        """It has left an event."""
        self._noted.add(account)

    async def round(self) -> int:
        """Note and deliver what is due; how many accounts that were. Raises StoreError."""
        events = self._configured()
        if events is None:
            self._noted.clear()
            return 0
        while self._noted:
            await self._due.add(account := next(iter(self._noted)), 0)
            self._noted.discard(account)
        await self._due.add(EVERYBODY, 0)
        claim_s = WORK_S + SPARE_S + events.timeout_s * max(1, len(events.meters))
        _, due = await self._due.claim(ABREAST, claim_ms=round(claim_s * 1_000))
        looks = (self._look(account, events) for account in due)
        # One account whose outbox is damaged keeps no other from being told of.
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(outcome, StoreError):
                log.warning("usage events of an account could not be delivered: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        return len(due)

    async def _look(self, account: str, events: Events) -> None:
        if account == EVERYBODY:
            await self._sweep()
            return
        await self._deliver(account, events)
        if events.most is not None:
            lost = await self._outbox.bound(account, events.most)
            if lost:
                self._metrics.events_dropped(lost)
                log.error(
                    "%d events of usage of account %s were dropped undelivered", lost, account
                )

    async def _deliver(self, account: str, events: Events) -> None:
        """Within the time of the claim: else another would begin with the same event."""
        until_s = monotonic_s() + WORK_S
        while True:
            cursor = await self._outbox.cursor(account)
            waiting = await self._outbox.after(account, cursor, BATCH)
            if not waiting:
                self._tries.pop(account, None)
                await self._done(account)
                return
            for event in waiting:
                result = await self._delivery.deliver(event, events)
                self._metrics.event_delivered(result)
                if result is Result.FAILED:
                    await self._again(account)
                    return
                keep_ms = round(events.keep_s * 1_000)
                moved = await self._outbox.delivered(account, cursor, event.number, keep_ms)
                if monotonic_s() >= until_s:
                    await self._due.put(account, 0)
                    return
                if not moved:
                    break  # They are to be delivered from elsewhere now.
                cursor = event.number

    async def _done(self, account: str) -> None:
        """Nothing waits any more; but what came just now does."""
        await self._due.drop(account)
        if await self._outbox.waiting(account, 1):
            await self._due.add(account, 0)

    async def _again(self, account: str) -> None:
        tries = self._tries.get(account, 0)
        self._tries[account] = tries + 1
        await self._due.put(account, min(AGAIN_FIRST_MS << min(tries, 20), AGAIN_MOST_MS))

    async def _sweep(self) -> None:
        """Let every account be due that has events and is not."""
        cursor: str | None = None
        while True:
            page = await self._accounts.list(cursor, PAGE)
            for account in () if page is None else page.accounts:
                if await self._outbox.waiting(account.id, 1):
                    await self._due.add(account.id, 0)
            cursor = None if page is None else page.cursor
            if cursor is None:
                break
        await self._due.put(EVERYBODY, SWEEP_MS)

    async def _run(self, turns: Turns) -> None:
        while True:
            try:
                if await self.round() == ABREAST:
                    continue
            except StoreError as failure:
                log.warning("usage events could not be looked at: %s", failure)
            await asyncio.sleep(turns.wait_s(ROUND_S))
