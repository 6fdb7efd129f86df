"""A client's own place to be called at: keeps what it was told, and answers as the test says."""

import asyncio
from collections.abc import Callable
from typing import Self

from aiohttp import web


class Hooks:
    """`answers` are the statuses of the next answers; then it is 200."""

    def __init__(self) -> None:
        self.url = ""
        self.told: list[bytes] = []
        self.kinds: list[str] = []
        self.answers: list[int] = []
        self.body = b""
        self.methods: list[str] = []
        self.refuses: dict[str, int] = {}
        """Method → the status that it gets."""
        self.location: str | None = None
        self.ranges = True
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def until(self, true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(true)

    async def _take(self, request: web.Request) -> web.Response:
        self.told.append(await request.read())
        self.kinds.append(request.headers.get("Content-Type", ""))
        self.methods.append(request.method)
        status = self.answers.pop(0) if self.answers else 200
        status = self.refuses.get(request.method, status)
        headers = {} if self.location is None else {"Location": self.location}
        async with self._news:
            self._news.notify_all()
        body = self.body
        if request.headers.get("Range") == "bytes=0-0" and self.ranges and status == 200:
            status = 206 if body else 416
            given = "bytes 0-0" if body else "bytes *"
            headers["Content-Range"], body = f"{given}/{len(body)}", body[:1]
        return web.Response(status=status, headers=headers, body=body)
