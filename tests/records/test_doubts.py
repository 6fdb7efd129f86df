"""Rows of doubts: due in their time, claimed by one, listed, closed."""

from dataclasses import replace

import pytest

from gateway.ledger.store import Store
from gateway.records.doubts import Doubt, DoubtKind, Doubts

DOUBT = Doubt(
    "acme", "r-1", "upload", {"name": "a%20b"}, {"storage_bytes": 5}, "files/a", "k1", ("c", "ann")
)


@pytest.fixture
def rows(store: Store) -> Doubts:
    return Doubts(store.client)


async def test_a_doubt_is_claimed_by_one_and_due_again_later(rows: Doubts) -> None:
    await rows.open(DOUBT, lease_ms=60_000, look_after_ms=0)
    now_ms, (found,) = await rows.claim(10, claim_ms=60_000)
    assert replace(found, since_ms=0, until_ms=0) == DOUBT
    assert found.until_ms - found.since_ms == 60_000
    assert abs(now_ms - found.since_ms) < 10_000
    assert (await rows.claim(10, claim_ms=60_000))[1] == ()
    await rows.look_again(found, 0)
    assert (await rows.claim(10, claim_ms=0))[1] == (found,)


async def test_a_doubt_that_is_not_due_is_listed_only(rows: Doubts) -> None:
    await rows.open(DOUBT, lease_ms=60_000, look_after_ms=60_000)
    assert (await rows.claim(10, claim_ms=0))[1] == ()
    (listed,) = await rows.list()
    assert listed.reservation == "r-1"


async def test_a_closed_doubt_is_gone(rows: Doubts) -> None:
    await rows.open(DOUBT, lease_ms=60_000, look_after_ms=0)
    await rows.close(DOUBT)
    assert await rows.list() == ()
    assert (await rows.claim(10, claim_ms=0))[1] == ()


async def test_an_entry_without_its_row_is_dropped(rows: Doubts, store: Store) -> None:
    await rows.open(DOUBT, lease_ms=60_000, look_after_ms=0)
    await store.client.delete("qg:{acme}:doubt:r-1")
    assert (await rows.claim(10, claim_ms=0))[1] == ()
    assert await store.client.zcard("qg:doubts") == 0


async def test_one_doubt_is_claimed_out_of_its_turn(rows: Doubts) -> None:
    await rows.open(DOUBT, lease_ms=60_000, look_after_ms=2_000)
    found = await rows.get("acme", "r-1")
    assert found is not None
    assert await rows.claim_one(found, claim_ms=15_000, far_ms=1_000) is None
    now_ms = await rows.claim_one(found, claim_ms=15_000, far_ms=5_000)
    assert now_ms is not None
    assert abs(now_ms - found.since_ms) < 10_000
    assert await rows.claim_one(found, claim_ms=15_000, far_ms=5_000) is None
    await rows.close(found)
    assert await rows.get("acme", "r-1") is None
    assert await rows.claim_one(found, claim_ms=15_000, far_ms=5_000) is None


async def test_what_kind_of_doubt_it_is_and_of_which_name_is_kept(rows: Doubts) -> None:
    doubt = replace(DOUBT, kind=DoubtKind.COMPLETION, named=("a name", 3))
    await rows.open(doubt, lease_ms=60_000, look_after_ms=0)
    found = await rows.get("acme", "r-1")
    assert found is not None
    assert replace(found, since_ms=0, until_ms=0) == doubt
