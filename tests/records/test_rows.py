"""Rows: whole changes, told to everyone, or errors that are ours."""

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.records.rows import CHANNEL, RedisClient, Rows


async def test_a_row_is_created_once(client: RedisClient) -> None:
    rows = Rows(client)
    fresh, row = await rows.create("row", {"a": "1"}, b"m")
    assert (fresh, row["a"], set(row)) == (True, "1", {"a", "created_ms"})
    assert await rows.create("row", {"a": "2"}, b"m") == (False, row)
    assert await rows.read("row") == row


async def test_an_empty_value_removes_its_field(client: RedisClient) -> None:
    rows = Rows(client)
    await rows.create("row", {"a": "1", "b": "2"}, b"m")
    changed = await rows.change("row", {"a": "", "b": "3", "c": "4"}, b"m")
    assert (changed.get("a"), changed["b"], changed["c"]) == (None, "3", "4")


async def test_what_does_not_exist_is_not_made_by_a_change(client: RedisClient) -> None:
    rows = Rows(client)
    assert await rows.change("row", {"a": "1"}, b"m") == {}
    assert await rows.end("row", 1_000, b"m") == {}
    assert await rows.read("row") == {}


async def test_every_change_is_published_and_nothing_else(client: RedisClient) -> None:
    rows = Rows(client)
    async with client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        await rows.create("row", {"a": "1"}, b"created")
        await rows.create("row", {"a": "1"}, b"created again")
        await rows.change("row", {"a": "2"}, b"changed")
        await rows.change("no row", {"a": "2"}, b"not changed")
        await rows.end("row", 0, b"ended")
        heard = [await subscription.get_message(timeout=1) for _ in range(4)]
        assert [message["data"] for message in heard if message] == [
            1, b"created", b"changed", b"ended",
        ]  # fmt: skip


async def test_a_key_of_another_type_is_an_error_and_is_not_asked_twice(
    client: RedisClient,
) -> None:
    """failure row 26: a corrupted key is an error, and nothing is half written."""
    await client.set("row", "text")
    rows = Rows(client)
    with pytest.raises(StoreError) as raised:
        await rows.read("row")
    assert (raised.value.error, raised.value.transient) == (STORE_UNAVAILABLE, False)
    with pytest.raises(StoreError):
        await rows.change("row", {"a": "1"}, b"m")
    assert await client.get("row") == b"text"
