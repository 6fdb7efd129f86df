"""The admin room runs on fakeredis and on the newest real server by the pipelined connection."""

from collections.abc import AsyncIterator

import pytest

from gateway.ledger.store import Store
from tests.admin.house import House
from tests.stores import FAKE, REAL, RedisServers, open_flavour


@pytest.fixture(params=[FAKE, *REAL[-1:]], ids=str)
async def house(
    request: pytest.FixtureRequest, redis_servers: RedisServers
) -> AsyncIterator[House]:
    store: Store = await open_flavour(request.param, redis_servers)
    house = House(store)
    await house.identities.start()
    yield house
    await house.identities.stop()
    await store.close()
