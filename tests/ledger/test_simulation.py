"""Random lives of accounts: the ledger and the model agree at every step, and no drift is left.

Every seed is printed when it fails; `Simulation(seed, …).run(steps)` lives that life again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.ledger.audit import audit
from gateway.ledger.store import Store
from tests.ledger.simulation import Simulation
from tests.stores import FAKE, REAL, Flavour, RedisServers, Via, open_flavour

STEPS = 1_000
TOGETHER = 16
"""Lives on one connection at a time: they share its round trips as requests of a gateway do."""
PATIENCE_S = 30.0
"""With a machine that stalls: a verb that is given up and runs all the same looks like drift."""
FAR_MS = 1 << 50

PIPELINED = [flavour for flavour in REAL if flavour.via is Via.PIPELINED]
REDIS_PY = [flavour for flavour in REAL if flavour.via is Via.REDIS_PY]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.ledger.RESERVE_PATIENCE_S", PATIENCE_S)


async def live(store: Store, seeds: Sequence[int], steps: int) -> int:
    """Lives these lives, some at a time; audits each at its end. Returns the operations made."""
    redis: Any = store.client
    waiting = list(reversed(seeds))
    made = [0]

    async def worker() -> None:
        while waiting:
            life = Simulation(waiting.pop(), store.settlement, redis.script_flush, redis)
            made.append(await life.run(steps))
            assert await audit(store.client, life.account, now_ms=FAR_MS) == (), life.seed

    async with asyncio.TaskGroup() as group:
        for _ in range(TOGETHER):
            group.create_task(worker())
    return sum(made)


async def lives(
    flavour: Flavour, servers: RedisServers, seeds: Sequence[int], steps: int = STEPS
) -> int:
    store = await open_flavour(flavour, servers, op_timeout_s=PATIENCE_S)
    try:
        return await live(store, seeds, steps)
    finally:
        await store.close()


@pytest.mark.parametrize("flavour", PIPELINED, ids=str)
async def test_a_hundred_lives_on_each_server(
    flavour: Flavour, redis_servers: RedisServers
) -> None:
    """Together at least 200,000 operations where two servers are at hand; failure row 18 (scripts
    are flushed meanwhile) and failure row 48 (clocks jump both ways) are part of each life."""
    number = 100 * (REAL.index(flavour) + 1)
    count = 200_000 // len(PIPELINED)
    made = await lives(flavour, redis_servers, range(number, number + count // STEPS))
    assert made >= count


@pytest.mark.parametrize("flavour", REDIS_PY, ids=str)
async def test_some_lives_by_redis_py(flavour: Flavour, redis_servers: RedisServers) -> None:
    assert await lives(flavour, redis_servers, range(5), 400) == 2_000


async def test_some_lives_on_fakeredis(redis_servers: RedisServers) -> None:
    assert await lives(FAKE, redis_servers, range(5), 400) == 2_000


@pytest.mark.long
@pytest.mark.parametrize("flavour", PIPELINED, ids=str)
async def test_a_thousand_lives_on_each_server(
    flavour: Flavour, redis_servers: RedisServers
) -> None:
    await lives(flavour, redis_servers, range(10_000, 11_000), 2_000)
