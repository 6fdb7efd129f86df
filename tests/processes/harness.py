"""Gateways as processes before one real Redis, with accounts made for the test; all audited.

    async with deployed(tmp_path, Wishes(upstream.url), gateways=2) as house:
        first, second = house.gateways
        acme = await house.customer("acme")

At the end nothing may be left: every gateway that still runs stops with exit code 0 and has logged
no error (but those the test foresees), no reservation is open, and the audit finds nothing.
"""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from redis.asyncio import Redis

from gateway.clock import StoreClock
from gateway.ledger.audit import audit
from gateway.ledger.frame import Terms
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.quota import Snapshot
from gateway.ledger.redispy import no_retry
from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts, NewAccount
from gateway.records.api_keys import ApiKey, ApiKeys, KeyPolicy
from gateway.records.key_text import KeyKind
from gateway.settings import read
from tests.processes.clients import Kept, Upload
from tests.processes.configuration import PLAN, Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.redis_server import RedisServer
from tests.stores import BINARIES

Client = Kept | Upload
C = TypeVar("C", bound=Client)


@dataclass(frozen=True, slots=True)
class Customer:
    """An account with an API key, and the terms it is on."""

    id: str
    key: str
    terms: Terms

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key}


@dataclass
class House:
    """`foreseen`: words of errors in the logs that belong to what the test does."""

    redis: RedisServer
    store: Store
    ledger: Ledger
    directory: Path
    gateways: list[GatewayProcess]
    customers: list[Customer] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    foreseen: list[str] = field(default_factory=list)

    async def gateway(self, wishes: Wishes) -> GatewayProcess:
        """One more gateway, running."""
        name = f"gateway-{len(self.gateways)}"
        process = GatewayProcess(name, self.directory, wishes)
        self.gateways.append(process)
        await process.start()
        return process

    async def customer(
        self,
        account_id: str,
        *,
        storage: int | None = None,
        access_key_id: str | None = None,
    ) -> Customer:
        """A new account on the usual plan, `storage` bytes its own limit; with an S3 access key id
        if one is given."""
        limits: Mapping[str, int | None] = {} if storage is None else {"storage_bytes": storage}
        account = await Accounts(self.store.client).create(
            NewAccount(account_id, PLAN, limits=limits)
        )
        assert isinstance(account, Account)
        await self.ledger.open_books(account_id)
        keys = ApiKeys(self.store.client)
        _, secret = await keys.create(account_id, KeyPolicy())
        if access_key_id is not None:
            adopted = await keys.adopt(account_id, KeyKind.S3, access_key_id, KeyPolicy())
            assert isinstance(adopted, ApiKey)
        catalog = read(self.gateways[0].config_path).catalog
        terms = Terms(account_id, catalog.meters, catalog.plans[PLAN], limits=limits)
        customer = Customer(account_id, secret, terms)
        self.customers.append(customer)
        return customer

    def kept(self, gateway: GatewayProcess, customer: Customer) -> Kept:
        """A kept connection; the house closes it, as all clients made here."""
        return self._client(Kept(gateway.port, customer.key))

    def upload(
        self,
        gateway: GatewayProcess,
        customer: Customer,
        name: str,
        size: int,
        *,
        chunked: bool = False,
    ) -> Upload:
        """A PUT of /files/`name`."""
        return self._client(
            Upload(gateway.port, customer.key, f"/files/{name}", size, chunked=chunked)
        )

    def open_leases(self, customer: Customer) -> int:
        """How many reservations are open, looked at without touching any."""
        found = self.redis.run("ZCARD", keys_of(customer.id).leases)
        assert isinstance(found, int)
        return found

    async def standing(self, customer: Customer, meter: str = "storage_bytes") -> tuple[int, int]:
        """(used, reserved)"""
        snapshot = await self.ledger.snapshot(customer.terms)
        quota = next(quota for quota in snapshot.quotas if quota.meter.name == meter)
        return quota.used, quota.reserved

    async def settled(self, customer: Customer, *, within_s: float = 20.0) -> Snapshot:
        """How the account stands once nothing of it is open any more."""
        await until(
            lambda: not self.open_leases(customer),
            f"everything of {customer.id} is settled",
            within_s=within_s,
        )
        return await self.ledger.snapshot(customer.terms)

    async def findings(self, customer: Customer) -> list[str]:
        """What the audit finds wrong now; it may be asked while requests run."""
        return [str(finding) for finding in await audit(self.store.client, customer.id)]

    def _client(self, client: C) -> C:
        self.clients.append(client)
        return client

    async def close(self) -> None:
        """Stop what runs, and prove that nothing is left."""
        for gateway in self.gateways:
            if gateway.alive:
                assert await gateway.stop() == 0, gateway.log
            errors = [event["message"] for event in gateway.events("ERROR", "CRITICAL")]
            unforeseen = [e for e in errors if not any(words in e for words in self.foreseen)]
            assert unforeseen == [], gateway.log
        for customer in self.customers:
            snapshot = await self.settled(customer)
            assert [str(quota) for quota in snapshot.quotas if quota.reserved] == []
            assert await self.findings(customer) == []


@contextlib.asynccontextmanager
async def deployed(
    directory: Path, wishes: Wishes, *, gateways: int = 1, redis_url: str = ""
) -> AsyncIterator[House]:
    """The newest Redis of this machine, and gateways that reach it by `redis_url` if one is given
    (a proxy), else by its unix socket."""
    # Not pytest's own directory: the path of a unix socket has 107 bytes at most.
    place = Path(tempfile.mkdtemp(prefix="qg-house-"))
    redis = RedisServer(BINARIES[-1], place)
    redis.start()
    connection = Redis(unix_socket_path=str(redis.socket), protocol=2, retry=no_retry())
    store = Store.over(connection, redis.binary.name)
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    house = House(redis, store, ledger, directory, [])
    try:
        for _ in range(gateways):
            await house.gateway(wishes.but(redis=redis_url or redis.url))
        yield house
        await house.close()
    except BaseException:  # Also when cancelled: a test that hangs needs the logs the most.
        for gateway in house.gateways:
            print(f"-- the end of the log of {gateway.name}:", gateway.log[-4_000:], sep="\n")
        raise
    finally:
        for client in house.clients:
            client.close()
        for gateway in house.gateways:
            gateway.dispose()
        await store.close()
        redis.stop()
        shutil.rmtree(place)
