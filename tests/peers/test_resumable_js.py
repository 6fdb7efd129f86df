"""tus-js-client speaking drafts of the IETF's resumable uploads: an independent reading of them.

It knows the drafts 3 and 5; what they differ in from the one that is followed here it may keep, as
long as the books balance.
"""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running
from tests.journeys.test_resumable import WISHES
from tests.journeys.tus_client import another_gateway
from tests.peers import npm
from tests.resumable_upstream import ResumableServer

FILE = os.urandom(700_000)
DRAFTS = ["ietf-draft-03", "ietf-draft-05"]


@pytest.fixture
def server() -> ResumableServer:
    return ResumableServer()


@pytest.fixture
async def rig(tmp_path: Path, server: ResumableServer) -> AsyncIterator[Rig]:
    store = Store.fake()
    async with running(store, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig
    await store.close()


@pytest.fixture
def packages(request: pytest.FixtureRequest) -> Path:
    return npm.installed(request.config)


def command(rig: Rig, tmp_path: Path, **more: Any) -> str:
    file = tmp_path / "file"
    file.write_bytes(FILE)
    asked = {"file": str(file), "endpoint": f"{rig.url}/docs/a", "key": rig.key}
    return json.dumps(asked | more)


@pytest.mark.parametrize("draft", DRAFTS)
async def test_an_upload_in_chunks(
    rig: Rig, server: ResumableServer, packages: Path, tmp_path: Path, draft: str
) -> None:
    asked = command(rig, tmp_path, protocol=draft, chunkSize=100_000)
    async with npm.running(packages, "tus_client.mjs", asked) as client:
        assert (await client.event("done", "failed"))["event"] == "done"
    assert server.stored == {b"/docs/a": FILE}
    assert await rig.standing() == (len(FILE), 0)
    assert await rig.standing("uploads") == (1, 0)


@pytest.mark.parametrize("draft", DRAFTS)
async def test_an_upload_that_is_interrupted_goes_on_at_another_gateway(
    rig: Rig, server: ResumableServer, packages: Path, tmp_path: Path, draft: str
) -> None:
    asked = command(rig, tmp_path, protocol=draft, chunkSize=100_000, pauseAt=300_000)
    async with (
        another_gateway(rig, tmp_path / "second", WISHES) as second,
        npm.running(packages, "tus_client.mjs", asked) as client,
    ):
        url = (await client.event("paused"))["url"]
        client.tell(uploadUrl=url.replace(rig.url, f"http://{second.public_address}"))
        assert (await client.event("done", "failed"))["event"] == "done"
    assert server.stored == {b"/docs/a": FILE}
    assert await rig.standing() == (len(FILE), 0)


async def test_over_quota_is_403(
    rig: Rig, server: ResumableServer, packages: Path, tmp_path: Path
) -> None:
    asked = command(rig, tmp_path, protocol=DRAFTS[-1], chunkSize=100_000)
    (tmp_path / "file").write_bytes(FILE * 2)
    async with npm.running(packages, "tus_client.mjs", asked) as client:
        assert await client.event("failed") == {"event": "failed", "status": 403}
    assert rig.upstream.connections == 0
