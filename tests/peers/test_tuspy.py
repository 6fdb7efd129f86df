"""tuspy through gateways, with a restart in between: as its users would have it."""

import asyncio
import base64
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader.uploader import Uploader

from gateway.app import Gateway
from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running
from tests.journeys.tus_client import WISHES, another_gateway
from tests.tus_upstream import TusServer

FILE = os.urandom(900_000)


@pytest.fixture
async def rig(tmp_path: Path, server: TusServer) -> AsyncIterator[Rig]:
    store = Store.fake()
    async with running(store, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig
    await store.close()


@pytest.fixture
def server() -> TusServer:
    return TusServer()


def uploader(rig: Rig, gateway: Gateway | None = None, **options: Any) -> Uploader:
    address = (gateway or rig.gateway).public_address
    client = TusClient(f"http://{address}/uploads", headers=rig.headers)
    given = {"file_stream": io.BytesIO(FILE), "chunk_size": 100_000} | options
    made: Uploader = client.uploader(**given)
    return made


async def sent(upload: Uploader, stop_at: int | None = None) -> None:
    await asyncio.to_thread(upload.upload, stop_at=stop_at)


async def test_an_upload_in_chunks_with_checksums(rig: Rig, server: TusServer) -> None:
    upload = uploader(rig, upload_checksum=True)
    await sent(upload)
    assert server.of("/uploads/u1").data == FILE
    assert await rig.standing() == (len(FILE), 0)
    first = next(request for request in rig.upstream.requests if request.method == b"PATCH")
    digest = base64.b64encode(hashlib.sha1(FILE[:100_000]).digest())
    assert first.get(b"upload-checksum") == b"sha1 " + digest


async def test_an_upload_goes_on_at_other_gateways(
    rig: Rig, server: TusServer, tmp_path: Path
) -> None:
    first = uploader(rig)
    await sent(first, stop_at=300_000)
    assert await rig.standing() == (0, len(FILE))
    url = first.url
    assert isinstance(url, str)
    path = url.removeprefix(rig.url)
    async with another_gateway(rig, tmp_path / "second") as second:
        there = f"http://{second.public_address}{path}"
        upload = await asyncio.to_thread(uploader, rig, second, url=there)
        assert upload.offset == 300_000
        await sent(upload, stop_at=600_000)
    await rig.gateway.stop()
    async with another_gateway(rig, tmp_path / "third") as third:
        there = f"http://{third.public_address}{path}"
        upload = await asyncio.to_thread(uploader, rig, third, url=there)
        assert upload.offset == 600_000
        await sent(upload)
    assert server.of(path).data == FILE
    assert await rig.standing() == (len(FILE), 0)


async def test_an_upload_whose_answer_is_lost_goes_on_by_its_url(
    rig: Rig, server: TusServer
) -> None:
    upload = uploader(rig)
    await sent(upload, stop_at=200_000)
    server.mute = b"PATCH"
    with pytest.raises(TusUploadFailed):
        await sent(upload)
    again = await asyncio.to_thread(uploader, rig, url=upload.url)
    assert again.offset == 300_000
    await sent(again)
    assert server.of("/uploads/u1").data == FILE
    assert await rig.standing() == (len(FILE), 0)


async def test_a_last_answer_that_is_lost_is_charged_when_the_client_asks(
    rig: Rig, server: TusServer
) -> None:
    upload = uploader(rig, chunk_size=len(FILE), retries=1, retry_delay=0)
    server.mute = b"PATCH"
    await sent(upload)  # It asks, hears that all is there, and sends an empty PATCH all the same.
    assert server.of("/uploads/u1").data == FILE
    assert await rig.standing() == (len(FILE), 0)


async def test_over_quota_is_403(rig: Rig) -> None:
    await sent(uploader(rig))
    requests = len(rig.upstream.requests)
    with pytest.raises(TusCommunicationError) as refused:
        await sent(uploader(rig))
    assert refused.value.status_code == 403
    assert b"quota-exceeded" in refused.value.response_content
    assert len(rig.upstream.requests) == requests
    assert await rig.standing() == (len(FILE), 0)
