"""Redis Sentinel: asked where the master is before each attempt to connect, never remembered.

The sentinels may still name a master that has just failed; the greeting of the connection finds out
that a server is no primary, and they are asked again. They are also asked every second: a master
that was replaced while it was well goes on taking writes, and losing them, until it is demoted.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from gateway.errors import StoreError
from gateway.ledger.address import Address, Place
from gateway.ledger.redispy import client_options, no_retry
from gateway.ledger.resp import unavailable
from gateway.ledger.sharing import TIMEOUT_S, SharedClient

ASK_TIMEOUT_S = 0.3
"""For one sentinel; the next one is asked then."""
ASK_EVERY_S = 1.0


class SentinelMaster:
    """`locate` is what `PipelinedTransport` wants; `client` a redis-py client of the master."""

    __slots__ = ("_master", "_name", "_sentinel")

    def __init__(self, place: Place) -> None:
        self._name = place.master
        self._master = place.addresses[0]
        # Untyped in redis-py.
        make: Any = Sentinel
        self._sentinel = make(
            [(address.host, address.port) for address in place.addresses],
            sentinel_kwargs={
                "protocol": 2,
                "retry": no_retry(),
                "socket_timeout": ASK_TIMEOUT_S,
                "socket_connect_timeout": ASK_TIMEOUT_S,
            },
        )

    async def locate(self) -> Address:
        try:
            host, port = await self._sentinel.discover_master(self._name)
        except RedisError as error:
            raise unavailable(f"no sentinel names a master of {self._name!r} ({error})") from error
        return self._master.at(str(host), int(port))

    async def follow(self, moved: Callable[[Address], None]) -> None:
        """Tell where the master is, for as long as this runs."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                moved(await self.locate())
            except StoreError:
                continue  # Nobody to ask. Who has a connection keeps it.

    def client(self, *, timeout_s: float = TIMEOUT_S) -> SharedClient:
        options = client_options(self._master, timeout_s=timeout_s)
        tls = {"ssl": True, **self._master.tls_files} if self._master.tls else {}
        client: SharedClient = self._sentinel.master_for(
            self._name, SharedClient, db=self._master.db, **options, **tls
        )
        return client

    async def close(self) -> None:
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()
