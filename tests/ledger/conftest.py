"""What the ledger's tests share: a stage on every store, audited when its test is over."""

from collections.abc import AsyncIterator

import pytest

from gateway.ledger.store import Store
from tests.ledger.lively import S, Stopped, Stops
from tests.ledger.stage import Stage


@pytest.fixture
async def stage(store: Store) -> AsyncIterator[Stage]:
    """A ledger that starts at noon of 2026-01-01; its books must be in order afterwards."""
    stage = Stage(store)
    yield stage
    if stage.audited:
        assert await stage.findings() == []


@pytest.fixture
async def stopped() -> AsyncIterator[Stopped]:
    """To be asked for behind the store: what ran on would meet one that is closed, and the end of
    the loop may wait for it for ever."""
    running: list[Stops] = []

    def keep(started: S) -> S:
        running.append(started)
        return started

    yield keep
    for each in running:
        await each.stop()
