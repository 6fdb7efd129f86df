"""A StashFyle API behind the gateway: files move exactly the documented fields of `/v1/usage`."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.ledger.store import Store
from tests.presets.file_api import FileApi
from tests.presets.rig import PresetRig, running

SMALL = (
    '[plans.free]\nlimits = { storage_bytes = "100kB", bandwidth_bytes = "150kB", uploads = 5 }\n'
    'caps = { file_bytes = "60kB" }\n'
)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def usage(rig: PresetRig) -> tuple[Any, ...]:
    status, page = await rig.ask("GET", "/v1/usage", bearer(rig.key))
    assert status == 200
    assert list(page) == ["storage_bytes", "bandwidth_bytes", "upload_count", "period_start"]
    assert page["period_start"] == f"{datetime.now(UTC):%Y-%m}-01"  # noqa: TID251
    return page["storage_bytes"], page["bandwidth_bytes"], page["upload_count"]


async def upload(rig: PresetRig, size: int) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("folder", "photos")
    form.add_field("file", b"x" * size, filename="a.bin")
    return await rig.ask("POST", "/v1/upload", bearer(rig.key), data=form)


async def test_a_file_from_its_upload_to_its_deletion(store: Store, tmp_path: Path) -> None:
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url, SMALL) as rig:
        assert await usage(rig) == (0, 0, 0)
        status, file = await upload(rig, 40_000)
        assert status == 200
        assert await usage(rig) == (40_000, 0, 1), "the file's bytes, not the form's"
        for path, headers in (
            (f"/v1/files/{file['id']}/download", bearer(rig.key)),
            (f"/f/{file['id']}", {}),
        ):
            async with rig.session.get(f"{rig.url}{path}", headers=headers) as answer:
                assert (answer.status, len(await answer.read())) == (200, 40_000)
        await rig.settled()
        assert await usage(rig) == (40_000, 80_000, 1)
        for status in (200, 404):
            gone = await rig.ask("DELETE", f"/v1/files/{file['id']}", bearer(rig.key))
            assert gone[0] == status
            assert await usage(rig) == (0, 80_000, 1)
        status, refused = await rig.ask("GET", f"/f/{file['id']}", {})
        assert (status, refused["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(("own", "status"), [("", 403), ('storage_full = "too-large"', 413)])
async def test_no_room(store: Store, tmp_path: Path, own: str, status: int) -> None:
    more = f"{SMALL}[dialects.stashfyle]\n{own}\n"
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url, more) as rig:
        refused, page = await upload(rig, 70_000)
        assert (refused, page["error"]["code"]) == (413, "file_too_large")
        assert (await upload(rig, 55_000))[0] == 200
        refused, page = await upload(rig, 55_000)
        assert (refused, page["error"]["code"]) == (status, "storage_limit_exceeded")
        assert len(api.files) == 1


async def test_every_answer_says_how_the_rate_limit_stands(store: Store, tmp_path: Path) -> None:
    more = '[plans.free]\nrate = "3/1h"\n'
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url, more) as rig:
        left = []
        for method, path in (("GET", "/v1/usage"), ("DELETE", "/v1/files/x"), ("GET", "/v1/usage")):
            async with rig.session.request(
                method, f"{rig.url}{path}", headers=bearer(rig.key)
            ) as answer:
                assert answer.headers["X-RateLimit-Limit"] == "3"
                left.append(answer.headers["X-RateLimit-Remaining"])
        assert left == ["2", "1", "0"]
        async with rig.session.get(f"{rig.url}/v1/usage", headers=bearer(rig.key)) as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["X-RateLimit-Remaining"] == "0"


@pytest.mark.parametrize(
    ("headers", "path", "expected"),
    [
        ({}, "/v1/usage", (401, "unauthorized")),
        (bearer("sk_live_wrong"), "/v1/usage", (401, "unauthorized")),
        ({"Authorization": "Basic x"}, "/v1/upload", (405, "bad_request")),
        ({}, "/v1/files", (401, "unauthorized")),
        ({}, "/v2/files", (404, "not_found")),
    ],
)
async def test_its_errors_on_every_path(
    store: Store, tmp_path: Path, headers: dict[str, str], path: str, expected: tuple[int, str]
) -> None:
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url) as rig:
        status, page = await rig.ask("GET", path, headers)
        assert (status, page["error"]["code"]) == expected


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /v1/%2e%2e/usage HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/usage HTTP/1.1\r\nHost: t\r\nX-A_B: 1\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431, "bad_request"),
    ],
)
async def test_what_never_became_a_request_is_refused_in_its_words_too(
    store: Store, tmp_path: Path, head: bytes, status: int, code: str
) -> None:
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url) as rig:
        host, _, port = rig.gateway.public_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.replace(b"Host: t\r\n", b"Host: t\r\nConnection: close\r\n"))
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        first, _, body = answer.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(body)["error"]["code"] == code


async def test_a_gateway_that_drains_says_so_in_its_words(store: Store, tmp_path: Path) -> None:
    async with FileApi() as api, running(store, tmp_path, "stashfyle", api.url) as rig:
        rig.gateway.handler.draining = True
        status, page = await rig.ask("GET", "/v1/usage", bearer(rig.key))
        assert (status, page["error"]["code"]) == (503, "internal_error")
        rig.gateway.handler.draining = False
