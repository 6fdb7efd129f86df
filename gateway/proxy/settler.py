"""Settler: brings every settlement to its end, whatever the store does meanwhile.

A settlement is idempotent by its id, so the rule is simple: try now; when the store is in trouble
or the caller is cancelled, go on in the background until the store has answered. What is pending
is counted. A settlement never waits behind admission: the ledger gives it its own connection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Adjusted, Refused, Settled
from gateway.records.assets import Owners
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

T = TypeVar("T")

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0

log = logging.getLogger(__name__)


class Settler:
    def __init__(self, ledger: Ledger, owners: Owners, metrics: Metrics) -> None:
        self._ledger = ledger
        self._owners = owners
        self._metrics = metrics
        self._tasks = TaskSet()

    @property
    def pending(self) -> int:
        """Settlements the store has not taken yet."""
        return len(self._tasks)

    async def commit(
        self,
        terms: Terms,
        reservation_id: str,
        actual: Mapping[str, int],
        *,
        asset: str | None = None,
    ) -> Settled | Refused | None:
        """None: the store is in trouble, the settlement goes on in the background."""
        return await self._settle(
            lambda: self._ledger.commit(terms, reservation_id, actual, asset=asset),
            f"commit {reservation_id}",
            "answered",
        )

    async def release(
        self, account: str, reservation_id: str, *, reason: str
    ) -> Settled | Refused | None:
        return await self._settle(
            lambda: self._ledger.release(account, reservation_id, reason=reason),
            f"release {reservation_id}",
            reason,
        )

    async def remove(self, terms: Terms, asset: str) -> Adjusted | None:
        """Take a deleted asset off the books."""
        return await self._settle(lambda: self._ledger.remove(terms, asset), "remove", "answered")

    async def charge(
        self, terms: Terms, charge_id: str, actual: Mapping[str, int], *, reason: str
    ) -> Adjusted | Refused | None:
        """Charge what was let through without a reservation while the store was away."""
        return await self._settle(
            lambda: self._ledger.adjust(terms, charge_id, actual, reason=reason),
            f"charge {charge_id}",
            reason,
        )

    async def own(self, asset: str, account: str) -> None:
        """Record whom downloads of an asset are charged to."""
        await self._settle(lambda: self._owners.record(asset, account), "own", "answered")

    async def disown(self, asset: str, account: str) -> None:
        await self._settle(lambda: self._owners.forget(asset, account), "disown", "answered")

    def abandon(self, account: str, reservation_id: str) -> None:
        """Release in the background what may have been reserved without our hearing of it."""

        async def release() -> Settled | None:
            outcome = await self._ledger.release(account, reservation_id, reason="cancelled")
            return outcome if isinstance(outcome, Settled) else None

        self._later(release, f"abandon {reservation_id}", "cancelled")

    async def close(self, timeout_s: float) -> int:
        """Wait for what is pending; return how many settlements are given up to their leases."""
        left = await self._tasks.join(timeout_s)
        await self._tasks.stop()
        return left

    async def _settle(self, call: Callable[[], Awaitable[T]], name: str, reason: str) -> T | None:
        try:
            result = await call()
        except StoreError as failure:
            if not failure.transient:
                raise
            self._later(call, name, reason)
            return None
        except asyncio.CancelledError:
            self._later(call, name, reason)
            raise
        self._record(result, reason)
        return result

    def _later(self, call: Callable[[], Awaitable[T]], name: str, reason: str) -> None:
        self._tasks.start(self._persist(call, name, reason), name=name)

    async def _persist(self, call: Callable[[], Awaitable[T]], name: str, reason: str) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                result = await call()
            except StoreError as failure:
                if not failure.transient:
                    raise
                log.warning("settlement pending: %s: %s", name, failure)
                await asyncio.sleep(wait_s)
                wait_s = min(RETRY_MOST_S, wait_s * 2)
                continue
            self._record(result, reason)
            return

    def _record(self, result: object, reason: str) -> None:
        if isinstance(result, Settled):
            self._metrics.settled(result, reason)
        elif isinstance(result, Refused):
            self._metrics.settlement_refused(result)
            log.error("settlement refused: %s: %s", result.error.code, result.detail)
