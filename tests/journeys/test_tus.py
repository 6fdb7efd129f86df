"""tus uploads through the whole gateway: created, resumed, ended; the books always balance."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.records.uploads import Uploads
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.tus_client import (
    ROUTES,
    WISHES,
    Heard,
    TusClient,
    another_gateway,
    further_key,
    stranger,
)
from tests.tus_upstream import TusServer, absolute, elsewhere, relative

BYTES_NAMED = {"Content_Type": "application/offset+octet-stream"}


async def pieces(total: int, each: int) -> AsyncIterator[bytes]:
    """A body whose length nobody says."""
    for start in range(0, total, each):
        yield b"p" * min(each, total - start)


def problem(heard: Heard) -> dict[str, object]:
    told: dict[str, object] = json.loads(heard.body)
    return {name: value for name, value in told.items() if name != "request_id"}


@pytest.fixture
def server() -> TusServer:
    return TusServer()


@pytest.fixture
async def rig(store: Store, tmp_path: Path, server: TusServer) -> AsyncIterator[Rig]:
    async with running(store, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig


@pytest.fixture
async def quick(fake: Store, tmp_path: Path, server: TusServer) -> AsyncIterator[Rig]:
    """On one store, for journeys whose subject is not the store."""
    async with running(fake, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig


async def test_an_upload_in_two_pieces_is_charged_when_it_is_whole(
    rig: Rig, server: TusServer
) -> None:
    tus = TusClient.of(rig)
    path = await tus.created(1000)
    assert path == "/uploads/u1"
    assert await rig.standing() == (0, 1000)
    assert (await tus.patch(path, 0, b"x" * 400)).offset == 400
    assert (await tus.head(path)).offset == 400
    assert await rig.standing() == (0, 1000)
    assert await rig.standing("uploads") == (0, 1)
    heard = await tus.patch(path, 400, b"y" * 600)
    assert (heard.status, heard.offset) == (204, 1000)
    assert await rig.standing() == (1000, 0)
    assert await rig.standing("uploads") == (1, 0)
    assert bytes(server.of(path).data) == b"x" * 400 + b"y" * 600
    assert (await tus.head(path)).offset == 1000
    assert await tus.delete(path) == 204
    assert await rig.standing() == (0, 0)
    assert await rig.standing("uploads") == (1, 0)
    assert (await tus.head(path)).status == 404


async def test_over_quota_is_403_before_the_upstream_hears(quick: Rig) -> None:
    heard = await TusClient.of(quick).create(1_000_001)
    assert heard.status == 403
    assert quick.upstream.connections == 0
    assert await quick.standing() == (0, 0)


async def test_a_terminated_upload_gives_back_what_it_held(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    path = await tus.created(1000)
    await tus.patch(path, 0, b"x" * 400)
    assert await tus.delete(path) == 204
    assert await quick.standing() == (0, 0)
    assert await quick.standing("uploads") == (0, 0)
    assert server.uploads == {}
    assert (await tus.patch(path, 400, b"x")).status == 404


async def test_two_gateways_and_a_restart_carry_one_upload(rig: Rig, tmp_path: Path) -> None:
    tus = TusClient.of(rig)
    path = await tus.created(900)
    await tus.patch(path, 0, b"a" * 300)
    async with another_gateway(rig, tmp_path / "second") as second:
        assert (await tus.at(second).patch(path, 300, b"b" * 300)).offset == 600
    await rig.gateway.stop()
    async with another_gateway(rig, tmp_path / "third") as third:
        assert (await tus.at(third).head(path)).offset == 600
        assert (await tus.at(third).patch(path, 600, b"c" * 300)).offset == 900
    assert await rig.standing() == (900, 0)


async def test_the_creation_may_bring_the_bytes(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    whole = await tus.ask("POST", "/uploads", b"z" * 500, Upload_Length=500, **BYTES_NAMED)
    assert (whole.status, whole.offset) == (201, 500)
    assert await quick.standing() == (500, 0)
    assert await quick.standing("uploads") == (1, 0)
    begun = await tus.ask("POST", "/uploads", b"z" * 100, Upload_Length=300, **BYTES_NAMED)
    assert begun.offset == 100
    assert await quick.standing() == (500, 300)
    await tus.patch(begun.headers["Location"], 100, b"y" * 200)
    assert await quick.standing() == (800, 0)
    assert (await tus.head(whole.headers["Location"])).offset == 500


async def test_a_creation_may_not_bring_more_than_it_says(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    told = await tus.ask("POST", "/uploads", b"z" * 301, Upload_Length=300, **BYTES_NAMED)
    assert told.status == 413
    assert quick.upstream.connections == 0
    untold = await tus.ask(
        "POST", "/uploads", pieces(200_000, 50_000), Upload_Length=70_000, **BYTES_NAMED
    )
    assert untold.status == 413
    await quick.settled()
    assert all(len(kept.data) <= 70_000 for kept in server.uploads.values())


async def test_an_empty_upload_is_whole_when_it_is_created(quick: Rig) -> None:
    path = await TusClient.of(quick).created(0)
    assert await quick.standing() == (0, 0)
    assert await quick.standing("uploads") == (1, 0)
    assert await TusClient.of(quick).delete(path) == 204


async def test_a_length_that_follows_is_reserved_ahead_of_the_bytes(rig: Rig) -> None:
    tus = TusClient.of(rig)
    path = await tus.created(None)
    assert await rig.standing() == (0, 65_536)
    assert (await tus.patch(path, 0, b"x" * 200_000)).offset == 200_000
    assert await rig.standing() == (0, 200_000)
    assert (await tus.patch(path, 200_000, pieces(100_000, 10_000))).offset == 300_000
    used, reserved = await rig.standing()
    assert used == 0
    assert 300_000 <= reserved <= 300_000 + 65_536
    last = await tus.patch(path, 300_000, b"z" * 50_000, Upload_Length=400_000)
    assert last.offset == 350_000
    assert await rig.standing() == (0, 400_000)
    assert (await tus.patch(path, 350_000, b"z" * 50_000)).offset == 400_000
    assert await rig.standing() == (400_000, 0)


async def test_a_length_that_follows_may_be_too_much(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    path = await tus.created(None)
    assert (await tus.patch(path, 0, b"x" * 10, Upload_Length=1_000_001)).status == 403
    assert (await tus.patch(path, 0, b"x" * 1_000_001)).status == 403
    assert len(server.of(path).data) == 0

    def arrived(count: int) -> Callable[[], bool]:
        return lambda: quick.upstream.requests[-1].body_bytes >= count

    async def paced() -> AsyncIterator[bytes]:
        for sent in range(50_000, 1_150_000, 50_000):
            yield b"p" * 50_000
            await quick.upstream.until(arrived(min(sent, 950_000)))

    assert (await tus.patch(path, 0, paced())).status == 403
    await quick.upstream.until(lambda: len(server.of(path).data) > 0)
    offset = (await tus.head(path)).offset
    assert 0 < offset <= 1_000_000
    assert await tus.delete(path) == 204
    assert await quick.standing() == (0, 0)


async def test_the_length_is_said_once(quick: Rig) -> None:
    tus = TusClient.of(quick)
    path = await tus.created(None)
    assert (await tus.patch(path, 0, b"x" * 10, Upload_Length=30)).status == 204
    assert (await tus.patch(path, 10, b"x" * 10, Upload_Length=40)).status == 400
    assert (await tus.patch(path, 10, b"x" * 21)).status == 413
    assert (await tus.patch(path, 10, b"x" * 20, Upload_Length=30)).offset == 30
    assert await quick.standing() == (30, 0)


async def test_bytes_beyond_what_is_reserved_do_not_go_on(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    path = await tus.created(1000)
    assert (await tus.patch(path, 0, b"x" * 1001)).status == 413
    assert (await tus.patch(path, 999, b"xx")).status == 413
    assert (await tus.patch(path, 0, pieces(3000, 500))).status == 413
    await quick.upstream.until(lambda: quick.upstream.resets + quick.upstream.open < 2)
    assert len(server.of(path).data) <= 1000
    offset = (await tus.head(path)).offset
    assert (await tus.patch(path, offset, b"x" * (1000 - offset))).offset == 1000
    assert (await tus.patch(path, 1000, b"x")).status == 409
    assert (await tus.patch(path, 0, b"x" * 10)).status == 409
    assert await quick.standing() == (1000, 0)


async def test_a_patch_that_breaks_off_leaves_the_upload_open(rig: Rig, server: TusServer) -> None:
    """failure row 29 (an upload that can be resumed)"""
    tus = TusClient.of(rig)
    path = await tus.created(1000)
    _, writer = await tus.raw_patch(path, 0, 1000, b"x" * 400)
    await rig.upstream.until(lambda: rig.upstream.requests[-1].body_bytes == 400)
    writer.transport.abort()
    await rig.upstream.until(lambda: rig.upstream.open == 0)
    assert await rig.standing() == (0, 1000)
    row = await Uploads(rig.store.client).find(rig.account.id, path)
    assert row is not None
    assert row.offset is None
    assert (await tus.head(path)).offset == 400
    row = await Uploads(rig.store.client).find(rig.account.id, path)
    assert row is not None
    assert row.offset == 400
    assert (await tus.patch(path, 400, b"y" * 600)).offset == 1000
    assert await rig.standing() == (1000, 0)


async def test_an_upload_of_another_account_is_as_unknown_as_none(quick: Rig) -> None:
    tus, other = TusClient.of(quick), await stranger(quick)
    path = await tus.created(1000)
    requests = len(quick.upstream.requests)
    foreign = await other.patch(path, 0, b"x" * 10)
    unknown = await other.patch("/uploads/nothing", 0, b"x" * 10)
    assert (foreign.status, unknown.status) == (404, 404)
    assert problem(foreign) == problem(unknown)
    assert (await other.head(path)).status == 404
    assert await other.delete(path) == 404
    assert len(quick.upstream.requests) == requests
    assert await quick.standing() == (0, 1000)
    await tus.patch(path, 0, b"x" * 1000)
    assert (await other.head(path)).status == 404
    assert await other.delete(path) == 404
    assert await quick.standing() == (1000, 0)


async def test_a_stored_upload_is_known_as_long_as_it_is_charged(quick: Rig) -> None:
    tus, other = TusClient.of(quick), await stranger(quick)
    path = await tus.created(100)
    await tus.patch(path, 0, b"x" * 100)
    await Uploads(quick.store.client).forget(quick.account.id, [path])
    assert (await tus.head(path)).offset == 100
    assert (await other.head(path)).status == 404
    assert (await tus.patch(path, 100, b"x")).status == 409
    assert await tus.delete(path) == 204
    assert await quick.standing() == (0, 0)
    assert (await tus.head(path)).status == 404


async def test_a_last_answer_that_is_lost_is_made_good_by_asking(
    rig: Rig, server: TusServer
) -> None:
    """failure row 35 (an upload that can be asked about)"""
    tus = TusClient.of(rig)
    path = await tus.created(1000)
    server.mute = b"PATCH"
    assert (await tus.patch(path, 0, b"x" * 1000)).status == 502
    assert await rig.standing() == (0, 1000)
    assert (await tus.head(path)).offset == 1000
    assert await rig.standing() == (1000, 0)
    assert (await tus.head(path)).offset == 1000
    assert await rig.standing("uploads") == (1, 0)


async def test_an_upload_that_is_not_gone_on_with_expires(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', '"64KiB"\nlease = "1s"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(1000)
        await tus.patch(path, 0, b"x" * 400)
        await rig.settled()
        assert await rig.standing() == (0, 0)
        requests = len(rig.upstream.requests)
        assert (await tus.patch(path, 400, b"x" * 600)).status == 410
        assert len(rig.upstream.requests) == requests
        assert (await tus.head(path)).status == 410
        assert await tus.delete(path) == 204


async def test_what_is_whole_after_its_lease_is_charged_late(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    """failure row 54 (an upload)"""
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', '"64KiB"\nlease = "1s"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(1000)
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 1000)).status == 502
        await rig.settled()
        assert await rig.standing() == (0, 0)
        assert (await tus.head(path)).offset == 1000
        assert await rig.standing() == (1000, 0)


async def test_what_the_upstream_has_dropped_is_released(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    asked, patched, deleted = [await tus.created(1000) for _ in range(3)]
    server.uploads.clear()
    assert (await tus.head(asked)).status == 404
    assert await quick.standing() == (0, 2000)
    assert (await tus.patch(patched, 0, b"x")).status == 404
    assert await quick.standing() == (0, 1000)
    assert await tus.delete(deleted) == 404
    assert await quick.standing() == (0, 0)


async def test_a_stored_upload_that_cannot_be_deleted_stays_charged(
    quick: Rig, server: TusServer
) -> None:
    """failure row 60 (an upload)"""
    tus = TusClient.of(quick)
    path = await tus.created(100)
    await tus.patch(path, 0, b"x" * 100)
    server.refuse = 403
    assert await tus.delete(path) == 403
    server.refuse = 404
    assert await tus.delete(path) == 404
    assert await quick.standing() == (100, 0)
    server.refuse = None
    assert await tus.delete(path) == 204
    assert await tus.delete(path) == 404
    assert await quick.standing() == (0, 0)


async def test_a_creation_that_is_refused_is_released(quick: Rig, server: TusServer) -> None:
    """failure row 36 (an upload)"""
    for status in (400, 403, 413, 500, 503):
        server.refuse = status
        assert (await TusClient.of(quick).create(1000)).status == status
        assert await quick.standing() == (0, 0)


async def test_a_creation_without_an_answer_holds_nothing(quick: Rig, server: TusServer) -> None:
    server.mute = b"POST"
    assert (await TusClient.of(quick).create(1000)).status == 502
    assert await quick.standing() == (0, 0)


async def test_bytes_that_went_with_a_lost_creation_are_in_doubt(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    async with running(fake, tmp_path, [server], wishes=WISHES, audited=False) as rig:
        server.mute = b"POST"
        tus = TusClient.of(rig)
        heard = await tus.ask("POST", "/uploads", b"x" * 100, Upload_Length=100, **BYTES_NAMED)
        assert heard.status == 502
        assert await rig.standing() == (0, 100)


@pytest.mark.parametrize("host", ["keep", "upstream"])
async def test_the_upload_is_where_the_gateway_serves_it(
    fake: Store, tmp_path: Path, server: TusServer, host: str
) -> None:
    server.location = absolute
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', f'"64KiB"\nhost = "{host}"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(10)
        assert path == "/uploads/u1"
        assert (await tus.patch(path, 0, b"x" * 10)).offset == 10
        seen = rig.upstream.requests[0].get(b"host")
        port = rig.port if host == "keep" else rig.upstream.port
        assert seen == b"127.0.0.1:%d" % port
        assert await rig.standing() == (10, 0)


async def test_a_prefix_that_the_upstream_does_not_see_is_put_back(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    routes = ROUTES.replace('path = "/uploads', 'strip_prefix = "/v1"\npath = "/v1/uploads')
    async with running(fake, tmp_path, [server], wishes=Wishes(extra=routes)) as rig:
        tus = TusClient.of(rig)
        for location in (absolute, relative):
            server.location = location
            heard = await tus.create(10, "/v1/uploads")
            path = heard.headers["Location"]
            assert path.startswith("/v1/uploads/u")
            assert (await tus.patch(path, 0, b"x" * 10)).offset == 10
        halves = [
            (await tus.create(5, "/v1/uploads", Upload_Concat="partial")).headers["Location"]
            for _ in range(2)
        ]
        for half in halves:
            await tus.patch(half, 0, b"x" * 5)
        final = await tus.ask("POST", "/v1/uploads", Upload_Concat="final;" + " ".join(halves))
        assert final.status == 201
        assert await rig.standing() == (30, 0)


async def test_a_way_past_the_gateway_is_not_passed_on(quick: Rig, server: TusServer) -> None:
    server.location = elsewhere
    tus = TusClient.of(quick)
    heard = await tus.create(1000)
    assert (heard.status, "Location" in heard.headers) == (502, False)
    assert await quick.standing() == (0, 0)
    heard = await tus.ask("POST", "/uploads", b"x" * 100, Upload_Length=100, **BYTES_NAMED)
    assert heard.status == 502
    assert await quick.standing() == (100, 0)


async def test_the_largest_upload_is_what_may_be_stored(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES, plan="caps = { file_bytes = 700_000 }")
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)

        async def most() -> str | None:
            heard = await tus.ask("OPTIONS", "/uploads")
            assert heard.status == 204
            assert heard.headers["Tus-Version"] == "1.0.0"
            return heard.headers.get("Tus-Max-Size")

        assert await most() == "700000"
        server.max_size = 600_000
        assert await most() == "600000"
        await tus.created(650_000)
        assert await most() == "350000"
        too_large = await tus.create(700_001)
        assert too_large.status == 413
        assert too_large.headers["Tus-Max-Size"] == "700000"
        assert (await tus.create(400_000)).status == 403
        assert await tus.delete("/uploads/u1") == 204
        assert (await tus.ask("OPTIONS", "/uploads/u1")).status == 204


async def test_other_versions_and_other_protocols_are_refused(quick: Rig) -> None:
    tus = TusClient.of(quick)
    old = await tus.ask("POST", "/uploads", Tus_Resumable="0.2.2", Upload_Length=1)
    assert (old.status, old.headers["Tus-Version"]) == (412, "1.0.0")
    for headers in (
        {"Upload_Length": 1, "Upload_Complete": "?0"},
        {"Upload_Length": 1, "X_HTTP_Method_Override": "PATCH"},
        {"Upload_Length": 1, "Upload_Defer_Length": 1},
        {"Upload_Length": "1e3"},
        {"Upload_Defer_Length": 2},
        {"Upload_Length": 1, "Upload_Concat": "middle"},
        {},
    ):
        assert (await tus.ask("POST", "/uploads", **headers)).status == 400
    assert quick.upstream.connections == 0


async def test_requests_of_an_upload_count_against_the_rate(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES, plan='rate = "3/1h"')
    async with running(fake, tmp_path, [server], wishes=wishes, audited=False) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        assert (await tus.head(path)).status == 200
        assert (await tus.patch(path, 0, b"x" * 50)).status == 204
        assert (await tus.patch(path, 50, b"x" * 50)).status == 429
        assert (await tus.head(path)).status == 429


async def test_any_key_of_the_account_goes_on_with_what_one_of_them_pays(quick: Rig) -> None:
    limited, other = await further_key(quick, storage_bytes=1000), TusClient.of(quick)
    path = await limited.created(800)
    assert (await limited.create(300)).status == 403
    assert (await other.patch(path, 0, b"x" * 800)).offset == 800
    assert (await limited.create(300)).status == 403
    assert (await limited.create(200)).status == 201
    assert await other.delete("/uploads/u2") == 204
    assert await other.delete(path) == 204
    assert (await limited.create(1000)).status == 201
    assert await limited.delete("/uploads/u1") == 204


async def test_usage_is_attributed_to_the_subject_of_the_creation(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    routes = ROUTES.replace('path = "/uploads"', 'path = "/by/{creator}"')
    routes = routes.replace(
        "reserve =", 'subject = { kind = "creator", id = "{creator}" }\nreserve ='
    )
    server.base = b"/by/ann"
    server.location = lambda host, path: path.replace(b"/by/ann", b"/uploads")
    plan = "subject_limits = { creator = { storage_bytes = 500 } }"
    wishes = Wishes(extra=routes, plan=plan)
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = (await tus.create(400, "/by/ann")).headers["Location"]
        server.uploads = {
            name.replace(b"/by/ann", b"/uploads"): kept for name, kept in server.uploads.items()
        }
        assert (await tus.create(200, "/by/ann")).status == 403
        await tus.patch(path, 0, b"x" * 400)
        assert (await tus.create(101, "/by/ann")).status == 403
        assert await tus.delete(path) == 204
        assert await rig.standing() == (0, 0)


async def test_what_is_not_known_of_an_upload_stays_open(quick: Rig, server: TusServer) -> None:
    tus = TusClient.of(quick)
    path = await tus.created(100)
    server.refuse = 500
    assert (await tus.head(path)).status == 500
    assert (await tus.patch(path, 0, b"x" * 100)).status == 500
    assert await tus.delete(path) == 500
    assert await quick.standing() == (0, 100)
    server.refuse = None
    assert (await tus.patch(path, 0, b"x" * 100)).status == 204
    assert (await tus.patch(path, 100, b"")).status == 204
    assert await quick.standing() == (100, 0)


async def test_the_cap_holds_for_lengths_that_follow(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES, plan="caps = { file_bytes = 100_000 }")
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(None)
        assert (await tus.patch(path, 0, b"x" * 100_001)).status == 413
        assert (await tus.patch(path, 0, b"x", Upload_Length=100_001)).status == 413
        assert (await tus.patch(path, 0, pieces(150_000, 50_000))).status == 413
        assert await tus.delete(path) == 204
        assert await rig.standing() == (0, 0)


async def test_who_stored_an_upload_pays_for_its_downloads(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    public = """
[[routes]]
name = "public"
methods = ["GET"]
path = "/uploads/{upload...}"
upstream = "files"
policy = "download"
auth = []
account = "asset"
asset = "uploads/{upload}"
reserve = { egress_bytes = "response" }
"""
    wishes = Wishes(extra=ROUTES + public)
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        async with rig.session.get(rig.url + path) as answer:
            assert answer.status == 404
        await tus.patch(path, 0, b"x" * 100)
        requests = len(rig.upstream.requests)
        async with rig.session.get(rig.url + path):
            assert len(rig.upstream.requests) == requests + 1
        assert await tus.delete(path) == 204
        async with rig.session.get(rig.url + path) as answer:
            assert answer.status == 404
        assert len(rig.upstream.requests) == requests + 2


# -- concatenation --------------------------------------------------------------------------------


async def parts_of(tus: TusClient, *sizes: int, filled: bool = True) -> list[str]:
    paths = [await tus.created(size, Upload_Concat="partial") for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        if filled:
            await tus.patch(path, 0, path[-1:].encode() * size)
    return paths


async def join(tus: TusClient, *paths: str) -> Heard:
    return await tus.ask("POST", "/uploads", Upload_Concat="final;" + " ".join(paths))


async def test_each_byte_of_a_concatenation_counts_once(rig: Rig, server: TusServer) -> None:
    tus = TusClient.of(rig)
    parts = await parts_of(tus, 400_000, 200_000)
    assert await rig.standing() == (0, 600_000)
    assert await rig.standing("uploads") == (0, 0)
    assert (await tus.patch(parts[0], 400_000, b"x")).status == 409
    final = await join(tus, *parts)
    assert final.status == 201
    path = final.headers["Location"]
    assert bytes(server.of(path).data) == b"1" * 400_000 + b"2" * 200_000
    assert await rig.standing() == (600_000, 0)
    assert await rig.standing("uploads") == (1, 0)
    assert (await tus.head(parts[0])).offset == 400_000
    assert (await tus.head(path)).offset == 600_000
    for part in parts:
        assert await tus.delete(part) == 204
    assert await rig.standing() == (600_000, 0)
    assert await tus.delete(path) == 204
    assert await rig.standing() == (0, 0)


async def test_parts_that_fill_the_account_can_still_be_joined(quick: Rig) -> None:
    tus = TusClient.of(quick)
    parts = await parts_of(tus, 600_000, 400_000)
    assert (await tus.create(1)).status == 403
    assert (await join(tus, *parts)).status == 201
    assert await quick.standing() == (1_000_000, 0)


async def test_a_part_that_is_used_again_counts_again(quick: Rig) -> None:
    tus = TusClient.of(quick)
    (part,) = await parts_of(tus, 300_000)
    assert (await join(tus, part, part)).status == 201
    assert await quick.standing() == (600_000, 0)
    assert (await join(tus, part)).status == 201
    assert await quick.standing() == (900_000, 0)
    assert (await join(tus, part)).status == 403
    assert await quick.standing() == (900_000, 0)


async def test_parts_are_joined_before_they_are_whole(quick: Rig, server: TusServer) -> None:
    """concatenation-unfinished: the final upload is whole when asking for it says so"""
    tus = TusClient.of(quick)
    parts = await parts_of(tus, 100, 200, filled=False)
    final = (await join(tus, *parts)).headers["Location"]
    assert await quick.standing() == (0, 300)
    server.of(final).length = 300
    assert (await tus.head(final)).offset == 0
    for part, size in zip(parts, (100, 200), strict=True):
        await tus.patch(part, 0, b"x" * size)
    assert await quick.standing() == (0, 300)
    server.of(final).data[:] = b"x" * 300
    assert (await tus.head(final)).offset == 300
    assert await quick.standing() == (300, 0)
    assert await quick.standing("uploads") == (1, 0)


async def test_a_final_upload_that_is_refused_leaves_its_parts(
    quick: Rig, server: TusServer
) -> None:
    tus = TusClient.of(quick)
    parts = await parts_of(tus, 400_000, 200_000)
    server.refuse = 400
    assert (await join(tus, *parts)).status == 400
    server.refuse = None
    server.mute = b"POST"
    assert (await join(tus, *parts)).status == 502
    assert await quick.standing() == (0, 600_000)
    assert (await join(tus, *parts)).status == 201
    assert await quick.standing() == (600_000, 0)


async def test_only_parts_of_the_account_are_joined(quick: Rig) -> None:
    tus, other = TusClient.of(quick), await stranger(quick)
    (part,) = await parts_of(tus, 100)
    whole = await tus.created(50)
    requests = len(quick.upstream.requests)
    for paths in (
        (part, "/uploads/nothing"),
        (part, whole),
        ("https://storage.example" + part,),
        ("/files/a",),
    ):
        assert (await join(tus, *paths)).status == 404
    assert (await join(other, part)).status == 404
    assert (await join(tus)).status == 400
    unknown = await tus.created(None, Upload_Concat="partial")
    assert (await join(tus, unknown)).status == 400
    assert len(quick.upstream.requests) == requests + 1
    assert (await join(tus, f"http://t{part}")).status == 404
    assert (await join(tus, quick.url + part)).status == 201
    for path in (whole, unknown):
        assert await tus.delete(path) == 204


async def test_two_final_uploads_never_count_on_the_same_reservation(
    quick: Rig, server: TusServer
) -> None:
    """failure row 61 (parts of uploads)"""
    tus = TusClient.of(quick)
    (part,) = await parts_of(tus, 600_000)
    heard = await asyncio.gather(*(join(tus, part) for _ in range(5)))
    assert sorted(each.status for each in heard) == [201, 403, 403, 403, 403]
    assert await quick.standing() == (600_000, 0)


async def test_a_part_that_nobody_joins_expires(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', '"64KiB"\nlease = "1s"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        parts = await parts_of(tus, 500_000, 400_000)
        await rig.settled()
        assert (await tus.head(parts[0])).status == 410
        assert (await join(tus, *parts)).status == 201
        assert await rig.standing() == (900_000, 0)
        assert (await join(tus, *parts)).status == 403
