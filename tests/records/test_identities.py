"""Identities: remembered for seconds, forgotten at once, never guessed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.catalog.routes import CredentialKind
from gateway.clock import StoreClock, monotonic_s
from gateway.errors import StoreError
from gateway.ledger.redispy import no_retry
from gateway.records.accounts import Account, Accounts, NewAccount
from gateway.records.api_keys import ApiKey, ApiKeys, KeyPolicy
from gateway.records.identities import DEAF_AGE_MAX_S, Identities, Identity
from gateway.records.invalidation import Changed
from gateway.records.key_text import KeyKind
from gateway.records.memory import Bounds
from gateway.records.rows import CHANNEL, RedisClient
from tests.records.waiting import until
from tests.redis_server import RedisServer

BEARER = CredentialKind.BEARER


class House:
    """An account with a key, and two gateways that know nothing of each other."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self.clock = StoreClock()
        self.accounts = Accounts(client)
        self.keys = ApiKeys(client)
        self.here = Identities(client, self.clock)
        self.there = Identities(client, StoreClock())

    async def open(self) -> None:
        account = await self.accounts.create(NewAccount("acme", "free"))
        assert isinstance(account, Account)
        self.account = account
        self.key, self.secret = await self.keys.create("acme", KeyPolicy())
        await self.here.start()
        await self.there.start()

    async def close(self) -> None:
        await self.here.stop()
        await self.there.stop()

    async def find_everywhere(self) -> list[Identity | None]:
        return [await gateway.find(BEARER, self.secret) for gateway in (self.here, self.there)]

    async def heard(self) -> None:
        """Wait until both gateways have forgotten what they knew of the key."""
        await until(lambda: not len(self.here) and not len(self.there))


async def forgotten_within_s(identities: Identities, secret: str) -> float:
    """How long an identity that is remembered now is still given out."""
    since_s = monotonic_s()
    try:
        while await identities.find(BEARER, secret) is not None:
            for _ in range(10):
                await asyncio.sleep(0)
    except StoreError:
        pass
    return monotonic_s() - since_s


@pytest.fixture
async def house(client: RedisClient) -> AsyncIterator[House]:
    house = House(client)
    await house.open()
    yield house
    await house.close()


async def test_a_key_names_its_account(house: House) -> None:
    assert await house.find_everywhere() == [Identity(house.account, house.key)] * 2
    assert await house.here.account("acme") == house.account
    assert await house.here.account("nobody") is None
    assert await house.here.account("no}body") is None


async def test_the_same_identity_is_the_same_object(house: House) -> None:
    first = await house.here.find(BEARER, house.secret)
    assert await house.here.find(CredentialKind.X_API_KEY, house.secret) is first


async def test_a_revocation_reaches_every_gateway_at_once(house: House) -> None:
    """failure row 49: the next request is refused, on every gateway."""
    await house.find_everywhere()
    await house.keys.revoke("acme", house.key.id)
    await house.heard()
    assert await house.find_everywhere() == [None, None]


async def test_a_suspension_reaches_every_gateway_at_once(house: House) -> None:
    await house.find_everywhere()
    await house.here.account("acme")
    await house.accounts.suspend("acme")
    await house.heard()
    found = await house.here.find(BEARER, house.secret)
    assert found is not None
    assert found.account.suspended
    again = await house.there.account("acme")
    assert again is not None
    assert again.suspended


async def test_a_new_limit_reaches_every_gateway_at_once(house: House) -> None:
    """failure row 51"""
    await house.find_everywhere()
    await house.accounts.set_limit("acme", "storage_bytes", 7)
    await house.heard()
    found = await house.there.find(BEARER, house.secret)
    assert found is not None
    assert found.account.limits == {"storage_bytes": 7}


async def test_a_key_that_was_unknown_a_moment_ago_works_once_adopted(house: House) -> None:
    foreign = "sk_live_0123456789abcdef"
    assert await house.here.find(BEARER, foreign) is None
    key = await house.keys.adopt("acme", KeyKind.SECRET, foreign, KeyPolicy())
    assert isinstance(key, ApiKey)
    await house.heard()
    assert await house.here.find(BEARER, foreign) == Identity(house.account, key)


async def test_revoke_now_names_what_is_to_be_aborted(house: House) -> None:
    """failure row 49: with `cut`, running requests are told as well."""
    told: asyncio.Queue[Changed] = asyncio.Queue()
    house.there.on_cut = told.put_nowait
    await house.keys.revoke("acme", house.key.id)
    await house.keys.revoke("acme", house.key.id, cut=True)
    async with asyncio.timeout(5):
        changed = await told.get()
    assert (changed.account, changed.key_id, changed.cut) == ("acme", house.key.id, True)
    await house.accounts.suspend("acme", cut=True)
    async with asyncio.timeout(5):
        assert await told.get() == Changed("acme", cut=True)


async def test_a_message_of_nobody_makes_gateways_forget_everything(house: House) -> None:
    for message in (b"\xff", b"[]", b"{}", b'"x"', b"null"):
        await house.find_everywhere()
        await house.client.publish(CHANNEL, message)
        await house.heard()


async def test_a_rotated_secret_ends_with_its_grace_by_the_stores_clock(house: House) -> None:
    """failure row 47: a gateway whose clock is off ends it when the others do."""
    await house.keys.rotate("acme", house.key.id, grace_ms=60_000)
    assert await house.here.find(BEARER, house.secret) is not None
    house.clock.learn(house.key.created_ms + 61_000)
    assert await house.here.find(BEARER, house.secret) is None
    assert await house.there.find(BEARER, house.secret) is not None


async def test_an_s3_id_names_an_account_only_where_signatures_are_checked(house: House) -> None:
    public = "AKIAIOSFODNN7EXAMPLE"
    key = await house.keys.adopt("acme", KeyKind.S3, public, KeyPolicy())
    assert isinstance(key, ApiKey)
    assert await house.here.find(CredentialKind.S3, public) == Identity(house.account, key)
    for kind in (BEARER, CredentialKind.X_API_KEY, CredentialKind.CLOUDFLARE):
        assert await house.here.find(kind, public) is None
    assert await house.here.find(CredentialKind.S3, house.secret) is None


async def test_guessed_keys_take_bounded_memory(client: RedisClient) -> None:
    """failure row 64"""
    identities = Identities(client, StoreClock(), bounds=Bounds(missing_max=50))
    for number in range(200):
        assert await identities.find(BEARER, f"guessed-guessed-{number}") is None
        assert await identities.find(BEARER, f"qg_{number:038}") is None
    assert len(identities) == 50


async def test_unknown_revoked_and_mistyped_keys_take_no_more_than_one_look_up(
    redis_server: RedisServer,
) -> None:
    """failure row 64: unknown and revoked take the same path, so timing tells nothing."""
    async with Redis(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
        house = House(client)
        await house.open()
        await house.keys.revoke("acme", house.key.id)
        await house.heard()

        async def look_ups(secret: str) -> int:
            redis_server.run("CONFIG", "RESETSTAT")
            assert await house.here.find(BEARER, secret) is None
            stats = await client.info("commandstats")
            return int(stats.get("cmdstat_hgetall", {}).get("calls", 0))

        assert await look_ups(house.secret) == 1
        assert await look_ups("never-heard-of-this-one") == 1
        assert await look_ups(house.secret[:-1] + "!") == 0
        await house.close()


async def test_a_store_that_is_down_is_an_error_and_never_an_old_answer(
    redis_server: RedisServer,
) -> None:
    """failure row 13: identities fail closed, and come back by themselves."""
    async with Redis(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
        house = House(client)
        await house.open()
        await house.find_everywhere()
        redis_server.kill()
        await until(lambda: not house.here.listening)
        assert await forgotten_within_s(house.here, house.secret) < DEAF_AGE_MAX_S + 1.0
        with pytest.raises(StoreError):
            await house.here.account("other")
        redis_server.start()
        await until(lambda: house.here.listening)
        assert await house.here.find(BEARER, house.secret) is not None
        await house.close()


async def test_a_gateway_that_cannot_listen_remembers_nothing_for_longer_than_a_second(
    redis_server: RedisServer,
) -> None:
    """failure row 49: a revocation is in force within a second even then."""
    redis_server.run(
        "ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels"
    )  # fmt: skip
    socket = str(redis_server.socket)
    async with (
        Redis(unix_socket_path=socket, username="deaf", retry=no_retry()) as deaf,
        Redis(unix_socket_path=socket, retry=no_retry()) as client,
    ):
        house = House(client)
        await house.open()
        identities = Identities(deaf, StoreClock())
        await identities.start()
        assert not identities.listening
        assert await identities.find(BEARER, house.secret) is not None
        await house.keys.revoke("acme", house.key.id)
        assert await forgotten_within_s(identities, house.secret) < DEAF_AGE_MAX_S + 1.0
        await identities.stop()
        await house.close()
    redis_server.run("ACL", "DELUSER", "deaf")


async def test_a_subscription_that_was_cut_makes_the_gateway_forget_everything(
    redis_server: RedisServer,
) -> None:
    async with Redis(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
        house = House(client)
        await house.open()
        await house.find_everywhere()
        redis_server.run("CLIENT", "KILL", "TYPE", "pubsub")
        await house.heard()
        await until(lambda: house.here.listening and house.there.listening)
        assert isinstance((await house.find_everywhere())[0], Identity)
        await house.close()


async def test_a_key_whose_account_is_missing_names_nobody(client: RedisClient) -> None:
    key, secret = await ApiKeys(client).create("nobody", KeyPolicy())
    assert isinstance(key, ApiKey)
    assert await Identities(client, StoreClock()).find(BEARER, secret) is None
