"""Whoever is told of usage: keeps what it was sent, and answers as it is told to."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.app_server import AppServer


class Listener(AppServer):
    """`answers` are the next statuses, then 200; `calls` are path, headers and body. `meanwhile` is
    done before each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, str]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.calls: list[tuple[str, dict[str, str], bytes]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, dict(request.headers), await request.read()))
        if self.meanwhile is not None:
            await self.meanwhile()
        status, text = self.answers.pop(0) if self.answers else (200, "{}")
        return web.Response(status=status, text=text)
