"""A small Stripe: subscriptions with their periods, in the shapes of old and new API versions."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.app_server import AppServer

KEY = "rk_test_0123456789"


@dataclass
class Subscription:
    """Unix seconds. `old`: the period stands at the subscription and not at its items."""

    start_s: int
    end_s: int
    old: bool = False

    def document(self, name: str) -> dict[str, Any]:
        period = {"current_period_start": self.start_s, "current_period_end": self.end_s}
        item = {"id": "si_1", "object": "subscription_item", **({} if self.old else period)}
        return {
            "id": name,
            "object": "subscription",
            "status": "active",
            "items": {"object": "list", "data": [item]},
            **(period if self.old else {}),
        }


class StripeApi(AppServer):
    """`broken`: the status that everything is answered with instead. `parts`: into how many an
    answer is cut on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions: dict[str, Subscription] = {}
        self.customers: dict[str, str] = {}
        self.broken: int | None = None
        self.parts = 1
        self.asked = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/subscriptions/{id}", self._one)
        app.router.add_get("/v1/subscriptions", self._listed)
        return app

    def _refused(self, request: web.Request) -> web.Response | None:
        self.asked += 1
        if self.broken is not None:
            return web.json_response({"error": {}}, status=self.broken)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"type": "invalid_request_error"}}, status=401)
        return None

    async def _one(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        found = self.subscriptions.get(name)
        refused = self._refused(request)
        if refused is not None or found is None:
            return refused or web.json_response({"error": {}}, status=404)
        if self.parts == 1:
            return web.json_response(found.document(name))
        return await self._in_parts(request, json.dumps(found.document(name)).encode())

    async def _in_parts(self, request: web.Request, body: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        size = -(-len(body) // self.parts)
        for start in range(0, len(body), size):
            await answer.write(body[start : start + size])
            await asyncio.sleep(0.01)  # else the parts arrive as one
        await answer.write_eof()
        return answer

    async def _listed(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        name = self.customers.get(request.query["customer"])
        data = [] if name is None else [self.subscriptions[name].document(name)]
        return web.json_response({"object": "list", "data": data})
