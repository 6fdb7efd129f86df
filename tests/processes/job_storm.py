"""A storm of jobs: many at once, every kind of end, while gateways die and come back.

What the upstream did is the truth: at the end the books have to say the same, once for each job.
"""

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp

from gateway.tasks import TaskSet
from tests.job_upstream import JobUpstream, UpstreamJob
from tests.processes.gateway_process import GatewayProcess
from tests.processes.harness import Customer, House

SECRET = "a-secret-of-callbacks"

JOBS = """
[meters.jobs]
kind = "cumulative"
unit = "count"

[upstreams.videos]
url = "{upstream}"

[jobs.downloads]
upstream = "videos"
completed = ["Completed"]
failed = ["Failed"]
cancelled = ["Cancelled"]
actual = {{ storage_bytes = "file_size" }}
status_path = "/jobs/{{job}}"
poll_every = "1s"
lease = "{lease}"
lifetime = "{lease}"

[jobs.downloads.callback]
secret = "{secret}"

[jobs.downloads.webhook]
member = "webhook_url"
url = "https://gateway.example.com/_callbacks/downloads"

[[routes]]
name = "open"
methods = ["POST"]
path = "/jobs"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = {{ storage_bytes = {{ json = "max_bytes", default = 1000 }}, jobs = 1 }}

[[routes]]
name = "bulk"
methods = ["POST"]
path = "/bulk"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = {{ storage_bytes = {{ json = "max_bytes", default = 1000 }}, jobs = 1 }}
batch = {{ items = "items", ids = "job_ids", most = 100 }}

[[routes]]
name = "show"
methods = ["POST"]
path = "/shows"
upstream = "videos"
policy = "upload"
protocol = "job"
jobs = "downloads"
reserve = {{ storage_bytes = {{ json = "max_bytes", default = 1000 }}, jobs = 1 }}
batch = {{ ids = "episode_jobs", most = 100 }}

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
path = "/_callbacks/downloads/{{token}}"
upstream = "videos"
policy = "pass"
protocol = "callback"
jobs = "downloads"
auth = []
account = "none"
"""


def routes(upstream: JobUpstream, lease: str = "4s") -> str:
    return JOBS.format(upstream=upstream.url, secret=SECRET, lease=lease)


class Fate(StrEnum):
    DONE = "done"
    FAILED = "failed"
    TWICE = "twice"
    """Told many times, at once and by every gateway, and then the opposite."""
    LATE = "late"
    """Told when its lease is over."""
    SILENT = "silent"
    """Ends, and nobody is told."""
    ASKED = "asked"
    """Ends, and its client asks."""
    CANCELLED = "cancelled"
    NEVER = "never"


WEIGHTS = {
    Fate.DONE: 30, Fate.FAILED: 12, Fate.TWICE: 20, Fate.LATE: 6, Fate.SILENT: 12, Fate.ASKED: 10,
    Fate.CANCELLED: 6, Fate.NEVER: 4,
}  # fmt: skip
LATE_S = 5.5


@dataclass
class Storm:
    """`answered`: jobs whose client was told their id, so that the gateway knows it, too."""

    house: House
    upstream: JobUpstream
    customer: Customer
    session: aiohttp.ClientSession
    chance: random.Random
    fates: dict[str, Fate] = field(default_factory=dict)
    answered: dict[str, asyncio.Event] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    over: bool = False
    _tasks: TaskSet = field(default_factory=TaskSet)

    async def rage(self, jobs: int, *, abreast: int, pause_s: float, kill_every_s: float) -> None:
        """Open so many jobs, `abreast` clients each with a pause between two of its own, and wait
        until the upstream has done with all of them."""
        self.upstream.on_opened = self._take_on
        killer = TaskSet()
        killer.start(self._kill(kill_every_s), name="kill gateways")
        numbers = iter(range(jobs))
        async with asyncio.TaskGroup() as clients:
            for _ in range(abreast):
                clients.create_task(self._open(numbers, pause_s))
        await self._tasks.join()
        self.over = True
        await killer.join()

    @property
    def truth(self) -> tuple[int, int]:
        """What was stored, and by how many jobs."""
        done = [job for job in self.upstream.jobs.values() if job.status == "Completed"]
        return sum(job.file_size or 0 for job in done), len(done)

    # -- clients ----------------------------------------------------------------------------------

    async def _open(self, numbers: Iterator[int], pause_s: float) -> None:
        for number in numbers:
            document = {"n": number, "max_bytes": self.chance.randrange(1, 5_000)}
            status, told = await self.ask("POST", "/jobs", json.dumps(document).encode())
            self.statuses[status] += 1
            if status == 201:
                self.answered.setdefault(told["job_id"], asyncio.Event()).set()
            await asyncio.sleep(self.chance.uniform(0, 2 * pause_s))

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        by: GatewayProcess | None = None,
    ) -> tuple[int, Any]:
        """(0, None) when the gateway is dead or dies of it."""
        gateway = by or self.chance.choice(self.house.gateways)
        try:
            async with self.session.request(
                method,
                f"{gateway.url}{path}",
                data=body,
                headers=self.customer.headers if headers is None else headers,
                timeout=aiohttp.ClientTimeout(total=10),
            ) as answer:
                text = await answer.read()
                return answer.status, json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    # -- the upstream's workers -------------------------------------------------------------------

    async def _take_on(self, job: UpstreamJob) -> None:
        fate = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        self.fates[job.id] = fate
        self._tasks.start(self._work(job, fate), name=job.id)

    async def _work(self, job: UpstreamJob, fate: Fate) -> None:
        await asyncio.sleep(self.chance.uniform(0.0, 1.5))
        if fate in (Fate.SILENT, Fate.ASKED, Fate.CANCELLED) and not await self._known(job):
            fate = Fate.DONE  # Its client never learned its name: somebody has to tell.
        match fate:
            case Fate.NEVER:
                return
            case Fate.CANCELLED:
                await self._insist("DELETE", f"/jobs/{job.id}")
                return
            case Fate.LATE:
                await asyncio.sleep(LATE_S)
        failed = fate is Fate.FAILED
        size = None if failed else self.chance.randrange(0, 6_000)
        self.upstream.end(job.id, "Failed" if failed else "Completed", size)
        match fate:
            case Fate.SILENT:
                return
            case Fate.ASKED:
                await self._insist("GET", f"/jobs/{job.id}")
            case Fate.TWICE:
                tellings = [self.tell(job) for _ in range(4)]
                await asyncio.gather(*tellings)
                await self.tell(job, status="Failed")
            case _:
                await self.tell(job)

    async def _known(self, job: UpstreamJob) -> bool:
        try:
            async with asyncio.timeout(2):
                await self.answered.setdefault(job.id, asyncio.Event()).wait()
        except TimeoutError:
            return False
        return True

    async def _insist(self, method: str, path: str) -> None:
        while (await self.ask(method, path))[0] not in (200, 204):  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    async def tell(self, job: UpstreamJob, status: str = "", *, url_only: bool = False) -> None:
        """Call back until a gateway has taken it: signed, or at the URL that was given."""
        said = {"job_id": job.id, "status": status or job.status, "file_size": job.file_size}
        body = json.dumps(said).encode()
        token = job.asked.get("of", job.asked)["webhook_url"].rpartition("/")[2]
        while True:
            if not url_only and self.chance.random() < 0.5:
                answer = await self.ask("POST", "/_callbacks/downloads", body, signed(body))
            else:
                answer = await self.ask("POST", f"/_callbacks/downloads/{token}", body, {})
            if answer[0] == 200 and (answer[1]["ended"] or status):
                return
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    # -- the weather ------------------------------------------------------------------------------

    async def _kill(self, every_s: float) -> None:
        """One of the two, every few seconds; it comes back on the files of before."""
        while not self.over:
            await asyncio.sleep(every_s)
            gateway = self.house.gateways[self.kills % 2]
            gateway.kill()
            self.kills += 1
            await gateway.start()


def signed(body: bytes) -> dict[str, str]:
    timestamp = str(int(time.time()))  # noqa: TID251 - an upstream's own clock
    mac = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "X-Callback-Timestamp": timestamp,
        "X-Callback-Signature": mac.hexdigest(),
    }
