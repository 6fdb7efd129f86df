"""Jobs with every kind of end, and gateways that die among them: each is settled once."""

import random
from pathlib import Path

import aiohttp
import pytest

from gateway.records.jobs import DUE
from tests.job_upstream import JobUpstream
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import deployed
from tests.processes.job_storm import Fate, Storm, routes

SEED = 53


async def storm(
    tmp_path: Path, jobs: int, *, abreast: int, pause_s: float, kill_every_s: float
) -> Storm:
    async with JobUpstream() as upstream, aiohttp.ClientSession() as session:
        wishes = Wishes(
            upstream.url, routes=routes(upstream), server='lease = "3s"\nheartbeat = "1s"'
        )
        async with deployed(tmp_path, wishes, gateways=2) as house:
            acme = await house.customer("acme")
            raging = Storm(house, upstream, acme, session, random.Random(SEED))
            await raging.rage(jobs, abreast=abreast, pause_s=pause_s, kill_every_s=kill_every_s)
            await house.settled(acme, within_s=30)
            # What a gateway had claimed when it died is looked at when its claim has run out.
            await until(lambda: not house.redis.run("ZCARD", DUE), "all is seen", within_s=90)
            stored, count = raging.truth
            print(raging.statuses, raging.kills, "kills", len(upstream.jobs), "jobs", stored)
            assert await house.standing(acme) == (stored, 0)
            assert await house.standing(acme, "jobs") == (count, 0)
            assert await house.findings(acme) == []
    return raging


async def test_a_shower_of_jobs_is_settled_once_each(tmp_path: Path) -> None:
    """failure rows 53, 54, 55 and 6"""
    raging = await storm(tmp_path, 200, abreast=10, pause_s=0.2, kill_every_s=1.5)
    assert raging.kills >= 2
    assert set(raging.fates.values()) == set(Fate)


@pytest.mark.long
async def test_a_storm_of_jobs_is_settled_once_each(tmp_path: Path) -> None:
    """failure rows 53, 54 and 55: two thousand jobs, and a gateway dies every three seconds"""
    raging = await storm(tmp_path, 2_000, abreast=40, pause_s=1.0, kill_every_s=3.0)
    assert raging.kills >= 5
    assert raging.statuses[201] > 1_500
