"""A small file API that works, with StashFyle's paths: keeps what it is sent, and gives it back."""

import itertools
from typing import Any, Self

from aiohttp import web


class FileApi:
    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self._ids = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/upload", self._upload)
        app.router.add_get("/v1/files/{id}/download", self._download)
        app.router.add_get("/f/{id}", self._download)
        app.router.add_delete("/v1/files/{id}", self._delete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        field: Any = form["file"]
        data: bytes = field.file.read()
        name = f"f_{next(self._ids)}"
        self.files[name] = data
        return web.json_response(
            {"id": name, "url": f"{self.url}/f/{name}", "name": field.filename, "size": len(data)}
        )

    async def _download(self, request: web.Request) -> web.Response:
        data = self.files.get(request.match_info["id"])
        if data is None:
            return web.json_response({"error": {"code": "not_found", "message": "no"}}, status=404)
        return web.Response(body=data)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.files.pop(request.match_info["id"], None) is None:
            return web.json_response({"error": {"code": "not_found", "message": "no"}}, status=404)
        return web.json_response({"deleted": True})
