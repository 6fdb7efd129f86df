"""A small job API that really works: jobs run as tasks, end as they are told, and call back.

    async with JobUpstream() as upstream:
        ... POST {upstream.url}/jobs {"max_bytes": 1000} → 201 {"job_id": …}
        await upstream.finish(job_id, 700)

Its paths and words are those of a video downloader: `GET /jobs/{id}` → `status`, `file_size`;
`DELETE /jobs/{id}`. What it has been asked is in `requests`.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.app_server import AppServer

ENDS = ("Completed", "Failed", "Cancelled")


@dataclass
class UpstreamJob:
    id: str
    asked: dict[str, Any]
    status: str = "Processing"
    file_size: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        return self.status in ENDS


class JobUpstream(AppServer):
    """`refuses`: the status that openings are answered with instead. `on_opened` is called with
    each job that was opened, before the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, UpstreamJob] = {}
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.pages: dict[str, dict[str, Any]] = {}
        """Further members of the status answers of jobs."""
        self.refuses: int | None = None
        self.same = False
        self.answers: Callable[[UpstreamJob], web.Response] | None = None
        self.cancels: Callable[[UpstreamJob], web.Response] | None = None
        self.on_opened: Callable[[UpstreamJob], Awaitable[None]] | None = None
        self._numbers = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._noted])
        app.router.add_post("/jobs", self._open)
        app.router.add_post("/bulk", self._open_many)
        app.router.add_post("/jobs/bulk", self._open_many)
        app.router.add_post("/shows", self._open_show)
        app.router.add_get("/jobs/{id}", self._status)
        app.router.add_delete("/jobs/{id}", self._cancel)
        app.router.add_post("/jobs/{id}/retry", self._retry)
        return app

    def end(self, job_id: str, status: str, file_size: int | None = None) -> UpstreamJob:
        """The job is over, and nobody is told."""
        job = self.jobs[job_id]
        job.status, job.file_size = status, file_size
        job.ended.set()
        return job

    def asked(self, method: str) -> int:
        return sum(request[0] == method for request in self.requests)

    # -- its pages --------------------------------------------------------------------------------

    @web.middleware
    async def _noted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append((request.method, request.path, await request.read()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return await handler(request)

    async def _open(self, request: web.Request) -> web.Response:
        if self.refuses is not None:
            return web.json_response({"error": "no"}, status=self.refuses)
        if "episodes" in (asked := json.loads(await request.read())):
            return await self._open_show(request)
        job = await self._new(asked)
        if self.answers is not None:
            return self.answers(job)
        return web.json_response({"job_id": job.id}, status=201)

    async def _open_many(self, request: web.Request) -> web.Response:
        """A job for each item; `refuse` in one is no job."""
        if self.refuses is not None:
            return web.json_response({"error": "no"}, status=self.refuses)
        asked = json.loads(await request.read())
        ids = [
            None if "refuse" in item else (await self._new(item | {"of": asked})).id
            for item in asked.get("items", asked.get("jobs"))
        ]
        return web.json_response({"batch_id": "b", "job_ids": ids}, status=201)

    async def _open_show(self, request: web.Request) -> web.Response:
        """As many jobs as the show has episodes; without any it is a single job."""
        if self.refuses is not None:
            return web.json_response({"error": "no"}, status=self.refuses)
        asked = json.loads(await request.read())
        if "episodes" not in asked:
            return web.json_response({"job_id": (await self._new(asked)).id}, status=201)
        ids = [(await self._new(asked)).id for _ in range(asked["episodes"])]
        return web.json_response({"batch_id": "b", "episode_jobs": ids}, status=201)

    async def _retry(self, request: web.Request) -> web.Response:
        """A job that failed begins again: as a new one, or (`same`) under its own name."""
        job = self.jobs[request.match_info["id"]]
        if job.status != "Failed":
            return web.json_response({"error": "it has not failed"}, status=400)
        if not self.same:
            return web.json_response({"job_id": (await self._new(job.asked)).id}, status=201)
        job.status = "Pending"
        return web.json_response({"message": "it begins again"})

    async def _new(self, asked: dict[str, Any]) -> UpstreamJob:
        job = UpstreamJob(f"job-{next(self._numbers)}", asked)
        self.jobs[job.id] = job
        if self.on_opened is not None:
            await self.on_opened(job)
        return job

    async def _status(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return web.json_response({"error": "no such job"}, status=404)
        return web.json_response(page(job) | self.pages.get(job.id, {}))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return web.json_response({"error": "no such job"}, status=404)
        if self.cancels is not None:
            return self.cancels(job)
        if not job.over:
            self.end(job.id, "Cancelled")
        return web.Response(status=204)


def page(job: UpstreamJob) -> dict[str, Any]:
    found = {"id": job.id, "status": job.status, "step": 1.5}
    return found if job.file_size is None else found | {"file_size": job.file_size}
