"""The ledger's books on a Redis Cluster: told, audited, repaired and read back as on one server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.ledger.audit import audit, repair
from gateway.ledger.history import History
from gateway.ledger.keys import keys_of
from gateway.ledger.spans import Grain, Span
from gateway.ledger.store import Store, connect
from gateway.ledger.subjects import Subjects
from gateway.records.subjects import SubjectFacts
from tests.ledger.simulation import Simulation
from tests.ledger.stage import NOON_MS, Stage
from tests.packed import packed
from tests.redis_cluster import running_cluster
from tests.stores import BINARIES

if not BINARIES:
    pytest.skip("no redis-server to make a cluster of was found", allow_module_level=True)


@pytest.fixture(scope="module")
def url() -> Any:
    with running_cluster(BINARIES[0]) as cluster:
        yield cluster.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await connect(url)
    yield opened
    await opened.close()


async def test_books_on_a_cluster(store: Store) -> None:
    stage = Stage(store)
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60        -> granted 0+60/100
        reserve B storage=40        -> granted 0+100/100
        commit A storage=45 as x    -> committed 45+40/100
        split B into C storage=10 | D storage=20    -> split C D rest storage=10
        reserve_many E storage=5 | F storage=5      -> granted E F 45+50/100
        reserve_many partial G storage=9 | H storage=1 -> \
granted H 45+51/100 denied 9 of 45+50/100 left G
        """
    )
    redis: Any = store.client
    await redis.hset(keys_of("acme").books, "a/storage", packed("45 7 45 0 0 45 -"))
    assert [f.rule for f in await audit(redis, "acme", now_ms=stage.store_ms)] == ["I1"]
    changed = await repair(redis, "acme", now_ms=stage.store_ms)
    assert [each.what for each in changed] == ["a/storage"]
    assert await audit(redis, "acme", now_ms=stage.store_ms) == ()
    assert [f.rule for f in await audit(redis, "acme")] == []
    history = History(redis, lambda: stage.store_ms)
    span = Span(NOON_MS, NOON_MS + 3_600_000)
    assert await history.peak("acme", "a/storage", span) == 45
    assert (await history.levels("acme", "a/storage", span, Grain.HOUR))[0].closing == 45
    stage.terms = replace(stage.terms, subject=("creator", "ann"))
    await stage.do("adjust J egress=5")
    assert await history.totals("acme", ["s:creator:ann/egress"], span) == {
        "s:creator:ann/egress": 5
    }
    subjects = Subjects(redis)
    assert (await subjects.page("acme", "creator")).ids == ("ann",)
    assert await subjects.exists("acme", "creator", "ann")
    assert not await subjects.drop("acme", "creator", "ann", stage.terms.meters)
    facts = SubjectFacts(redis)
    await facts.learn("acme", "creator", {"ann": {"name": "Ann"}})
    assert await facts.read("acme", "creator", ["ann"]) == ({"name": "Ann"},)


async def test_lives_on_a_cluster(store: Store) -> None:
    for seed in range(4):
        life = Simulation(seed, store.settlement, client=store.client)
        await life.run(250)
        assert await audit(store.client, life.account, now_ms=1 << 50) == ()
