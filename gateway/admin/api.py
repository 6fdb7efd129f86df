"""The admin listener: probes, metrics, decisions and operations; never on the public port.

`/livez` and `/readyz` are open, since those who probe have no secrets; everything else needs the
bearer token, on loopback too. Requests that a browser sent on behalf of another site are refused.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway.admin.by_headers import ByHeaders
from gateway.admin.command import Desk
from gateway.admin.decisions import DecisionDeps, Decisions
from gateway.admin.described import Alive, Readiness, admin_document
from gateway.admin.entrance import Entrance
from gateway.admin.operations import Operations
from gateway.admin.reading import BODY_MAX
from gateway.catalog.catalog import Catalog
from gateway.openapi.document import JSON, PATH
from gateway.telemetry.joining import Exposition
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_ids import RequestIds

OPEN = frozenset({"/livez", "/readyz"})


@dataclass(frozen=True, slots=True)
class AdminDeps:
    """`ready` answers check → what is wrong, or None where nothing is; it must not raise.

    `hosts` are the names besides `localhost` and addresses under which the listener is known.
    `scrape` answers for all workers, where there are several.
    """

    decisions: DecisionDeps
    desk: Callable[[], Desk]
    metrics: Metrics
    request_ids: RequestIds
    token: str
    ready: Callable[[], Awaitable[Mapping[str, str | None]]]
    hosts: frozenset[str] = frozenset()
    scrape: Callable[[], Awaitable[Exposition]] | None = None


def create_admin_app(deps: AdminDeps) -> web.Application:
    """To be served with `auto_decompress=False`, on a listener of its own."""
    entrance = Entrance(deps.token, deps.hosts, deps.request_ids, open_paths=OPEN)
    app = web.Application(middlewares=[entrance.admit], client_max_size=BODY_MAX)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _Readiness(deps.ready).answer)
    app.router.add_get("/metrics", _Scrape(deps).answer)
    app.router.add_get(PATH, _Document(deps.decisions.catalog).answer)
    decisions = Decisions(deps.decisions)
    app.add_routes(decisions.routes())
    app.add_routes(ByHeaders(decisions).routes())
    app.add_routes(Operations(deps.desk).routes())
    return app


async def _livez(request: web.Request) -> web.Response:
    alive: Alive = {"status": "alive"}
    return _json(200, alive)


class _Document:
    """The OpenAPI document of this listener, made once for each catalog that is in force."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._made: tuple[Catalog, bytes] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        catalog = self._catalog()
        if self._made is None or self._made[0] is not catalog:
            self._made = catalog, admin_document(catalog)
        headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
        return web.Response(body=self._made[1], headers=headers)


class _Readiness:
    def __init__(self, ready: Callable[[], Awaitable[Mapping[str, str | None]]]) -> None:
        self._ready = ready

    async def answer(self, request: web.Request) -> web.Response:
        checks = dict(await self._ready())
        ready = not any(checks.values())
        document: Readiness = {
            "status": "ready" if ready else "not ready",
            "checks": {name: wrong or "ok" for name, wrong in checks.items()},
        }
        return _json(200 if ready else 503, document)


class _Scrape:
    def __init__(self, deps: AdminDeps) -> None:
        self._deps = deps

    async def answer(self, request: web.Request) -> web.Response:
        scrape = self._deps.scrape
        body, content_type = await scrape() if scrape else self._deps.metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})


def _json(status: int, document: object) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(status=status, body=orjson.dumps(document), headers=headers)
