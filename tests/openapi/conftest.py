"""Documents do not depend on the store: one is enough."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running


@pytest.fixture
async def fake() -> AsyncIterator[Store]:
    store = Store.fake()
    yield store
    await store.close()


@pytest.fixture(name="rig")
async def rig_fixture(fake: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(fake, tmp_path) as running_rig:
        yield running_rig
