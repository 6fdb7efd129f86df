"""Jobs that nobody asks about: the watcher does, extends what lives, and settles what has ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.ledger.store import Store
from gateway.records.jobs import Jobs, Outcome
from gateway.telemetry.logs import LogForm, Logs
from tests.hooks import Hooks
from tests.journeys.job_rig import (
    JOBS,
    POLLED,
    JobRig,
    JobWishes,
    job_rig,
)
from tests.journeys.rig import ACCOUNT, Wishes, configuration

OFTEN = 'poll_every = "1s"\n'
"""Else it asks when three quarters of a lease are over."""


async def ended(house: JobRig, job_id: str, within_s: float = 10.0) -> Outcome:
    async with asyncio.timeout(within_s):
        while (job := await house.row(job_id)).ended is None:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.02)
    assert job.ended.by == "watcher"
    return job.ended.outcome


async def test_an_end_that_nobody_told_is_found_out(store: Store, tmp_path: Path) -> None:
    async with job_rig(store, tmp_path, JobWishes(rule=POLLED + OFTEN)) as house:
        done, failed, lost = [await house.open(max_bytes=4_000) for _ in range(3)]
        house.upstream.end(done, "Completed", 700)
        house.upstream.end(failed, "Failed")
        assert await ended(house, done) is Outcome.COMMITTED
        assert await ended(house, failed) is Outcome.RELEASED
        assert await house.standing() == (700, 4_000)
        await house.ask("DELETE", f"/jobs/{lost}")


async def test_a_job_that_lives_keeps_its_lease(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, JobWishes(rule=POLLED + 'lease = "4s"')) as house:
        job_id = await house.open(max_bytes=4_000)
        began = (await house.row(job_id)).lease_end_ms
        async with asyncio.timeout(10):
            while (await house.row(job_id)).lease_end_ms < began + 2_000:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await house.standing() == (0, 4_000)
        house.upstream.end(job_id, "Completed", 5)
        assert await ended(house, job_id) is Outcome.COMMITTED
        assert await house.standing() == (5, 0)


async def test_a_job_that_never_ends_is_let_go_at_the_end_of_its_lifetime(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 55"""
    rule = POLLED + OFTEN + 'lease = "1s"\nlifetime = "3s"'
    async with job_rig(fake, tmp_path, JobWishes(rule=rule)) as house:
        job_id = await house.open(max_bytes=4_000)
        await house.counted('job_ends_total{by="watcher",end="missing",rule="downloads"}')
        assert (await house.row(job_id)).missing
        assert await house.standing() == (0, 0)
        house.upstream.end(job_id, "Completed", 5)
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (5, 0)
        assert not (await house.row(job_id)).missing


async def test_a_completion_that_never_comes_is_noted(fake: Store, tmp_path: Path) -> None:
    """failure row 55: where the upstream cannot be asked"""
    async with job_rig(fake, tmp_path, JobWishes(rule='lease = "1s"')) as house:
        job_id = await house.open(max_bytes=4_000)
        await house.counted('job_ends_total{by="watcher",end="missing",rule="downloads"}')
        assert (await house.row(job_id)).missing
        assert await house.standing() == (0, 0)
        assert house.upstream.asked("GET") == 0


async def test_an_upstream_that_is_away_is_asked_again(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, JobWishes(rule=POLLED + OFTEN + 'lease = "20s"')) as house:
        job_id = await house.open(max_bytes=4_000)
        job = house.upstream.jobs.pop(job_id)
        await house.counted('job_polls_total{result="failed",rule="downloads"}')
        assert await house.standing() == (0, 4_000)
        house.upstream.jobs[job_id] = job
        house.upstream.end(job_id, "Completed", 5)
        assert await ended(house, job_id, 15.0) is Outcome.COMMITTED


async def test_what_the_watcher_asks_with_is_configured(fake: Store, tmp_path: Path) -> None:
    rule = POLLED + OFTEN + 'status_headers = { Authorization = "Bearer canary-of-ours" }'
    async with job_rig(fake, tmp_path, JobWishes(rule=rule)) as house:
        job_id = await house.open()
        house.upstream.end(job_id, "Failed")
        await ended(house, job_id)
        asked = [
            h
            for r, h in zip(house.upstream.requests, house.upstream.headers, strict=True)
            if r[0] == "GET"
        ]
        assert [headers["authorization"] for headers in asked] == ["Bearer canary-of-ours"]
        assert b"canary" not in house.rig.log_bytes()


@contextlib.asynccontextmanager
async def another_gateway(
    house: JobRig, directory: Path, wishes: JobWishes
) -> AsyncIterator[Gateway]:
    extra = JOBS.format(upstream=house.upstream.url, **vars(wishes))
    config = configuration(house.rig.upstream.url, directory, Wishes(extra=extra))
    logs = Logs(BytesIO(), LogForm.JSON)
    gateway = Gateway(config, house.rig.store, logs.access)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
        logs.close()


async def test_gateways_share_the_work_and_do_not_double_it(fake: Store, tmp_path: Path) -> None:
    """Sixty jobs and three watchers: each job is asked about once."""
    wishes = JobWishes(rule=POLLED + OFTEN)
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(job_rig(fake, tmp_path, wishes))
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            await stack.enter_async_context(another_gateway(house, tmp_path / str(number), wishes))
        ids = []
        for _ in range(60):
            # Ended at once: a job that still runs is asked about again, however slow the rest is.
            ids.append(await house.open(max_bytes=10))
            house.upstream.end(ids[-1], "Completed", 1)
        for job_id in ids:
            await ended(house, job_id)
        assert house.upstream.asked("GET") == 60
        assert await house.standing() == (60, 0)


async def test_a_claim_of_a_gateway_that_died_runs_out(fake: Store) -> None:
    jobs = Jobs(fake.client)
    await jobs.watch(ACCOUNT, "r1", 0)
    await fake.client.hset(
        "qg:{acme}:job:r1",
        mapping={"rule": "downloads", "reserved": "{}", "opened_ms": "1", "lease_end_ms": "2"},
    )
    assert len((await jobs.claim(10, claim_ms=100))[1]) == 1
    assert len((await jobs.claim(10, claim_ms=100))[1]) == 0
    async with asyncio.timeout(5):
        while not (await jobs.claim(10, claim_ms=100))[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# -- sizes that only a URL tells ------------------------------------------------------------------


def sized(more: str = "") -> JobWishes:
    return JobWishes(rule='size_url = { storage_bytes = "s3_url" }\n' + more)


async def finish_at(house: JobRig, url: str) -> tuple[int, int]:
    """How the account stands once a job has ended whose size is at a URL."""
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Completed")
    house.upstream.pages[job_id] = {"s3_url": url}
    await house.ask("GET", f"/jobs/{job_id}")
    return await house.standing()


async def test_the_length_at_a_url_of_an_upstream_is_the_size(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, sized()) as house:
        house.rig.upstream.stored[b"/stored/a"] = b"x" * 321
        assert await finish_at(house, f"{house.rig.upstream.url}/stored/a") == (321, 0)


async def test_a_listed_host_is_asked_as_well(fake: Store, tmp_path: Path) -> None:
    async with (
        Hooks() as hooks,
        job_rig(
            fake,
            tmp_path,
            sized(
                'size_hosts = ["127.0.0.1"]\nplain_http = true\nprivate_networks = ["127.0.0.0/8"]'
            ),
        ) as house,
    ):
        hooks.body = b"y" * 55
        assert await finish_at(house, hooks.url) == (55, 0)


async def test_other_places_are_not_asked(fake: Store, tmp_path: Path) -> None:
    """failure row 65: the upstream's answer cannot send the gateway where it likes"""
    listed = 'size_hosts = ["127.0.0.1", "localhost"]\nplain_http = true\n'
    async with Hooks() as hooks:
        for number, more in enumerate(("", listed, 'size_hosts = ["127.0.0.1"]\n')):
            async with job_rig(fake, tmp_path, sized(more)) as house:
                assert await finish_at(house, hooks.url) == (4_000 * (number + 1), 0)
        assert hooks.told == []


LISTED = 'size_hosts = ["127.0.0.1"]\nplain_http = true\nprivate_networks = ["127.0.0.0/8"]'


@pytest.mark.parametrize("size", [5_000_000, 1, 0])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("refusal", [403, 405, 501])
async def test_a_url_that_is_good_for_get_only_is_asked_for_its_first_byte(
    fake: Store, tmp_path: Path, refusal: int, ranges: bool, size: int
) -> None:
    """As presigned URLs are: what they are signed for is one method."""
    async with Hooks() as hooks, job_rig(fake, tmp_path, sized(LISTED)) as house:
        hooks.body, hooks.ranges, hooks.refuses = b"y" * size, ranges, {"HEAD": refusal}
        assert await finish_at(house, hooks.url) == (size, 0)
        assert hooks.methods == ["HEAD", "GET"]


async def test_a_url_that_is_good_for_nothing_says_no_size(fake: Store, tmp_path: Path) -> None:
    async with Hooks() as hooks, job_rig(fake, tmp_path, sized(LISTED)) as house:
        hooks.refuses = {"HEAD": 403, "GET": 403}
        assert await finish_at(house, hooks.url) == (4_000, 0)
        assert hooks.methods == ["HEAD", "GET"]
