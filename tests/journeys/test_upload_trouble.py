"""Resumable uploads when things go wrong between their requests, and within: nothing is lost."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.ledger.outcomes import Settled
from gateway.ledger.store import Store
from gateway.records.accounts import Accounts
from gateway.records.uploads import Upload, Uploads, UploadState
from tests.journeys import test_resumable
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.test_store_trouble import pending_gone
from tests.journeys.tus_client import ROUTES, TusClient
from tests.tus_upstream import TusServer
from tests.upstreams import Answer, Request, Wait

WISHES = Wishes(extra=ROUTES + test_resumable.ROUTES)
CREATED = Answer(201, [(b"Location", b"/uploads/u1"), (b"Tus-Resumable", b"1.0.0")])


def told(offset: int) -> Answer:
    return Answer(204, [(b"Upload-Offset", b"%d" % offset)])


@contextlib.contextmanager
def away(store: Store) -> Iterator[None]:
    """Nobody reaches the store."""
    assert isinstance(store.client, Redis)
    server = store.client.connection_pool.connection_kwargs["server"]
    server.connected = False
    try:
        yield
    finally:
        server.connected = True


async def row(rig: Rig, path: str = "/uploads/u1") -> Upload | None:
    return await Uploads(rig.store.client).find(rig.account.id, path)


@pytest.fixture
def server() -> TusServer:
    return TusServer()


@pytest.fixture
async def rig(fake: Store, tmp_path: Path, server: TusServer) -> AsyncIterator[Rig]:
    async with running(fake, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig


async def test_without_the_store_no_upload_goes_on(rig: Rig, server: TusServer) -> None:
    """failure row 13 (uploads)"""
    tus = TusClient.of(rig)
    path = await tus.created(100)
    requests = len(rig.upstream.requests)
    with away(rig.store):
        assert (await tus.create(100)).status == 503
        assert (await tus.patch(path, 0, b"x")).status == 503
        assert (await tus.head(path)).status == 503
        assert await tus.delete(path) == 503
        assert len(rig.upstream.requests) == requests
    assert (await tus.patch(path, 0, b"x" * 100)).status == 204
    await pending_gone(rig)
    assert await rig.standing() == (100, 0)


async def test_an_upload_that_cannot_be_recorded_is_not_begun(fake: Store, tmp_path: Path) -> None:
    go_on = asyncio.Event()
    script = [Request(), Wait(go_on), CREATED]
    async with running(fake, tmp_path, script, wishes=WISHES) as rig:
        tus = TusClient.of(rig)
        creation = asyncio.ensure_future(tus.create(100))  # noqa: TID251
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        with away(rig.store):
            go_on.set()
            assert (await creation).status == 503
        await pending_gone(rig)
        assert await row(rig) is None
        assert await rig.standing() == (0, 0)


async def test_what_is_whole_when_the_store_is_away_is_charged_later(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 14 (uploads)"""
    go_on = asyncio.Event()
    script = [Request(), CREATED, Request(), Wait(go_on), told(100), Request(), told(100)]
    async with running(fake, tmp_path, script, wishes=WISHES) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        patch = asyncio.ensure_future(tus.patch(path, 0, b"x" * 100))  # noqa: TID251
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        with away(rig.store):
            go_on.set()
            assert (await patch).status == 204
        await pending_gone(rig)
        assert await rig.standing() == (100, 0)
        assert (await tus.head(path)).offset == 100
        assert await rig.standing() == (100, 0)
        found = await row(rig)
        assert found is not None
        assert found.state is UploadState.STORED


async def test_an_offset_that_cannot_be_recorded_is_asked_for_again(
    fake: Store, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    script = [Request(), CREATED, Request(), Wait(go_on), told(60), Request(), told(60)]
    async with running(fake, tmp_path, script, wishes=WISHES, audited=False) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        patch = asyncio.ensure_future(tus.patch(path, 0, b"x" * 60))  # noqa: TID251
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        with away(rig.store):
            go_on.set()
            assert (await patch).offset == 60
        found = await row(rig)
        assert found is not None
        assert found.offset is None
        assert (await tus.head(path)).status == 204
        found = await row(rig)
        assert found is not None
        assert found.offset == 60
        assert await rig.standing() == (0, 100)


async def test_an_upload_that_cannot_be_recorded_is_not_announced(
    fake: Store, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    interim = Answer(104, [(b"Location", b"/resume/r1")])
    script = [Request(), Wait(go_on), interim, Wait(go_on), Answer(201)]
    async with running(fake, tmp_path, script, wishes=WISHES) as rig:
        async with test_resumable.unfinished(rig, 10, b"x" * 10) as upload:
            await rig.upstream.until(lambda: bool(rig.upstream.requests))
            with away(rig.store):
                go_on.set()
                assert (await upload.head()).startswith("HTTP/1.1 201 ")
        await pending_gone(rig)
        assert await row(rig, "/resume/r1") is None
        assert await rig.standing() == (10, 0)


async def test_a_gateway_that_dies_after_the_charge_leaves_nothing_to_charge_again(
    rig: Rig, server: TusServer
) -> None:
    """failure row 7 (an upload)"""
    tus = TusClient.of(rig)
    path = await tus.created(100)
    server.mute = b"PATCH"
    assert (await tus.patch(path, 0, b"x" * 100)).status == 502
    found = await row(rig)
    assert found is not None
    settled = await rig.gateway.ledger.commit(
        rig.terms, found.reservation_id, found.actual(100), asset=found.asset
    )
    assert isinstance(settled, Settled)
    assert (await tus.patch(path, 0, b"x")).status == 410
    assert (await tus.head(path)).offset == 100
    assert await rig.standing() == (100, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_a_delete_that_comes_upon_a_charge_gives_it_back(rig: Rig, server: TusServer) -> None:
    """failure row 60 (an upload)"""
    tus = TusClient.of(rig)
    path = await tus.created(100)
    found = await row(rig)
    assert found is not None
    await rig.gateway.ledger.commit(
        rig.terms, found.reservation_id, found.actual(100), asset=found.asset
    )
    assert await rig.standing() == (100, 0)
    assert await tus.delete(path) == 204
    assert await rig.standing() == (0, 0)


async def test_what_was_admitted_is_gone_on_with_under_a_lower_limit(
    rig: Rig, server: TusServer
) -> None:
    """failure row 51 (an upload)"""
    tus = TusClient.of(rig)
    path = await tus.created(1000)
    await tus.patch(path, 0, b"x" * 500)
    await Accounts(rig.store.client).set_limit(rig.account.id, "storage_bytes", 600)
    assert (await tus.create(1)).status == 403
    assert (await tus.patch(path, 500, b"x" * 500)).offset == 1000
    assert await rig.standing() == (1000, 0)


async def test_bytes_that_take_longer_than_the_lease_extend_it(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', '"64KiB"\nlease = "1s"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(60)

        async def slowly() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"x" * 10
                await rig.upstream.pause(0.3)

        assert (await tus.patch(path, 0, slowly())).offset == 60
        assert await rig.standing() == (60, 0)
        page = rig.gateway.metrics.exposition()[0].decode()
        assert re.findall(r'settlements_total{.*late="true".*} ([^0].*)', page) == []
        assert re.findall(r'settlements_total{.*state="committed".*} (.*)', page) == ["1.0"]


async def test_a_trusted_proxy_says_what_the_gateway_is_called(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    server.location = lambda host, path: b"https://files.example" + path
    for trusted, status in (('["127.0.0.0/8"]', 201), ("[]", 502)):
        wishes = replace(WISHES, server=f"trusted_proxies = {trusted}")
        async with running(fake, tmp_path, [server], wishes=wishes) as rig:
            heard = await TusClient.of(rig).create(0, X_Forwarded_Host="a.example, files.example")
            assert heard.status == status
            assert heard.headers.get("Location", "").startswith("/uploads/") == (status == 201)
        await fake.client.flushall()


async def test_a_creation_without_a_location_is_what_it_was_sent(
    fake: Store, tmp_path: Path
) -> None:
    for body, used in ((b"", 0), (b"x" * 30, 30)):
        async with running(fake, tmp_path, [Request(), Answer(200)], wishes=WISHES) as rig:
            tus = TusClient.of(rig)
            heard = await tus.ask("POST", "/uploads", body, Upload_Length=100)
            assert heard.status == 200
            assert await rig.standing() == (used, 0)
        await fake.client.flushall()


async def test_a_client_that_leaves_before_it_hears_of_its_upload_holds_nothing(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 28 (an upload)"""
    go_on = asyncio.Event()
    script = [Request(), Wait(go_on), CREATED]
    async with running(fake, tmp_path, script, wishes=WISHES) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = {"Host": "t", "X-API-Key": rig.key, "Tus-Resumable": "1.0.0", "Upload-Length": "9"}
        lines = [f"{name}: {value}" for name, value in head.items()]
        writer.write("\r\n".join(["POST /uploads HTTP/1.1", *lines, "", ""]).encode())
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        assert await rig.standing() == (0, 9)
        writer.transport.abort()
        go_on.set()
        await rig.settled()
        assert await row(rig) is None
        assert await rig.standing() == (0, 0)


async def test_answers_of_ours_speak_tus(rig: Rig) -> None:
    tus = TusClient.of(rig)
    for heard in (await tus.create(2_000_000), await tus.patch("/uploads/none", 0, b"x")):
        assert heard.headers["Tus-Resumable"] == "1.0.0"
        assert json.loads(heard.body)["status"] == heard.status
