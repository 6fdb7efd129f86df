"""A small Stream API that works: upload URLs, videos that are ready when told, and deletions."""

import itertools
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.app_server import AppServer

BASE = "/client/v4/accounts/{account}/stream"


@dataclass
class Video:
    uid: str
    account: str
    creator: str | None
    most_s: int
    state: str = "pendingupload"
    duration_s: float = -1


class StreamApi(AppServer):
    """`asked` are the accounts that the paths named."""

    def __init__(self) -> None:
        super().__init__()
        self.videos: dict[str, Video] = {}
        self.asked: list[str] = []
        self._numbers = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"{BASE}/direct_upload", self._direct_upload)
        app.router.add_post(BASE, self._created_by_tus)
        app.router.add_get(f"{BASE}/{{uid}}", self._video)
        app.router.add_delete(f"{BASE}/{{uid}}", self._delete)
        return app

    async def _direct_upload(self, request: web.Request) -> web.Response:
        asked = await request.json()
        uid = f"uid{next(self._numbers)}"
        account = request.match_info["account"]
        video = Video(uid, account, asked.get("creator"), asked["maxDurationSeconds"])
        self.videos[uid] = video
        self.asked.append(account)
        return _said({"uploadURL": f"https://upload.example.com/{uid}", "uid": uid})

    async def _created_by_tus(self, request: web.Request) -> web.Response:
        uid = f"uid{next(self._numbers)}"
        account = request.match_info["account"]
        self.videos[uid] = Video(uid, account, request.headers.get("Upload-Creator"), 0)
        self.asked.append(account)
        location = f"https://upload.example.com/tus/{uid}"
        return web.Response(status=201, headers={"Location": location, "stream-media-id": uid})

    async def _video(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["account"])
        video = self.videos.get(request.match_info["uid"])
        if video is None:
            return _said(None, status=404)
        return _said(
            {
                "uid": video.uid,
                "creator": video.creator,
                "duration": video.duration_s,
                "status": {"state": video.state},
            }
        )

    async def _delete(self, request: web.Request) -> web.Response:
        gone = self.videos.pop(request.match_info["uid"], None)
        return web.Response(status=200 if gone else 404)


def _said(result: Any, *, status: int = 200) -> web.Response:
    errors = [] if status == 200 else [{"code": 10003, "message": "Not Found"}]
    document = {"result": result, "success": status == 200, "errors": errors, "messages": []}
    return web.json_response(document, status=status)
