"""Records run by redis-py only: on fakeredis and on each real server."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis, RedisCluster

from tests.stores import FLAVOURS, RedisServers, Via, open_flavour


@pytest.fixture(params=[f for f in FLAVOURS if f.via is Via.REDIS_PY], ids=str)
async def client(
    request: pytest.FixtureRequest, redis_servers: RedisServers
) -> AsyncIterator[Redis | RedisCluster]:
    store = await open_flavour(request.param, redis_servers)
    yield store.client
    await store.close()
