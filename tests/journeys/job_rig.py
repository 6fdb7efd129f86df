"""A whole gateway before a job upstream, with the routes that open jobs, ask and call off."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.ledger.store import Store
from gateway.records.jobs import Job, Jobs
from tests.job_upstream import JobUpstream
from tests.journeys.rig import ACCOUNT, Rig, Wishes, running

JOBS = """
[meters.jobs]
kind = "cumulative"
unit = "count"

[meters.jobs_at_once]
kind = "concurrency"
unit = "count"

[upstreams.videos]
url = "{upstream}"
answer_timeout = "{answer_timeout}"

[jobs.downloads]
upstream = "videos"
completed = ["Completed", "completed"]
failed = ["Failed", "failed"]
cancelled = ["Cancelled"]
actual = {{ storage_bytes = "file_size" }}
{rule}

[[routes]]
name = "open"
methods = ["POST"]
path = "/jobs"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = {{ storage_bytes = {storage}, jobs = 1, jobs_at_once = 1 }}
{route}

[[routes]]
name = "status"
methods = ["GET"]
path = "/jobs/{{job}}"
upstream = "videos"
policy = "pass"
protocol = "job-status"
jobs = "downloads"

[[routes]]
name = "cancel"
methods = ["DELETE"]
path = "/jobs/{{job}}"
upstream = "videos"
policy = "pass"
protocol = "job-cancel"
jobs = "downloads"
{routes}
"""


@dataclass
class JobWishes:
    rule: str = ""
    route: str = ""
    routes: str = ""
    plan: str = ""
    storage: str = '{ json = "max_bytes", default = "10kB" }'
    answer_timeout: str = "2s"
    server: str = ""


@dataclass
class JobRig:
    rig: Rig
    upstream: JobUpstream
    rows: Jobs

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """(status, JSON of the answer)"""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.rig.session.request(
            method, f"{self.rig.url}{path}", data=data, headers=self.rig.headers | headers
        ) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None

    async def open(self, **asked: Any) -> str:
        """The id of a new job."""
        status, told = await self.ask("POST", "/jobs", asked)
        assert status == 201, told
        assert isinstance(told["job_id"], str)
        return told["job_id"]

    async def standing(self, meter: str = "storage_bytes") -> tuple[int, int]:
        return await self.rig.standing(meter)

    async def row(self, job_id: str) -> Job:
        job = await self.rows.find(ACCOUNT, "downloads", job_id)
        assert job is not None
        return job


@contextlib.asynccontextmanager
async def job_rig(
    store: Store, directory: Path, wishes: JobWishes | None = None, *, audited: bool = True
) -> AsyncIterator[JobRig]:
    wishes = wishes or JobWishes()
    async with JobUpstream() as upstream:
        extra = JOBS.format(upstream=upstream.url, **vars(wishes))
        wanted = Wishes(extra=extra, plan=wishes.plan, server=wishes.server)
        async with running(store, directory, wishes=wanted, audited=audited) as rig:
            yield JobRig(rig, upstream, Jobs(store.client))
