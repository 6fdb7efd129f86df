"""Fixtures of the journeys: a gateway in front of the usual upstream, on every store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from tests.journeys import rig
from tests.journeys.rig import Rig, Way, running

BOTH_WAYS = {
    "test_access",
    "test_blocks",
    "test_deletes",
    "test_downloads",
    "test_hostile_clients",
    "test_in_doubt",
    "test_interruptions",
    "test_limits",
    "test_passing",
    "test_store_trouble",
    "test_upload_trouble",
    "test_learning",
    "test_subjects",
    "test_uploads",
    "test_usage_events",
}
"""Journeys of plain uploads: each is made on the fast path and on the ordinary one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("way", Way, ids=str, indirect=True)


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    rig.way = getattr(request, "param", Way.ORDINARY)
    yield
    rig.way = Way.ORDINARY


@pytest.fixture(name="rig")
async def rig_fixture(store: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(store, tmp_path) as running_rig:
        yield running_rig


@pytest.fixture
async def fake() -> AsyncIterator[Store]:
    """For journeys whose subject is not the store: one store is enough."""
    store = Store.fake()
    yield store
    await store.close()
