"""The store: everything that reaches one Redis, opened together and closed together."""

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.address import Address, Kind, Place, parse
from gateway.ledger.checks import check
from gateway.ledger.cluster import ClusterTransport, cluster_client
from gateway.ledger.pipeline import Limits, Locate, PipelinedTransport
from gateway.ledger.redispy import RedisPyTransport, client_of, no_retry
from gateway.ledger.scripts import text
from gateway.ledger.sentinel import SentinelMaster
from gateway.ledger.sharing import LIMITS as SHARING
from gateway.ledger.sharing import SharedClient
from gateway.ledger.transport import Transport
from gateway.tasks import TaskSet


@dataclass(frozen=True, slots=True)
class Store:
    """Settlement has its own connections, so that it never queues behind admission, and so has
    `client`, which is for records, pub/sub and administration. `warnings` are for an operator to
    read.
    """

    admission: Transport
    settlement: Transport
    client: "Redis | RedisCluster"
    closing: Callable[[], Awaitable[None]]
    description: str = ""
    warnings: tuple[str, ...] = ()

    async def close(self) -> None:
        """Calls under way are answered first."""
        await self.closing()

    @classmethod
    def over(cls, client: Redis, description: str) -> "Store":
        """A store that does everything through one redis-py client, and closes it."""
        transport = RedisPyTransport(client)
        return cls(transport, transport, client, client.aclose, description)

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
        server = server or fakeredis.FakeServer()
        # The Lua of the server is made for its first script, and stays.
        with fakeredis.FakeRedis(server=server) as first:
            first.eval(text("fake_struct"), 0)
        client: Redis = fakeredis.FakeAsyncRedis(
            server=server,
            protocol=2,
            retry=no_retry(),
            connection_pool_class=BlockingConnectionPool,
        )
        return cls.over(client, f"fakeredis {fakeredis.__version__}")


async def connect(
    url: str, *, op_timeout_s: float = 0.25, wait_replicas: int = 0, pending_max: int = 2048
) -> Store:
    """Open the store that `url` names, and see that it will do.

    `wait_replicas`: replicas that must have an admission before it counts. Raises `StoreError` when
    the store cannot be reached, `ConfigError` when the URL is wrong or the server may lose books.
    """
    place = parse(url)
    settling = Limits(op_timeout_s=op_timeout_s, pending_max=pending_max)
    admitting = replace(settling, replicas=wait_replicas)
    async with AsyncExitStack() as opened:
        client, transports = await _ways(place, (admitting, settling, SHARING), opened)
        for transport in transports:
            await transport.start()
            opened.push_async_callback(transport.close)
        warnings = await check(client)
        closing = opened.pop_all().aclose
    return Store(*transports[:2], client, closing, str(place), warnings)


Pipelined = PipelinedTransport | ClusterTransport
Ways = tuple[Pipelined, Pipelined, Pipelined]
"""For admission and settlement, and one that the client shares."""


async def _ways(
    place: Place, limits: tuple[Limits, Limits, Limits], opened: AsyncExitStack
) -> tuple["Redis | RedisCluster", Ways]:
    """The redis-py client and the transports for this kind of place; `opened` will close the first
    of them."""
    match place.kind:
        case Kind.CLUSTER:
            cluster = await cluster_client(place)
            opened.push_async_callback(cluster.end)
            admission, settlement, shared = (ClusterTransport(place, each) for each in limits)
            cluster.share(shared)
            return cluster, (admission, settlement, shared)
        case Kind.SENTINEL:
            return await _guarded(SentinelMaster(place), limits, opened)
        case Kind.SINGLE:
            address = place.addresses[0]

            async def locate() -> Address:
                return address

            client = client_of(address)
            opened.push_async_callback(client.aclose)
            return client, _pipelined(client, locate, limits)


async def _guarded(
    master: SentinelMaster, limits: tuple[Limits, Limits, Limits], opened: AsyncExitStack
) -> tuple[Redis, Ways]:
    opened.push_async_callback(master.close)
    client = master.client()
    opened.push_async_callback(client.aclose)
    transports = _pipelined(client, master.locate, limits)

    def moved(address: Address) -> None:
        for transport in transports:
            transport.move(address)

    following = TaskSet()
    following.start(master.follow(moved), name="follow the master")
    opened.push_async_callback(following.stop)
    return client, transports


def _pipelined(
    client: SharedClient, locate: Locate, limits: tuple[Limits, Limits, Limits]
) -> tuple[PipelinedTransport, PipelinedTransport, PipelinedTransport]:
    admission, settlement, shared = (PipelinedTransport(locate, each) for each in limits)
    client.share(shared)
    return admission, settlement, shared
