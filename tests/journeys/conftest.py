"""Fixtures of the journeys: a gateway in front of the usual upstream, on every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running


@pytest.fixture
async def rig(store: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(store, tmp_path) as running_rig:
        yield running_rig


@pytest.fixture
async def fake() -> AsyncIterator[Store]:
    """For journeys whose subject is not the store: one store is enough."""
    store = Store.fake()
    yield store
    await store.close()
