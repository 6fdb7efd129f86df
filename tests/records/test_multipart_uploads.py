"""Rows of multipart uploads: parts count once, whatever is on its way, at however many gateways."""

import asyncio

from gateway.ledger.store import Store
from gateway.records.multipart_uploads import Busy, Claim, MultipartUploads, Upload, UploadName

LEASE_MS = 60_000
NAME = UploadName("acme", "s3/b/k", "U/1")


async def opened(store: Store) -> MultipartUploads:
    rows = MultipartUploads(store.client)
    await rows.open(NAME, "r1", "k1", lease_ms=LEASE_MS)
    return rows


async def total(rows: MultipartUploads, part: int, size: int) -> int:
    claim = await rows.claim(NAME, part, size, lease_ms=LEASE_MS)
    assert isinstance(claim, Claim)
    return claim.total


async def test_a_row_is_found_by_account_object_and_upload(store: Store) -> None:
    rows = await opened(store)
    assert await rows.find(NAME) == Upload("r1", "k1")
    for other in (
        UploadName("other", "s3/b/k", "U/1"),
        UploadName("acme", "s3/b/l", "U/1"),
        UploadName("acme", "s3/b/k", "U/2"),
    ):
        assert await rows.find(other) is None
        assert await rows.claim(other, 1, 5, lease_ms=LEASE_MS) is None
    assert await rows.claim(NAME, 1, 5, lease_ms=LEASE_MS) == Claim("r1", "k1", 5)


async def test_a_row_may_be_without_an_api_key(store: Store) -> None:
    rows = MultipartUploads(store.client)
    await rows.open(NAME, "r1", None, lease_ms=LEASE_MS)
    assert await rows.find(NAME) == Upload("r1", None)
    assert await rows.claim(NAME, 1, 5, lease_ms=LEASE_MS) == Claim("r1", None, 5)


async def test_an_upload_is_that_of_the_subject_it_was_opened_for(store: Store) -> None:
    rows = MultipartUploads(store.client)
    of = ("creator", 'a:"b" ☃')
    await rows.open(NAME, "r1", "k1", of, lease_ms=LEASE_MS)
    assert await rows.find(NAME) == Upload("r1", "k1", subject=of)
    assert await rows.claim(NAME, 1, 5, lease_ms=LEASE_MS) == Claim("r1", "k1", 5, of)


async def test_parts_add_up(store: Store) -> None:
    rows = await opened(store)
    assert await total(rows, 1, 5) == 5
    assert await total(rows, 2, 7) == 12
    assert await total(rows, 10_000, 2**53 - 100) == 2**53 - 88
    assert await rows.total(NAME, (1, 2)) == 12
    assert await rows.total(NAME, (1, 3)) == 5
    assert await rows.total(NAME, tuple(range(1, 10_001))) == 2**53 - 88


async def test_a_part_that_is_not_stored_is_taken_back(store: Store) -> None:
    rows = await opened(store)
    await total(rows, 1, 5)
    assert await total(rows, 2, 100) == 105
    await rows.land(NAME, 2, None)
    assert await total(rows, 3, 1) == 6
    assert await rows.total(NAME, (2,)) == 0


async def test_a_part_sent_again_counts_as_the_larger_until_it_is_known(store: Store) -> None:
    rows = await opened(store)
    await total(rows, 1, 5)
    await rows.land(NAME, 1, 5)
    assert await total(rows, 1, 3) == 5
    await rows.land(NAME, 1, None)  # It failed: what was there is still there.
    assert await rows.total(NAME, (1,)) == 5
    assert await total(rows, 1, 3) == 5
    await rows.land(NAME, 1, 3)
    assert await rows.total(NAME, (1,)) == 3
    assert await total(rows, 1, 9) == 9
    await rows.land(NAME, 1, 8)  # Less than was declared.
    assert await total(rows, 2, 1) == 9


async def test_two_requests_for_one_part(store: Store) -> None:
    rows = await opened(store)
    assert await total(rows, 1, 5) == 5
    assert await total(rows, 1, 7) == 7
    await rows.land(NAME, 1, 5)
    assert await rows.total(NAME, (1,)) == 7  # The other may win yet.
    await rows.land(NAME, 1, None)
    assert await rows.total(NAME, (1,)) == 5


async def test_a_part_whose_gateway_died_counts_as_what_it_may_be(store: Store) -> None:
    rows = await opened(store)
    await total(rows, 1, 5)
    assert await total(rows, 1, 3) == 5
    await rows.land(NAME, 1, 3)
    assert await rows.total(NAME, (1,)) == 5


async def test_parts_may_come_at_once(store: Store) -> None:
    rows = await opened(store)
    found = await asyncio.gather(*(total(rows, part, 1) for part in range(1, 51)))
    assert sorted(found) == list(range(1, 51))


async def test_what_is_completed_takes_no_more_parts(store: Store) -> None:
    rows = await opened(store)
    await total(rows, 1, 5)
    assert await rows.completing(NAME, 5, lease_ms=LEASE_MS) is None
    assert await rows.find(NAME) == Upload("r1", "k1", completing=True)
    await rows.completed(NAME)
    assert await rows.find(NAME) == Upload("r1", "k1", completed=True, completing=True)
    assert await rows.claim(NAME, 2, 5, lease_ms=LEASE_MS) is None


async def test_a_completion_that_did_not_end_is_known_to_the_next(store: Store) -> None:
    rows = await opened(store)
    assert await rows.completing(NAME, 5, lease_ms=LEASE_MS) is None
    assert await rows.claim(NAME, 1, 5, lease_ms=LEASE_MS) is Busy.BUSY
    assert await rows.completing(NAME, 6, lease_ms=LEASE_MS) == 5
    await rows.not_completed(NAME)
    assert await rows.find(NAME) == Upload("r1", "k1", completing=True)
    await rows.not_completed(NAME)
    assert await rows.find(NAME) == Upload("r1", "k1")
    assert await total(rows, 1, 5) == 5
    assert await rows.completing(NAME, 7, lease_ms=LEASE_MS) is None


async def test_what_is_forgotten_is_not_made_again(store: Store) -> None:
    rows = await opened(store)
    await total(rows, 1, 5)
    await rows.forget(NAME)
    await rows.land(NAME, 1, 5)
    await rows.completed(NAME)
    await rows.not_completed(NAME)
    assert await rows.completing(NAME, 5, lease_ms=LEASE_MS) is None
    assert await rows.find(NAME) is None
    assert not await store.client.exists(NAME.key)


async def test_a_row_ends_after_its_lease(store: Store) -> None:
    rows = await opened(store)
    for again in (
        rows.claim(NAME, 1, 5, lease_ms=2 * LEASE_MS),
        rows.completing(NAME, 5, lease_ms=2 * LEASE_MS),
    ):
        await store.client.pexpire(NAME.key, LEASE_MS)
        await again
        assert await store.client.pttl(NAME.key) > LEASE_MS
