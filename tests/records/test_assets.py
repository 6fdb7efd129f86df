"""Owners of assets."""

from gateway.records.assets import Owners
from gateway.records.rows import RedisClient


async def test_the_last_account_that_stored_an_asset_owns_it(client: RedisClient) -> None:
    owners = Owners(client)
    assert await owners.find("files/a") is None
    await owners.record("files/a", "acme")
    await owners.record("files/a", "other")
    assert await owners.find("files/a") == "other"
    await owners.forget("files/a")
    assert await owners.find("files/a") is None


async def test_a_delete_that_lost_a_race_leaves_the_new_owner(client: RedisClient) -> None:
    """failure row 60"""
    owners = Owners(client)
    await owners.record("files/a", "other")
    await owners.forget("files/a", "acme")
    assert await owners.find("files/a") == "other"
    await owners.forget("files/a", "other")
    assert await owners.find("files/a") is None
