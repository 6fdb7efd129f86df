"""Records and commands on a real Redis Cluster: accounts and keys lie on different nodes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.admin import account_commands, key_commands, ledger_commands
from gateway.admin.account_commands import AccountOrder
from gateway.admin.record import Hand
from gateway.catalog.routes import CredentialKind
from gateway.clock import StoreClock
from gateway.ledger.store import connect
from gateway.records.assets import Owners
from gateway.records.identities import Identities
from tests.admin.house import House
from tests.redis_cluster import RedisCluster, running_cluster
from tests.stores import BINARIES

pytestmark = pytest.mark.skipif(not BINARIES, reason="no redis-server was found")
BEARER = CredentialKind.BEARER
NAMES = [f"acme-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster(BINARIES[-1]) as cluster:
        yield cluster


@pytest.fixture
async def house(cluster: RedisCluster) -> AsyncIterator[House]:
    cluster.empty()
    store = await connect(cluster.url)
    house = House(store)
    await house.identities.start()
    yield house
    await house.identities.stop()
    await store.close()


async def test_accounts_and_keys_on_every_node(house: House) -> None:
    for name in NAMES:
        await account_commands.create(house.desk, AccountOrder(name))
        issued = await key_commands.create(house.desk, name)
        rotated = await key_commands.rotate(house.desk, name, issued.key.id, grace_ms=60_000)
        for secret in (issued.secret, rotated.secret):
            found = await house.identities.find(BEARER, secret)
            assert found is not None
            assert found.account.id == name
        assert len((await key_commands.list_all(house.desk, name)).keys) == 2
        assert (await ledger_commands.usage(house.desk, name)).open_reservations == 0
    listed = await account_commands.list_page(house.desk)
    assert sorted(account.id for account in listed.accounts) == sorted(NAMES)
    assert (await ledger_commands.audit(house.desk)).findings == ()
    assert (await ledger_commands.accept(house.desk, Hand("ann", "why"))).opened == ()


async def test_a_revocation_reaches_gateways_on_other_nodes(house: House) -> None:
    """failure row 49"""
    others = [Identities(house.store.client, StoreClock()) for _ in range(3)]
    for other in others:
        await other.start()
    for name in NAMES[:4]:
        await house.open_account(name)
        issued = await key_commands.create(house.desk, name)
        gateways = (house.identities, *others)
        for gateway in gateways:
            assert await gateway.find(BEARER, issued.secret) is not None
        await key_commands.revoke(house.desk, name, issued.key.id)
        async with asyncio.timeout(5):
            for gateway in gateways:
                while await gateway.find(BEARER, issued.secret):
                    for _ in range(10):
                        await asyncio.sleep(0)
    for other in others:
        await other.stop()


async def test_owners_of_assets_on_every_node(house: House) -> None:
    owners = Owners(house.store.client)
    for number in range(20):
        await owners.record(f"files/{number}", "acme")
    for number in range(20):
        assert await owners.find(f"files/{number}") == "acme"
        await owners.forget(f"files/{number}", "acme")
        assert await owners.find(f"files/{number}") is None
