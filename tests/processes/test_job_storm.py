"""Jobs with every kind of end, and gateways that die among them: each is settled once."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.records.jobs import DUE
from tests.job_upstream import JobUpstream, UpstreamJob
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import deployed
from tests.processes.job_storm import Fate, Storm, routes

SEED = 53


@contextlib.asynccontextmanager
async def gathering(tmp_path: Path, lease: str = "4s") -> AsyncIterator[Storm]:
    """Two gateways before a job upstream; at the end the books say what the upstream did."""
    async with JobUpstream() as upstream, aiohttp.ClientSession() as session:
        wishes = Wishes(
            upstream.url, routes=routes(upstream, lease), server='lease = "3s"\nheartbeat = "1s"'
        )
        async with deployed(tmp_path, wishes, gateways=2) as house:
            acme = await house.customer("acme")
            raging = Storm(house, upstream, acme, session, random.Random(SEED))
            yield raging
            await house.settled(acme, within_s=30)
            # What a gateway had claimed when it died is looked at when its claim has run out.
            await until(lambda: not house.redis.run("ZCARD", DUE), "all is seen", within_s=90)
            stored, count = raging.truth
            assert await house.standing(acme) == (stored, 0)
            assert await house.standing(acme, "jobs") == (count, 0)
            assert await house.findings(acme) == []


async def test_a_shower_of_jobs_is_settled_once_each(tmp_path: Path) -> None:
    """failure rows 53, 54 and 55"""
    async with gathering(tmp_path) as raging:
        await raging.rage(200, abreast=10, pause_s=0.2, kill_every_s=1.5)
    assert raging.kills >= 2
    assert set(raging.fates.values()) == set(Fate)


@pytest.mark.long
async def test_a_storm_of_jobs_is_settled_once_each(tmp_path: Path) -> None:
    """failure rows 53, 54 and 55: two thousand jobs, and a gateway dies every three seconds"""
    async with gathering(tmp_path) as raging:
        await raging.rage(2_000, abreast=40, pause_s=1.0, kill_every_s=3.0)
    assert raging.kills >= 5
    # How many gateways are there to be asked depends on how fast the machine starts one again.
    assert raging.statuses[201] > 1_000


ITEMS = 100


@pytest.mark.parametrize("path", ["/bulk", "/shows"])
async def test_a_gateway_that_dies_between_the_items_of_a_batch(tmp_path: Path, path: str) -> None:
    """failure row 57: some fail, some are told twice, and who took the batch dies in the middle"""
    async with gathering(tmp_path, lease="60s") as raging:
        doomed, other = raging.house.gateways
        status, told = await raging.ask("POST", path, asking(), by=doomed)
        assert status == 201
        ids = told["job_ids" if path == "/bulk" else "episode_jobs"]
        assert await raging.house.standing(raging.customer) == (0, 1_000 * ITEMS)
        for number, job_id in enumerate(ids):
            failed = number % 7 == 0
            raging.upstream.end(job_id, "Failed" if failed else "Completed", number)
        tellings = asyncio.gather(*(raging.tell(raging.upstream.jobs[each]) for each in ids))
        await until(lambda: raging.house.open_leases(raging.customer) < ITEMS * 0.7, "under way")
        doomed.kill()
        await doomed.start()
        await tellings
        await raging.tell(raging.upstream.jobs[ids[50]])
        assert other.alive


@pytest.mark.parametrize("path", ["/bulk", "/shows"])
async def test_a_gateway_that_dies_before_its_batch_is_answered(tmp_path: Path, path: str) -> None:
    """failure row 57: the jobs are there, their client and their gateway never heard of them"""
    async with gathering(tmp_path, lease="6s") as raging:
        doomed, _ = raging.house.gateways
        last = asyncio.Event()

        async def die(job: UpstreamJob) -> None:
            if len(raging.upstream.jobs) == ITEMS:
                doomed.kill()
                last.set()

        raging.upstream.on_opened = die
        assert await raging.ask("POST", path, asking(), by=doomed) == (0, None)
        await last.wait()
        await doomed.start()
        jobs = list(raging.upstream.jobs.values())
        for number, job in enumerate(jobs):
            raging.upstream.end(job.id, "Completed", number)
        await asyncio.gather(*(raging.tell(job, url_only=True) for job in jobs))


def asking() -> bytes:
    document = {"items": [{"n": number} for number in range(ITEMS)], "episodes": ITEMS}
    return json.dumps(document).encode()
