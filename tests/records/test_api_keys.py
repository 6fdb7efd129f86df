"""API keys: known by digest, found by their secret, rotated and revoked by their public id."""

import asyncio

import pytest

from gateway.records.api_keys import ApiKey, ApiKeys, KeyPolicy, Taken
from gateway.records.key_text import KeyKind, digest
from gateway.records.rows import RedisClient, text

FOREIGN = "sk_live_0123456789abcdef"
POLICY = KeyPolicy("ci", {"storage_bytes": 1_000})


@pytest.fixture
def keys(client: RedisClient) -> ApiKeys:
    return ApiKeys(client)


async def found(keys: ApiKeys, secret: str, kind: KeyKind = KeyKind.SECRET) -> ApiKey | None:
    return await keys.find(digest(kind, secret))


async def works(keys: ApiKeys, secret: str) -> bool:
    key = await found(keys, secret)
    return key is not None and key.valid(key.created_ms)


async def test_a_key_is_found_by_its_digest_and_the_secret_is_stored_nowhere(
    keys: ApiKeys, client: RedisClient
) -> None:
    """failure row 68: what is stored names nobody's secret."""
    key, secret = await keys.create("acme", POLICY)
    assert await found(keys, secret) == key
    assert (key.account, key.name, key.limits) == ("acme", "ci", {"storage_bytes": 1_000})
    stored = [text(name) async for name in client.scan_iter()]
    for name in stored:
        held = await client.hgetall(name) if "qg:key:" in name else await client.smembers(name)
        assert secret not in name + str(held)
    assert sorted(stored) == sorted(["qg:{acme}:keys", f"qg:key:{digest(key.kind, secret)}"])


async def test_keys_are_listed_by_account(keys: ApiKeys) -> None:
    first, _ = await keys.create("acme", POLICY)
    second, _ = await keys.create("acme", KeyPolicy())
    await keys.create("other", KeyPolicy())
    assert set(key.id for key in await keys.list("acme")) == {first.id, second.id}
    assert await keys.list("nobody") == ()
    assert await keys.list("no}body") == ()


async def test_a_rotated_key_keeps_its_id_name_and_limits(keys: ApiKeys) -> None:
    """failure row 50: what the key has used stays under its id."""
    key, old = await keys.create("acme", POLICY)
    rotated = await keys.rotate("acme", key.id)
    assert rotated is not None
    fresh, new = rotated
    assert (fresh.id, fresh.name, fresh.limits) == (key.id, key.name, key.limits)
    ended = await found(keys, old)
    assert ended is not None
    assert ended.expires_ms is not None
    assert not ended.valid(ended.expires_ms)
    assert await works(keys, new)


async def test_the_old_secret_works_for_the_grace_that_was_given(keys: ApiKeys) -> None:
    key, old = await keys.create("acme", POLICY)
    await keys.rotate("acme", key.id, grace_ms=60_000)
    ending = await found(keys, old)
    assert ending is not None
    assert ending.expires_ms is not None
    assert 60_000 <= ending.expires_ms - key.created_ms < 70_000
    assert ending.valid(ending.expires_ms - 1)
    assert not ending.valid(ending.expires_ms)


async def test_a_second_rotation_never_lengthens_a_grace(keys: ApiKeys) -> None:
    key, old = await keys.create("acme", POLICY)
    await keys.rotate("acme", key.id, grace_ms=1_000)
    first = await found(keys, old)
    await keys.rotate("acme", key.id, grace_ms=3_600_000)
    assert await found(keys, old) == first
    assert len(await keys.list("acme")) == 3


async def test_a_revoked_key_with_all_its_secrets_works_no_more(keys: ApiKeys) -> None:
    """failure row 49: the next request is refused."""
    key, old = await keys.create("acme", POLICY)
    rotated = await keys.rotate("acme", key.id, grace_ms=60_000)
    assert rotated is not None
    revoked = await keys.revoke("acme", key.id)
    assert [k.revoked for k in revoked] == [True, True]
    assert not await works(keys, old)
    assert not await works(keys, rotated[1])
    assert await keys.rotate("acme", key.id) is None


async def test_a_key_of_another_account_cannot_be_touched(keys: ApiKeys) -> None:
    """failure row 56"""
    key, secret = await keys.create("acme", POLICY)
    assert await keys.revoke("other", key.id) == ()
    assert await keys.rotate("other", key.id) is None
    assert await works(keys, secret)


async def test_a_secret_that_was_found_somewhere_is_revoked_by_itself(keys: ApiKeys) -> None:
    key, secret = await keys.create("acme", POLICY)
    revoked = await keys.revoke_text(KeyKind.SECRET, secret)
    assert revoked is not None
    assert (revoked.id, revoked.revoked) == (key.id, True)
    assert not await works(keys, secret)
    assert await keys.revoke_text(KeyKind.SECRET, FOREIGN) is None


async def test_a_foreign_secret_becomes_a_key_and_repeating_is_harmless(keys: ApiKeys) -> None:
    key = await keys.adopt("acme", KeyKind.SECRET, FOREIGN, POLICY)
    assert isinstance(key, ApiKey)
    assert key.shown == "sk_live_…cdef"
    assert await keys.adopt("acme", KeyKind.SECRET, FOREIGN, POLICY) == key
    assert await keys.list("acme") == (key,)


async def test_an_s3_access_key_id_is_no_secret(keys: ApiKeys) -> None:
    key = await keys.adopt("acme", KeyKind.S3, "AKIAIOSFODNN7EXAMPLE", POLICY)
    assert isinstance(key, ApiKey)
    assert await found(keys, "AKIAIOSFODNN7EXAMPLE", KeyKind.S3) == key
    assert await found(keys, "AKIAIOSFODNN7EXAMPLE", KeyKind.SECRET) is None
    assert await keys.rotate("acme", key.id) is None


async def test_what_is_somebodys_or_revoked_is_not_adopted(keys: ApiKeys) -> None:
    await keys.adopt("acme", KeyKind.SECRET, FOREIGN, POLICY)
    assert await keys.adopt("other", KeyKind.SECRET, FOREIGN, POLICY) == Taken("acme")
    assert await keys.adopt("acme", KeyKind.SECRET, FOREIGN, KeyPolicy("x")) == Taken("acme")
    assert await keys.list("other") == ()
    await keys.revoke_text(KeyKind.SECRET, FOREIGN)
    assert await keys.adopt("acme", KeyKind.SECRET, FOREIGN, POLICY) == Taken("acme")


async def test_accounts_that_race_for_one_secret_never_share_it(keys: ApiKeys) -> None:
    rivals = ["acme", "other"] * 8
    answers = await asyncio.gather(
        *(keys.adopt(account, KeyKind.SECRET, FOREIGN, POLICY) for account in rivals)
    )
    winners = {answer.account for answer in answers if isinstance(answer, ApiKey)}
    assert len(winners) == 1
    listed = [await keys.list(account) for account in ("acme", "other")]
    assert sorted(len(of) for of in listed) == [0, 1]
    (key,) = listed[0] + listed[1]
    assert len(await keys.revoke(key.account, key.id)) == 1


async def test_an_index_entry_without_a_row_is_nobodys_key(
    keys: ApiKeys, client: RedisClient
) -> None:
    key, secret = await keys.create("acme", POLICY)
    await client.delete(f"qg:key:{digest(KeyKind.SECRET, secret)}")
    assert await keys.list("acme") == ()
    assert await keys.revoke("acme", key.id) == ()
