"""The decision API for proxies that can only send headers."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from gateway.admin.api import create_admin_app
from gateway.records.api_keys import KeyPolicy
from tests.admin.house import TOKEN, House

LINES = {"X-Quota-Lines": "storage_bytes=60, uploads=1"}


class Proxy:
    def __init__(self, client: Any, house: House) -> None:
        self._client = client
        self._house = house

    async def ask(
        self, path: str, headers: Mapping[str, str], method: str = "GET"
    ) -> ClientResponse:
        answer: ClientResponse = await self._client.request(
            method,
            path,
            headers=CIMultiDict([*headers.items(), ("Authorization", f"Bearer {TOKEN}")]),
        )
        return answer

    async def used(self) -> dict[str, tuple[int, int]]:
        answer = await self.ask("/v1/accounts/acme/quota", {})
        quotas = (await answer.json())["quotas"]
        return {quota["meter"]: (quota["used"], quota["reserved"]) for quota in quotas}


@pytest.fixture
async def proxy(house: House) -> AsyncIterator[Proxy]:
    await house.open_account()
    async with TestClient(TestServer(create_admin_app(house.deps()))) as client:
        yield Proxy(client, house)


async def test_authorize_reserves_and_settle_commits(proxy: Proxy, house: House) -> None:
    key, secret = await house.keys.create("acme", KeyPolicy())
    answer = await proxy.ask("/v1/authorize", {"X-API-Key": secret, **LINES})
    assert answer.status == 200
    assert (answer.headers["X-Quota-Account"], answer.headers["X-Quota-Key-Id"]) == (
        "acme",
        key.id,
    )
    assert await proxy.used() == {"storage_bytes": (0, 60), "uploads": (0, 1)}
    named = {
        name: answer.headers[name] for name in ("X-Quota-Id", "X-Quota-Account", "X-Quota-Key-Id")
    }
    ending = {**named, "X-Quota-Status": "201", "X-Quota-Lines": "storage_bytes=50,uploads=1"}
    assert (await proxy.ask("/v1/settle", ending, "POST")).status == 200
    assert await proxy.used() == {"storage_bytes": (50, 0), "uploads": (1, 0)}
    assert (await proxy.ask("/v1/settle", ending, "POST")).status == 200
    assert await proxy.used() == {"storage_bytes": (50, 0), "uploads": (1, 0)}


@pytest.mark.parametrize("status", ["404", "499", "502", "304"])
async def test_any_other_status_releases(proxy: Proxy, status: str) -> None:
    who = {"X-Quota-Account": "acme", "X-Quota-Id": "up-1"}
    assert (await proxy.ask("/v1/authorize", {**who, **LINES})).status == 200
    assert (await proxy.ask("/v1/settle", {**who, "X-Quota-Status": status})).status == 200
    assert await proxy.used() == {"storage_bytes": (0, 0), "uploads": (0, 0)}


async def test_a_denial_is_what_the_client_may_see(proxy: Proxy) -> None:
    headers = {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes=101"}
    answer = await proxy.ask("/v1/authorize", headers)
    problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"]) == (403, "quota-exceeded")


async def test_as_envoy_asks_by_the_clients_own_method_and_path(proxy: Proxy) -> None:
    headers = {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes=0-1000"}
    answer = await proxy.ask("/v1/authorize/files/a%20b?x=1", headers, "PUT")
    assert answer.status == 200
    assert (await answer.json())["amounts"] == {"storage_bytes": 100}


async def test_an_asset_and_a_lease_are_passed_on(proxy: Proxy, house: House) -> None:
    who = {"X-Quota-Account": "acme", "X-Quota-Id": "up-1"}
    lease = {"X-Quota-Lease": "3600"}
    assert (await proxy.ask("/v1/authorize", {**who, **LINES, **lease})).status == 200
    (holder,) = await house.ledger.holders("acme")
    assert 3_590_000 < holder.lease_end_ms - holder.opened_ms <= 3_600_000
    ending = {**who, **LINES, "X-Quota-Status": "200", "X-Quota-Asset": "files/a"}
    assert (await proxy.ask("/v1/settle", ending)).status == 200
    removed = await proxy._client.delete(
        "/v1/accounts/acme/assets/files/a", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert (await removed.json())["deltas"] == {"storage_bytes": -60}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/authorize", {"X-Quota-Lines": "storage_bytes=1"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes="}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes=-1"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "storage_bytes=1e3"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "uploads=1,uploads=1"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lines": "nothing=1"}),
        ("/v1/authorize", {"X-Quota-Account": "acme", "X-Quota-Lease": "1h"}),
        ("/v1/settle", {"X-Quota-Account": "acme", "X-Quota-Status": "200"}),
        ("/v1/settle", {"X-Quota-Account": "acme", "X-Quota-Id": "up-1"}),
        ("/v1/settle", {"X-Quota-Account": "acme", "X-Quota-Id": "up-1", "X-Quota-Status": "ok"}),
    ],
    ids=str,
)
async def test_what_cannot_be_meant_is_refused(
    path: str, headers: dict[str, str], proxy: Proxy
) -> None:
    """failure row 62"""
    assert (await proxy.ask(path, headers)).status == 400
    assert await proxy.used() == {"storage_bytes": (0, 0), "uploads": (0, 0)}


async def test_a_header_that_comes_twice_has_two_readings(proxy: Proxy) -> None:
    """failure row 66"""
    headers = CIMultiDict({"X-Quota-Account": "acme", **LINES})
    headers.add("X-Quota-Account", "other")
    assert (await proxy.ask("/v1/authorize", headers)).status == 400
