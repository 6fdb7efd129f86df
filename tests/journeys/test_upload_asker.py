"""Uploads that got their last bytes of which nobody heard: the gateway asks the upstream itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.proxy.uploads import asker, books
from gateway.records.uploads import DUE, UploadState
from gateway.tasks import TaskSet
from tests.journeys import test_resumable
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.test_resumable import Client
from tests.journeys.test_upload_trouble import row
from tests.journeys.tus_client import ROUTES, TusClient, another_gateway
from tests.resumable_upstream import ResumableServer
from tests.tus_upstream import TusServer

ASKED = 'probe_headers = { Authorization = { env = "QG_TEST_ASK" } }\n'
TUS = ROUTES.replace('asset = "uploads', f'{ASKED}asset = "uploads')
RESUMABLE = test_resumable.ROUTES.replace('path = "/resume', f'{ASKED}path = "/resume')
WISHES = Wishes(extra=TUS + RESUMABLE, answer_timeout="200ms")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker, "ROUND_S", 0.02)
    monkeypatch.setattr(asker, "AGAIN_LEAST_MS", 20)
    monkeypatch.setattr(books, "ASK_AFTER_MS", 20)
    monkeypatch.setenv("QG_TEST_ASK", "Bearer canary-of-ours")


@asynccontextmanager
async def speaking(
    store: Store, path: Path, server: TusServer | ResumableServer, wishes: Wishes = WISHES
) -> AsyncIterator[Rig]:
    async with running(store, path, *[[server]] * 20, wishes=wishes) as rig:
        yield rig


async def nothing_due(rig: Rig) -> None:
    async with asyncio.timeout(5):
        while await rig.store.client.zcard(DUE):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def asked(rig: Rig) -> int:
    """How many questions the upstream was asked."""
    return sum(request.method == b"HEAD" for request in rig.upstream.requests)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_last_answer_that_got_lost_is_asked_for(
    store: Store, tmp_path: Path, hangs: bool
) -> None:
    """failure rows 4, 35 (an upload)"""
    server = TusServer()
    async with speaking(store, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        server.mute, server.hangs = b"PATCH", hangs
        assert (await tus.patch(path, 0, b"x" * 100)).status in (502, 504)
        assert await rig.standing() == (0, 100)
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)
        assert await rig.standing("uploads") == (1, 0)
        found = await row(rig, path)
        assert found is not None
        assert found.state is UploadState.STORED
        question = rig.upstream.requests[-1]
        assert (question.method, question.target) == (b"HEAD", path.encode())
        assert question.get(b"tus-resumable") == b"1.0.0"
        assert question.get(b"authorization") == b"Bearer canary-of-ours"
        assert b"canary" not in rig.log_bytes()
        assert await tus.delete(path) == 204
        assert await rig.standing() == (0, 0)


async def test_any_gateway_asks(fake: Store, tmp_path: Path) -> None:
    """failure row 4 (an upload; its gateway is gone)"""
    server = TusServer()
    async with running(fake, tmp_path, *[[server]] * 20, wishes=WISHES, audited=False) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        await rig.gateway.uploads.stop()
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 100)).status == 502
        assert await rig.standing() == (0, 100)
        async with another_gateway(rig, tmp_path / "second", WISHES):
            await nothing_due(rig)
        assert await rig.standing() == (100, 0)


async def test_a_deferred_length_is_learnt_by_asking(fake: Store, tmp_path: Path) -> None:
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(None)
        assert (await tus.patch(path, 0, b"x" * 40)).status == 204
        server.mute = b"PATCH"
        assert (await tus.patch(path, 40, b"x" * 60, Upload_Length=100)).status == 502
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)


async def test_a_partial_upload_that_is_whole_is_held_for_its_final_one(
    fake: Store, tmp_path: Path
) -> None:
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100, Upload_Concat="partial")
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 100)).status == 502
        await nothing_due(rig)
        assert await rig.standing() == (0, 100)
        found = await row(rig, path)
        assert found is not None
        assert (found.state, found.offset) == (UploadState.WHOLE, 100)
        final = await tus.ask("POST", "/uploads", Upload_Concat=f"final;{path}")
        assert final.status == 201
        assert await rig.standing() == (100, 0)


async def test_what_is_not_whole_stays_as_it_is(fake: Store, tmp_path: Path) -> None:
    """Its client goes on with it, or its lease ends it: no question prolongs that."""
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 60)).status == 502
        before = (await rig.snapshot()).next_lease_end_ms
        await nothing_due(rig)
        assert asked(rig) == 1
        assert await rig.standing() == (0, 100)
        assert (await rig.snapshot()).next_lease_end_ms == before
        assert (await tus.head(path)).offset == 60
        assert (await tus.patch(path, 60, b"x" * 40)).status == 204
        assert await rig.standing() == (100, 0)


async def test_what_is_gone_gives_back_what_it_held(fake: Store, tmp_path: Path) -> None:
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 60)).status == 502
        server.uploads.clear()
        await nothing_due(rig)
        assert await rig.standing() == (0, 0)


async def test_an_upstream_that_cannot_tell_is_asked_again(fake: Store, tmp_path: Path) -> None:
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 100)).status == 502
        server.refuse = 503
        await rig.upstream.until(lambda: asked(rig) >= 3)
        assert await rig.standing() == (0, 100)
        server.refuse = None
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)


async def test_it_is_asked_for_as_long_as_its_lease(fake: Store, tmp_path: Path) -> None:
    """failure row 54 (an upload): what turns out to be whole after that is charged late."""
    server = TusServer()
    brief = Wishes(extra=TUS.replace("grow_step", 'lease = "1s"\ngrow_step'))
    async with speaking(fake, tmp_path, server, brief) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        await rig.gateway.uploads.stop()
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 100)).status == 502
        server.refuse = 503
        rig.gateway.uploads.start()
        await nothing_due(rig)
        assert asked(rig) > 1
        await rig.settled()
        assert await rig.standing() == (0, 0)
        server.refuse = None
        assert (await tus.head(path)).offset == 100
        assert await rig.standing() == (100, 0)


async def test_what_is_whole_after_its_lease_is_charged_late(fake: Store, tmp_path: Path) -> None:
    server = TusServer()
    brief = Wishes(extra=TUS.replace("grow_step", 'lease = "1s"\ngrow_step'))
    async with speaking(fake, tmp_path, server, brief) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        await rig.gateway.uploads.stop()
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 100)).status == 502
        await rig.settled()
        assert await rig.standing() == (0, 0)
        rig.gateway.uploads.start()
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)


async def test_nobody_asks_while_bytes_go_on(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many servers break a request off when another one is about the same upload."""
    monkeypatch.setattr(books, "ASK_MS", 600)
    server, tasks = TusServer(), TaskSet()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 50
            await go_on.wait()
            yield b"y" * 50

        patch = tasks.start(tus.patch(path, 0, slow()), name="slow")
        await rig.upstream.until(lambda: rig.upstream.requests[-1].body_bytes == 50)
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5
        async with asyncio.timeout(5):
            while loop.time() < until:
                assert asked(rig) == 0
                await asyncio.sleep(0.01)
        go_on.set()
        assert (await patch).status == 204
        await nothing_due(rig)
        assert asked(rig) == 0
        assert await rig.standing() == (100, 0)


async def test_a_client_that_goes_on_first_is_not_disturbed(fake: Store, tmp_path: Path) -> None:
    """An entry of before is put off by the bytes that go on since."""
    server = TusServer()
    async with speaking(fake, tmp_path, server) as rig:
        tus = TusClient.of(rig)
        path = await tus.created(100)
        rows = rig.gateway.uploads._upload_books.rows
        await rig.gateway.uploads.stop()
        server.mute = b"PATCH"
        assert (await tus.patch(path, 0, b"x" * 60)).status == 502
        async with asyncio.timeout(5):
            while not (claimed := await rows.due(8, claim_ms=1_000))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await tus.head(path)).offset == 60
        assert (await tus.patch(path, 60, b"x")).offset == 61
        await rows.ask_again("acme", path, claimed[0] + 1_000, None)
        assert await rig.store.client.zcard(DUE) == 1
        assert await tus.delete(path) == 204


@pytest.mark.parametrize("announces", [True, False])
async def test_an_upload_of_the_ietf_is_asked_for(
    fake: Store, tmp_path: Path, announces: bool
) -> None:
    server = ResumableServer(announces=announces)
    async with speaking(fake, tmp_path, server) as rig:
        client = Client.of(rig)
        path = (await client.begin(b"x" * 40, complete=False)).headers["Location"]
        server.mute = b"PATCH"
        assert (await client.append(path, 40, b"x" * 60, complete=True)).status == 502
        assert (await rig.standing())[0] == 0
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)
        question = rig.upstream.requests[-1]
        assert (question.method, question.target) == (b"HEAD", path.encode())
        assert question.get(b"upload-draft-interop-version") == b"8"
        assert question.get(b"authorization") == b"Bearer canary-of-ours"


async def test_a_creation_that_was_announced_and_not_answered_is_asked_for(
    fake: Store, tmp_path: Path
) -> None:
    server = ResumableServer(mute=b"PUT")
    async with speaking(fake, tmp_path, server) as rig:
        heard = await Client.of(rig).begin(b"x" * 100, complete=True)
        assert heard.status == 502
        assert await rig.standing() == (0, 100)
        await nothing_due(rig)
        assert await rig.standing() == (100, 0)


async def test_an_upload_of_the_ietf_that_is_not_complete_stays_open(
    fake: Store, tmp_path: Path
) -> None:
    server = ResumableServer()
    async with speaking(fake, tmp_path, server) as rig:
        client = Client.of(rig)
        path = (await client.begin(b"x" * 40, complete=False)).headers["Location"]
        server.mute = b"PATCH"
        assert (await client.append(path, 40, b"x" * 20, complete=False)).status == 502
        await nothing_due(rig)
        assert (await rig.standing())[0] == 0
        assert (await client.append(path, 60, b"x" * 40, complete=True)).status == 201
        assert await rig.standing() == (100, 0)


async def test_an_append_without_bytes_may_be_what_completes_it(
    fake: Store, tmp_path: Path
) -> None:
    server = ResumableServer()
    async with speaking(fake, tmp_path, server) as rig:
        client = Client.of(rig)
        path = (await client.begin(b"x" * 40, complete=False)).headers["Location"]
        server.mute = b"PATCH"
        assert (await client.append(path, 40, b"", complete=True)).status == 502
        await nothing_due(rig)
        assert await rig.standing() == (40, 0)
