"""Who may come in to the admin listener."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.api import create_admin_app
from gateway.admin.entrance import Entrance
from gateway.admin.reading import BODY_MAX
from gateway.ledger.store import Store
from gateway.telemetry.request_ids import RequestIds
from tests.admin.house import TOKEN, House

Client = TestClient[Any, Any]
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
CLOSED_PATHS = (
    "/metrics",
    "/v1/accounts/acme/quota",
    "/nothing",
    "/",
    "/livez/",
    "/LIVEZ",
)


@pytest.fixture
async def admin() -> AsyncIterator[Client]:
    """Who comes in does not depend on the store."""
    house = House(Store.fake())
    await house.open_account()
    server = TestServer(create_admin_app(house.deps()))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client
    await house.store.close()


async def test_probes_need_no_token_and_nothing_else_is_open(admin: Client) -> None:
    """failure row 67: a token is needed on loopback, too."""
    for path in ("/livez", "/readyz"):
        assert (await admin.get(path, headers={"Host": "10.1.2.3:8081"})).status == 200
    for path in CLOSED_PATHS:
        answer = await admin.get(path)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
     f"Bearer  {TOKEN}", "Bearer \xff"],
)  # fmt: skip
async def test_a_wrong_token_is_no_token(admin: Client, authorization: str) -> None:
    """failure row 67"""
    answer = await admin.get("/metrics", headers={"Authorization": authorization})
    assert answer.status == 401
    assert TOKEN not in await answer.text()


async def test_two_authorizations_are_none(admin: Client) -> None:
    both = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
    assert (await admin.get("/metrics", headers=both)).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_comes_in(admin: Client, scheme: str) -> None:
    answer = await admin.get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "10.0.0.7", "gw.internal:1"],
)
async def test_hosts_that_no_rebound_name_can_claim(admin: Client, host: str) -> None:
    assert (await admin.get("/metrics", headers={**RIGHT, "Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example",
     "gw.internal.evil.example", "[::1", "", "127.1", "user@evil.example"],
)  # fmt: skip
async def test_a_rebound_name_is_refused_even_with_the_token(admin: Client, host: str) -> None:
    """failure row 67: a page whose name was rebound to loopback gets nothing."""
    answer = await admin.get("/metrics", headers={**RIGHT, "Host": host})
    assert answer.status in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
async def test_other_sites_are_refused_even_with_the_token(
    admin: Client, headers: dict[str, str]
) -> None:
    """failure row 67: CSRF."""
    assert (await admin.post("/v1/reservations", headers={**RIGHT, **headers})).status == 403


async def test_its_own_pages_are_let_in(admin: Client) -> None:
    own = {"Host": "localhost:8081", "Origin": "http://localhost:8081"}
    headers = {**RIGHT, **own, "Sec-Fetch-Site": "same-origin"}
    assert (await admin.get("/metrics", headers=headers)).status == 200


async def test_failures_are_problems(admin: Client) -> None:
    cases = (
        ("GET", "/nothing", 404, "no-route"),
        ("GET", "/v1/reservations", 405, "method-not-allowed"),
    )
    for method, path, status, code in cases:
        answer = await admin.request(method, path, headers=RIGHT)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
        assert problem["request_id"] == answer.headers["X-Request-Id"]


async def test_a_body_has_a_size_a_type_and_a_depth(admin: Client) -> None:
    """failure row 63"""

    async def sent(body: bytes, **headers: str) -> int:
        content = {"Content-Type": "application/json", **headers}
        answer = await admin.post("/v1/reservations", data=body, headers={**RIGHT, **content})
        assert answer.content_type == "application/problem+json"
        return answer.status

    assert await sent(b" " * (BODY_MAX + 1)) == 413
    assert await sent(b"[" * 60_000) == 400
    assert await sent(b'{"a":' * 10_000) == 400
    assert await sent(b"{" + b"1" * 60_000) == 400
    assert await sent(b"{}", **{"Content-Encoding": "gzip"}) == 400
    assert await sent(b"{}", **{"Content-Type": "text/plain"}) == 400
    assert await sent(b"\xff\xfe") == 400
    assert await sent(b'{"account": NaN}') == 400


async def test_a_request_id_is_kept_and_a_forged_one_is_not(admin: Client) -> None:
    answer = await admin.get("/livez", headers={"X-Request-Id": "r-1"})
    assert answer.headers["X-Request-Id"] == "r-1"
    answer = await admin.get("/metrics", headers={"X-Request-Id": "a b"})
    assert answer.headers["X-Request-Id"] != "a b"


async def test_what_nobody_foresaw_is_an_internal_error_that_tells_nothing(
    admin: Client, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(Store.fake())

    async def broken() -> dict[str, str | None]:
        raise ZeroDivisionError("secret reason")

    house.ready = broken  # type: ignore[method-assign]
    async with TestClient(TestServer(create_admin_app(house.deps()))) as client:
        answer = await client.get("/readyz")
        assert answer.status == 500
        assert "secret reason" not in await answer.text()
    assert "secret reason" in caplog.text
    await house.store.close()


async def test_whatever_the_framework_refuses_is_a_problem_too() -> None:
    async def conflict(request: web.Request) -> web.Response:
        raise web.HTTPConflict

    entrance = Entrance(TOKEN, frozenset(), RequestIds(), open_paths=frozenset())
    app = web.Application(middlewares=[entrance.admit])
    app.router.add_get("/x", conflict)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/x", headers=RIGHT)
        assert (answer.status, answer.content_type) == (400, "application/problem+json")


def test_without_a_token_there_is_no_entrance() -> None:
    """failure row 67"""
    with pytest.raises(ValueError, match="token"):
        Entrance("", frozenset(), RequestIds(), open_paths=frozenset())
