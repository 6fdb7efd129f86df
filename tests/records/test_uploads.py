"""Rows of resumable uploads: what one gateway wrote, another can go on with."""

from dataclasses import replace

from gateway.records.rows import RedisClient
from gateway.records.uploads import DUE, KEEP_MS, Upload, Uploads, UploadState

LEASE_MS = 60_000
PATH = "/uploads/a%20b"
UPLOAD = Upload(
    path=PATH,
    reservation_id="g-1",
    amounts={"storage_bytes": "body", "uploads": 1},
    key_id="k1",
    subject=("creator", "ann"),
    length=1000,
    offset=10,
    asset="uploads/a%20b",
    partial=True,
    parts={"/uploads/c": "g-0"},
    route="tus",
    target="/u/a%20b?x=1",
    interop="8",
)


async def test_a_row_says_all_that_was_recorded(client: RedisClient) -> None:
    uploads = Uploads(client)
    assert await uploads.find("acme", PATH) is None
    for upload in (UPLOAD, Upload(PATH, "g-2", {})):
        await uploads.record("acme", upload, LEASE_MS)
        assert await uploads.find("acme", PATH) == upload
    assert await uploads.find("other", PATH) is None


async def test_what_an_upload_counts_follows_its_length() -> None:
    assert UPLOAD.actual(700) == {"storage_bytes": 700, "uploads": 1}


async def test_from_the_first_byte_on_the_offset_is_unknown(client: RedisClient) -> None:
    uploads = Uploads(client)
    assert await uploads.begin("acme", PATH) is None
    await uploads.record("acme", UPLOAD, LEASE_MS)
    assert await uploads.begin("acme", PATH) == UPLOAD
    unknown = replace(UPLOAD, offset=None)
    assert await uploads.find("acme", PATH) == unknown
    told = replace(unknown, offset=500, length=2000)
    await uploads.learn("acme", told, LEASE_MS)
    assert await uploads.find("acme", PATH) == told


async def test_what_is_whole_keeps_its_offset(client: RedisClient) -> None:
    uploads = Uploads(client)
    for state in (UploadState.WHOLE, UploadState.STORED, UploadState.JOINED):
        await uploads.record("acme", UPLOAD, LEASE_MS)
        await uploads.mark("acme", PATH, LEASE_MS, state)
        await uploads.begin("acme", PATH)
        assert await uploads.find("acme", PATH) == replace(UPLOAD, state=state)


async def test_what_was_forgotten_does_not_come_back(client: RedisClient) -> None:
    uploads = Uploads(client)
    await uploads.record("acme", UPLOAD, LEASE_MS)
    await uploads.forget("acme", [PATH])
    await uploads.learn("acme", UPLOAD, LEASE_MS)
    await uploads.mark("acme", PATH, LEASE_MS, UploadState.JOINED)
    assert await uploads.find("acme", PATH) is None


async def test_a_row_outlives_the_lease_by_a_day(client: RedisClient) -> None:
    uploads = Uploads(client)
    key = f"qg:{{acme}}:upload:{PATH}"
    await uploads.record("acme", UPLOAD, LEASE_MS)
    assert KEEP_MS < await client.pttl(key) <= KEEP_MS + LEASE_MS
    await uploads.learn("acme", UPLOAD, 10 * LEASE_MS)
    assert await client.pttl(key) > KEEP_MS + LEASE_MS


async def test_a_part_is_claimed_by_one(client: RedisClient) -> None:
    uploads = Uploads(client)
    parts = [replace(UPLOAD, path=f"/uploads/{name}") for name in "abc"]
    for part in parts:
        await uploads.record("acme", part, LEASE_MS)
    a, b, c = (part.path for part in parts)
    await uploads.mark("acme", c, LEASE_MS, UploadState.JOINED)
    assert await uploads.claim("acme", (a, b, c, "/uploads/d"), "one", 60_000) == (a, b)
    assert await uploads.claim("acme", (a, b), "two", 60_000) == ()
    assert await uploads.claim("acme", (a,), "one", 60_000) == (a,)
    await uploads.unclaim("acme", (a, b), "two")
    assert await uploads.claim("acme", (a, b), "two", 60_000) == ()
    await uploads.unclaim("acme", (a,), "one")
    assert await uploads.claim("acme", (a, b), "two", 60_000) == (a,)
    assert await uploads.find("acme", a) == parts[0]


async def test_a_claim_ends_by_itself(client: RedisClient) -> None:
    uploads = Uploads(client)
    await uploads.record("acme", UPLOAD, LEASE_MS)
    assert await uploads.claim("acme", (PATH,), "dead", 0) == (PATH,)
    assert await uploads.claim("acme", (PATH,), "alive", 60_000) == (PATH,)


async def test_what_is_charged_is_on_the_books_of_its_account(client: RedisClient) -> None:
    uploads = Uploads(client)
    await client.hset("qg:{acme}:assets", "uploads/a", "a/storage_bytes=1,")
    assert await uploads.charged("acme", "uploads/a")
    assert not await uploads.charged("acme", "uploads/b")
    assert not await uploads.charged("other", "uploads/a")


async def test_what_is_to_be_asked_about_is_claimed_by_one(client: RedisClient) -> None:
    uploads = Uploads(client)
    await uploads.ask_in("acme", PATH, 60_000)
    assert (await uploads.due(8, claim_ms=1_000))[1] == []
    await uploads.ask_in("acme", PATH, 0)
    now_ms, due = await uploads.due(8, claim_ms=60_000)
    assert due == [("acme", PATH)]
    assert (await uploads.due(8, claim_ms=1_000))[1] == []
    await uploads.ask_again("acme", PATH, now_ms + 60_000, 0)
    now_ms, due = await uploads.due(8, claim_ms=60_000)
    assert due == [("acme", PATH)]
    await uploads.ask_in("acme", PATH, 0)  # bytes have gone on since
    await uploads.ask_again("acme", PATH, now_ms + 60_000, None)
    now_ms, due = await uploads.due(8, claim_ms=60_000)
    assert due == [("acme", PATH)]
    await uploads.ask_again("acme", PATH, now_ms + 60_000, None)
    assert await client.zcard(DUE) == 0


async def test_since_when_it_is_asked_about(client: RedisClient) -> None:
    uploads = Uploads(client)
    assert await uploads.asked("acme", PATH, 5) == 5
    assert await uploads.find("acme", PATH) is None
    await uploads.record("acme", UPLOAD, LEASE_MS)
    assert await uploads.asked("acme", PATH, 5) == 5
    assert await uploads.asked("acme", PATH, 9) == 5
    await uploads.begin("acme", PATH)
    assert await uploads.asked("acme", PATH, 9) == 9
