"""Probes and metrics of the admin listener."""

from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.api import create_admin_app
from tests.admin.house import TOKEN, House

RIGHT = {"Authorization": f"Bearer {TOKEN}"}


async def test_readiness_says_what_is_wrong(house: House) -> None:
    async with TestClient(TestServer(create_admin_app(house.deps()))) as client:
        answer = await client.get("/readyz")
        assert (answer.status, await answer.json()) == (
            200,
            {"status": "ready", "checks": {"store": "ok"}},
        )
        house.checks = {"store": None, "draining": "the gateway is shutting down"}
        answer = await client.get("/readyz")
        assert (answer.status, await answer.json()) == (
            503,
            {
                "status": "not ready",
                "checks": {"store": "ok", "draining": "the gateway is shutting down"},
            },
        )
        assert (await client.get("/livez")).status == 200


async def test_metrics_count_decisions_and_name_no_account(house: House) -> None:
    """failure row 68"""
    await house.open_account("acme-the-secretive")
    async with TestClient(TestServer(create_admin_app(house.deps()))) as client:
        for amount in (60, 60):
            body = {"account": "acme-the-secretive", "lines": {"storage_bytes": amount}}
            await client.post("/v1/reservations", json=body, headers=RIGHT)
        answer = await client.get("/metrics", headers=RIGHT)
        text = await answer.text()
    assert answer.content_type == "text/plain"
    assert 'quota_gateway_reservations_total{outcome="granted",verb="reserve"} 1.0' in text
    assert 'quota_gateway_reservations_total{outcome="denied",verb="reserve"} 1.0' in text
    assert "secretive" not in text
