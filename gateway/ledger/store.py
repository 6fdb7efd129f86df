"""The store: everything that reaches one Redis, opened together and closed together."""

import importlib
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.redispy import RedisPyTransport, no_retry
from gateway.ledger.transport import Transport


@dataclass(frozen=True, slots=True)
class Store:
    """Settlement has its own connections, so that it never queues behind admission.

    `client` is for records, pub/sub and administration. `warnings` are for an operator to read.
    """

    admission: Transport
    settlement: Transport
    client: "Redis | RedisCluster"
    description: str = ""
    warnings: tuple[str, ...] = ()

    async def close(self) -> None:
        await self.admission.close()
        await self.settlement.close()
        await self.client.aclose()

    @classmethod
    def over(cls, client: Redis, description: str) -> "Store":
        """A store that does everything through one redis-py client."""
        transport = RedisPyTransport(client)
        return cls(transport, transport, client, description)

    @classmethod
    def fake(cls, server: Any = None) -> "Store":
        """A store inside this process (fakeredis): nothing of it survives the process.

        `server` is a `fakeredis.FakeServer` to share; by default it is a fresh one.
        """
        try:
            fakeredis = importlib.import_module("fakeredis")
        except ImportError:
            raise StoreError(
                STORE_UNAVAILABLE,
                "fakeredis is not installed; install quota-gateway[embedded]",
                transient=False,
            ) from None
        client: Redis = fakeredis.FakeAsyncRedis(
            server=server or fakeredis.FakeServer(), protocol=2, retry=no_retry()
        )
        return cls.over(client, f"fakeredis {fakeredis.__version__}")
