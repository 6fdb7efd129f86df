"""tus-js-client through gateway processes to @tus/server: as its users would have it.

Every test ends with an audit: what is charged is what is stored, and nothing is reserved.
"""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.journeys.tus_client import ROUTES
from tests.peers import npm
from tests.peers.npm import Script
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed

SIZE = 6_000_000


@pytest.fixture
def packages(request: pytest.FixtureRequest) -> Path:
    return npm.installed(request.config)


@dataclass
class Setting:
    packages: Path
    house: House
    acme: Customer
    server: Script
    stored: Path
    """Where the upstream keeps its files."""
    file: Path

    @property
    def gateway(self) -> GatewayProcess:
        return self.house.gateways[0]

    @contextlib.asynccontextmanager
    async def client(self, **asked: Any) -> AsyncIterator[Script]:
        wanted = {
            "file": str(self.file),
            "endpoint": f"{self.gateway.url}/uploads",
            "key": self.acme.key,
        }
        command = json.dumps(wanted | asked)
        async with npm.running(self.packages, "tus_client.mjs", command) as script:
            yield script

    async def standing(self) -> tuple[int, int]:
        return await self.house.standing(self.acme)

    def uploads(self) -> set[str]:
        return {path.stem for path in self.stored.iterdir()}

    def is_whole(self, url: str) -> bool:
        kept = self.stored / url.rpartition("/")[2]
        return kept.read_bytes() == self.file.read_bytes()


@contextlib.asynccontextmanager
async def setting(
    packages: Path,
    tmp_path: Path,
    *,
    size: int = SIZE,
    location: str = "absolute",
    mode: str = "",
    gateways: int = 1,
    more: str = "",
) -> AsyncIterator[Setting]:
    """`more` are lines of both routes. The account may store one file of `size`, and half of one
    more."""
    stored, file = tmp_path / "stored", tmp_path / "file"
    stored.mkdir()
    file.write_bytes(os.urandom(size))
    arguments = (str(stored), location, mode)
    async with npm.running(packages, "tus_server.mjs", *arguments) as server:
        routes = ROUTES.replace('grow_step = "64KiB"', more)
        wishes = Wishes(f"http://127.0.0.1:{await server.line()}", routes=routes)
        async with deployed(tmp_path, wishes, gateways=gateways) as house:
            acme = await house.customer("acme", storage=size + size // 2)
            yield Setting(packages, house, acme, server, stored, file)


@pytest.mark.parametrize(
    ("location", "more"),
    [("absolute", ""), ("absolute", 'host = "keep"'), ("relative", "")],
)
async def test_an_upload_in_chunks(
    packages: Path, tmp_path: Path, location: str, more: str
) -> None:
    async with setting(packages, tmp_path, location=location, more=more) as here:
        async with here.client(chunkSize=1_000_000) as client:
            url = (await client.event("done"))["url"]
        assert url.startswith(here.gateway.url)
        assert here.is_whole(url)
        assert await here.standing() == (SIZE, 0)


async def test_an_upload_that_is_interrupted_goes_on_at_another_gateway(
    packages: Path, tmp_path: Path
) -> None:
    """More than the buffers on the way hold, so that the client stops in the middle of a PATCH."""
    size = 30_000_000
    async with setting(packages, tmp_path, size=size, mode="hold", gateways=2) as here:
        first, second = here.house.gateways
        async with here.client() as client:
            assert await here.server.line() == "holding"
            client.tell()
            url = (await client.event("paused"))["url"]
            here.server.tell()
            assert await here.standing() == (0, size)
            client.tell(uploadUrl=url.replace(first.url, second.url))
            url = (await client.event("done"))["url"]
        assert url.startswith(second.url)
        assert here.is_whole(url)
        assert await here.standing() == (size, 0)


async def test_an_upload_that_is_terminated_gives_back_all(packages: Path, tmp_path: Path) -> None:
    async with setting(packages, tmp_path) as here:
        async with here.client(chunkSize=500_000, pauseAt=SIZE // 2, terminate=True) as client:
            await client.event("paused")
        assert await here.standing() == (0, 0)
        assert list(here.stored.iterdir()) == []


async def test_an_upload_whose_length_follows(packages: Path, tmp_path: Path) -> None:
    async with setting(packages, tmp_path) as here:
        async with here.client(chunkSize=700_000, deferred=True) as client:
            url = (await client.event("done"))["url"]
        assert here.is_whole(url)
        assert await here.standing() == (SIZE, 0)


async def test_over_quota_is_403(packages: Path, tmp_path: Path) -> None:
    refused = {"event": "failed", "status": 403}
    async with setting(packages, tmp_path) as here:
        async with here.client() as client:
            await client.event("done")
        before = here.uploads()
        async with here.client() as client:
            assert await client.event("failed") == refused
        assert here.uploads() == before
        async with here.client(chunkSize=500_000, deferred=True) as client:
            assert await client.event("failed") == refused
        (given_up,) = here.uploads() - before
        headers = here.acme.headers | {"Tus-Resumable": "1.0.0"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.delete(f"{here.gateway.url}/uploads/{given_up}") as answer,
        ):
            assert answer.status == 204
        assert await here.standing() == (SIZE, 0)


async def test_a_client_lives_through_the_death_of_its_gateway(
    packages: Path, tmp_path: Path
) -> None:
    """failure row 3 (an upload that can be resumed)"""
    async with setting(packages, tmp_path) as here:
        gateway = here.gateway
        async with here.client(chunkSize=200_000, retry=True) as client:
            while (await client.event("sent"))["bytes"] < SIZE // 2:
                pass
            gateway.kill()
            gateway.wishes = gateway.wishes.but(listen=gateway.address)
            await gateway.start()
            url = (await client.event("done", "failed"))["url"]
        assert here.is_whole(url)
        await until(lambda: not here.house.open_leases(here.acme), "all is settled")
        assert await here.standing() == (SIZE, 0)
