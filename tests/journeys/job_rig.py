"""A whole gateway before a job upstream, with the routes that open jobs, ask and call off."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.ledger.store import Store
from gateway.records.jobs import Job, Jobs
from tests.job_upstream import JobUpstream
from tests.journeys.rig import ACCOUNT, Rig, Wishes, running

SECRET = "a-secret-of-callbacks"

CALLBACK = f"""
[jobs.downloads.callback]
secret = "{SECRET}"
state = "status"
"""
WEBHOOK = """
[jobs.downloads.webhook]
member = "webhook_url"
url = "https://gateway.example.com/_callbacks/downloads"
"""
"""Goes after CALLBACK."""
AT_HOME = 'plain_http = true\nprivate_networks = ["127.0.0.0/8"]\n'
"""Clients of these tests listen on this machine."""
POLLED = 'status_path = "/jobs/{job}"\n'

CALLBACK_ROUTES = """
[[routes]]
name = "callback"
methods = ["POST"]
path = "/_callbacks/downloads"
upstream = "videos"
policy = "pass"
protocol = "callback"
jobs = "downloads"
auth = []
account = "none"

[[routes]]
name = "callback-url"
methods = ["POST"]
path = "/_callbacks/downloads/{token}"
upstream = "videos"
policy = "pass"
protocol = "callback"
jobs = "downloads"
auth = []
account = "none"
"""

BATCHES = """
[[routes]]
name = "bulk"
methods = ["POST"]
path = "/bulk"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = { storage_bytes = { json = "max_bytes", default = "10kB" }, jobs = 1 }
batch = { items = "items", ids = "job_ids", most = 200 }

[[routes]]
name = "show"
methods = ["POST"]
path = "/shows"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = { storage_bytes = { json = "max_bytes", default = "10kB" }, jobs = 1 }
batch = { ids = "episode_jobs", most = 10 }
"""
"""Among further routes: a batch that the request names, and one that only the answer does."""
PARTIAL = BATCHES.replace("most = 200", "most = 200, partial = true")

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

    async def call_back(
        self, document: Any, *, token: str = "", secret: str = SECRET, age_s: int = 0, at: str = ""
    ) -> tuple[int, Any]:
        """As the upstream would: at the URL it was given, else signed with its secret."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        path = at or ("/_callbacks/downloads" + (f"/{token}" if token else ""))
        headers = {"Content-Type": "application/json"}
        if not token:
            timestamp = str(int(time.time()) - age_s).encode()  # noqa: TID251 - an upstream's clock
            signed = hmac.new(secret.encode(), timestamp + b"." + body, hashlib.sha256)
            headers |= {
                "X-Callback-Timestamp": timestamp.decode(),
                "X-Callback-Signature": f"sha256={signed.hexdigest()}",
            }
        async with self.rig.session.post(
            f"{self.rig.url}{path}", data=body, headers=headers
        ) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None

    async def counted(self, series: str, least: int = 1, within_s: float = 10.0) -> None:
        """Wait until this series of the metrics has counted so much; no event tells."""
        async with asyncio.timeout(within_s):
            while self.count(series) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def count(self, series: str) -> float:
        text = self.rig.gateway.metrics.exposition()[0].decode()
        for line in text.splitlines():
            if line.startswith(f"quota_gateway_{series} "):
                return float(line.rpartition(" ")[2])
        return 0

    def token(self, job_id: str) -> str:
        """The last segment of the URL that the upstream was given for a job."""
        url: str = self.upstream.jobs[job_id].asked["webhook_url"]
        return url.rpartition("/")[2]

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
