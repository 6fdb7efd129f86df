"""The README's nginx configuration, run as it is printed there."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from gateway.admin.api import create_admin_app
from gateway.admin.ledger_commands import usage
from gateway.ledger.store import Store
from gateway.records.api_keys import KeyPolicy
from tests.admin.house import TOKEN, House
from tests.ports import free_port

NGINX = shutil.which("nginx")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@dataclass
class Site:
    """nginx in front of an upstream that answers as it is told, and asks the admin listener."""

    url: str
    secret: str
    house: House
    settled: "asyncio.Queue[int]"
    status: int = 201

    async def put(self, size: int, secret: str | None = None) -> int:
        headers = {"X-API-Key": self.secret if secret is None else secret}
        # What a client says of these must not count.
        headers |= {"X-Quota-Account": "other", "X-Quota-Lines": "storage_bytes=0"}
        async with (
            ClientSession() as session,
            session.put(f"{self.url}/files/a", data=b"x" * size, headers=headers) as answer,
        ):
            return answer.status

    async def settlement(self) -> int:
        """The status that the next settlement was answered with."""
        async with asyncio.timeout(5):
            return await self.settled.get()

    async def used(self) -> tuple[int, int]:
        view = await usage(self.house.desk, "acme")
        return view.quotas[0].used, view.quotas[0].reserved


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    house = House(Store.fake())
    await house.open_account()
    _, secret = await house.keys.create("acme", KeyPolicy())
    site = Site("", secret, house, asyncio.Queue())
    admin_app = create_admin_app(house.deps())
    admin_app.on_response_prepare.append(_watcher(site))

    async def store(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=site.status)

    upstream_app = web.Application()
    upstream_app.router.add_put("/files/a", store)
    async with TestServer(admin_app) as admin, TestServer(upstream_app) as upstream:
        port = free_port()
        site.url = f"http://127.0.0.1:{port}"
        ports = {"8000": port, "8081": admin.port, "9000": upstream.port}
        process = await _started(tmp_path, ports)
        await _listening(port)
        yield site
        process.terminate()
        await process.wait()
    await house.store.close()


def _watcher(site: Site) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def watch(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/v1/settle":
            site.settled.put_nowait(response.status)

    return watch


async def _started(directory: Path, ports: dict[str, int | None]) -> asyncio.subprocess.Process:
    readme = resources.files("gateway.admin").joinpath("README.md").read_text("utf-8")
    found = re.search(r"```nginx\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    server = found[1].replace("ADMIN_TOKEN", TOKEN)
    for printed, port in ports.items():
        server = server.replace(f"127.0.0.1:{printed}", f"127.0.0.1:{port}")
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}\n{server}}}\n"
    )
    assert NGINX is not None
    return await asyncio.create_subprocess_exec(
        NGINX, "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(config)
    )


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0)
            else:
                writer.close()
                await writer.wait_closed()
                return


async def test_an_upload_is_reserved_before_and_committed_after(site: Site) -> None:
    assert await site.put(60) == 201
    assert await site.settlement() == 200
    assert await site.used() == (60, 0)


async def test_an_upload_without_room_never_reaches_the_upstream(site: Site) -> None:
    assert await site.put(101) == 403
    assert await site.put(60, "qg_wrong") == 401
    assert await site.used() == (0, 0)


async def test_what_the_upstream_refused_is_released(site: Site) -> None:
    site.status = 507
    assert await site.put(60) == 507
    assert await site.settlement() == 200
    assert await site.used() == (0, 0)


async def test_what_fits_is_decided_once_for_all_who_race(site: Site) -> None:
    """failure row 61"""
    statuses = await asyncio.gather(*(site.put(30) for _ in range(12)))
    assert sorted(statuses) == [201] * 3 + [403] * 9
    settled = [await site.settlement() for _ in range(12)]
    assert settled.count(200) == 3
    assert await site.used() == (90, 0)
