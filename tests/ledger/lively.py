"""A ledger that runs in real time, for those who watch over leases."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Line
from gateway.ledger.store import Store


class Stops(Protocol):
    async def stop(self) -> None: ...


S = TypeVar("S", bound=Stops)


class Stopped(Protocol):
    """Takes what a test starts, and stops it when the test is over, however that ends."""

    def __call__(self, started: S) -> S: ...


STORAGE = Meter("storage", MeterKind.LEVEL, "bytes")


def ledger_on(store: Store) -> Ledger:
    return Ledger(store.admission, store.settlement, StoreClock())


def terms_of(account: str) -> Terms:
    return Terms(account, {STORAGE.name: STORAGE}, Plan("trial", {STORAGE.name: 1_000}))


async def opened(ledger: Ledger, *accounts: str) -> None:
    for account in accounts:
        await ledger.open_books(account)


async def reserve(ledger: Ledger, account: str, reservation_id: str, *, lease_ms: int) -> None:
    granted = await ledger.reserve(
        terms_of(account), reservation_id, [Line.exact(STORAGE.name, 1)], lease_ms=lease_ms
    )
    assert isinstance(granted, Granted)


async def reserved(ledger: Ledger, account: str) -> int:
    snapshot = await ledger.snapshot(terms_of(account))
    return sum(quota.reserved for quota in snapshot.quotas)


async def until(
    true: Callable[[], Awaitable[bool]], *, within_s: float = 5.0, pause_s: float = 0.005
) -> None:
    """Wait for something that other parts do by their own clock."""
    async with asyncio.timeout(within_s):
        while True:
            if await true():
                return
            await asyncio.sleep(pause_s)
