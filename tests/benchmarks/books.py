"""The accounts of a benchmark, made and looked at by the commands an operator uses."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.admin import account_commands, key_commands
from gateway.admin.account_commands import AccountOrder
from gateway.admin.command import Desk
from gateway.catalog.catalog import Catalog
from gateway.cli.session import desk
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Line
from gateway.ledger.quota import Quota, Snapshot
from tests.benchmarks.peers.gateway import PLAN

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Customer:
    """`shown` is how the key may be logged."""

    account: str
    key: str
    shown: str
    terms: Terms


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all accounts together, in the meters' units."""

    uploads: int
    stored: int
    delivered: int
    reserved: int
    open_reservations: int


class Books:
    """An operator's desk that stays open, for code that is not async."""

    def __init__(self, runner: asyncio.Runner, opened: Desk) -> None:
        self._runner = runner
        self._desk = opened

    def customers(
        self, count: int, name: str = "bench", *, plan: str = PLAN
    ) -> tuple[Customer, ...]:
        """New accounts, each with a key."""

        async def work() -> tuple[Customer, ...]:
            return tuple([await _customer(self._desk, f"{name}-{n}", plan) for n in range(count)])

        return self._runner.run(work())

    def upload(self, customers: Sequence[Customer], size: int) -> None:
        """As if each had uploaded something of that size, one as often as it is named."""
        amounts = {"storage_bytes": size, "ingress_bytes": size, "uploads": 1}
        lines = [Line(meter, amount, amount) for meter, amount in amounts.items()]

        async def work() -> None:
            for number, customer in enumerate(customers):
                name = f"upload-{customer.account}-{number}"
                await self._desk.ledger.reserve(customer.terms, name, lines, lease_ms=10_000)
                await self._desk.ledger.commit(customer.terms, name, amounts)

        self._runner.run(work())

    def standing(self, customers: Sequence[Customer]) -> Standing:
        snapshots = self._snapshots(customers)
        quotas = [quota for snapshot in snapshots for quota in snapshot.quotas]

        def used(meter: str) -> int:
            return sum(quota.used for quota in quotas if quota.meter.name == meter)

        return Standing(
            uploads=used("uploads"),
            stored=used("storage_bytes"),
            delivered=used("egress_bytes"),
            reserved=sum(quota.reserved for quota in quotas),
            open_reservations=sum(snapshot.open_count for snapshot in snapshots),
        )

    def quotas(self, customer: Customer) -> dict[str, Quota]:
        (snapshot,) = self._snapshots([customer])
        return {quota.meter.name: quota for quota in snapshot.quotas}

    def now_ms(self) -> int:
        """By the store's clock."""
        return self._desk.clock.now_ms()

    def _snapshots(self, customers: Sequence[Customer]) -> list[Snapshot]:
        async def work() -> list[Snapshot]:
            asked = (self._desk.ledger.snapshot(customer.terms) for customer in customers)
            return list(await asyncio.gather(*asked))

        return self._runner.run(work())


@contextmanager
def opened(config: Path) -> Iterator[Books]:
    """The books of the store that a gateway's configuration names."""
    with asyncio.Runner() as runner:
        at_desk = desk(config)
        found = runner.run(_awaited(at_desk.__aenter__))
        try:
            yield Books(runner, found)
        finally:
            runner.run(_awaited(lambda: at_desk.__aexit__(None, None, None)))


async def _awaited(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()


async def _customer(opened: Desk, account: str, plan: str) -> Customer:
    await account_commands.create(opened, AccountOrder(account, plan))
    issued = await key_commands.create(opened, account)
    return Customer(account, issued.secret, issued.key.shown, _terms(opened.catalog, account, plan))


def _terms(catalog: Catalog, account: str, plan: str) -> Terms:
    return Terms(account, catalog.meters, catalog.plans[plan])
