"""A small file API that works, with StashFyle's paths: keeps what it is sent, and gives it back."""

import itertools
from typing import Any

from aiohttp import web

from tests.app_server import AppServer


class FileApi(AppServer):
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self._ids = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/upload", self._upload)
        app.router.add_get("/v1/files/{id}/download", self._download)
        app.router.add_get("/f/{id}", self._download)
        app.router.add_delete("/v1/files/{id}", self._delete)
        return app

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
