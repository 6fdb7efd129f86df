"""Many jobs of one request: reserved for together, each settled on its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from tests.hooks import Hooks
from tests.job_upstream import UpstreamJob
from tests.journeys.job_rig import (
    AT_HOME,
    BATCHES,
    CALLBACK,
    CALLBACK_ROUTES,
    PARTIAL,
    POLLED,
    WEBHOOK,
    JobRig,
    JobWishes,
    job_rig,
)

BATCHED = JobWishes(routes=BATCHES)
CALLED = JobWishes(rule=AT_HOME + CALLBACK + WEBHOOK, routes=BATCHES + CALLBACK_ROUTES)
LIMIT = 1_000_000


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[JobRig]:
    async with job_rig(store, tmp_path, BATCHED) as opened:
        yield opened


async def bulk(house: JobRig, *sizes: int, **more: Any) -> tuple[int, Any]:
    items = [{"max_bytes": size} for size in sizes]
    return await house.ask("POST", "/bulk", {"items": items} | more)


async def end_all(house: JobRig, size: int | None = None) -> None:
    """Whatever still runs ends, and is asked about."""
    for job in list(house.upstream.jobs.values()):
        if not job.over:
            house.upstream.end(job.id, "Failed" if size is None else "Completed", size)
        await house.ask("GET", f"/jobs/{job.id}")


# -- named by the request -------------------------------------------------------------------------


async def test_each_item_of_a_batch_holds_its_own(house: JobRig) -> None:
    status, told = await bulk(house, 10, 200, 3_000)
    assert (status, len(told["job_ids"])) == (201, 3)
    assert await house.standing() == (0, 3_210)
    assert await house.standing("jobs") == (0, 3)
    rows = [await house.row(job_id) for job_id in told["job_ids"]]
    assert [row.reserved["storage_bytes"] for row in rows] == [10, 200, 3_000]
    await end_all(house)
    assert await house.standing() == (0, 0)


async def test_each_item_is_settled_on_its_own(house: JobRig) -> None:
    """failure row 57: some items fail"""
    _, told = await bulk(house, *[100] * 30)
    for number, job_id in enumerate(told["job_ids"]):
        failed = number % 3 == 0
        house.upstream.end(job_id, "Failed" if failed else "Completed", number)
        await house.ask("GET", f"/jobs/{job_id}")
        done = [n for n in range(number + 1) if n % 3]
        assert await house.standing() == (sum(done), 100 * (29 - number))
        assert await house.standing("jobs") == (len(done), 29 - number)


async def test_a_batch_over_quota_by_one_byte_is_denied_as_a_whole(house: JobRig) -> None:
    """failure row 58"""
    status, problem = await bulk(house, LIMIT - 10, 5, 6)
    assert (status, problem["code"]) == (403, "quota-exceeded")
    assert problem["requested"] == LIMIT + 1
    assert house.upstream.requests == []
    assert await house.standing() == (0, 0)
    assert await house.standing("jobs") == (0, 0)
    assert (await bulk(house, LIMIT - 10, 5, 5))[0] == 201
    assert await house.standing() == (0, LIMIT)
    await end_all(house)


async def test_a_partial_batch_lets_through_what_fits_and_says_which(
    store: Store, tmp_path: Path
) -> None:
    """failure row 58"""
    async with job_rig(store, tmp_path, JobWishes(routes=PARTIAL)) as house:
        items = [{"max_bytes": size, "n": n} for n, size in enumerate((LIMIT - 10, 11, 4, 7, 6))]
        async with house.rig.session.post(
            f"{house.rig.url}/bulk", json={"items": items}, headers=house.rig.headers
        ) as answer:
            assert answer.status == 201
            assert answer.headers["X-Jobs-Admitted"] == "0, 2, 4"
            ids = (await answer.json())["job_ids"]
        assert [house.upstream.jobs[job_id].asked["n"] for job_id in ids] == [0, 2, 4]
        assert await house.standing() == (0, LIMIT)
        assert [(await house.row(job_id)).reserved["storage_bytes"] for job_id in ids] == [
            LIMIT - 10, 4, 6,
        ]  # fmt: skip
        status, problem = await bulk(house, 1)
        assert (status, problem["code"]) == (403, "quota-exceeded")
        await end_all(house)


async def test_what_the_upstream_does_not_take_on_is_released(house: JobRig) -> None:
    items = [{"max_bytes": 10}, {"max_bytes": 20, "refuse": True}, {"max_bytes": 30}]
    _, told = await house.ask("POST", "/bulk", {"items": items})
    assert told["job_ids"][1] is None
    assert await house.standing() == (0, 40)
    await end_all(house)


@pytest.mark.parametrize("path", ["/bulk", "/shows"])
async def test_an_upstream_that_refuses_a_batch_releases_all_of_it(
    fake: Store, tmp_path: Path, path: str
) -> None:
    async with job_rig(fake, tmp_path, BATCHED) as house:
        house.upstream.refuses = 500
        body = {"items": [{}, {}], "episodes": 3}
        assert await house.ask("POST", path, body) == (500, {"error": "no"})
        assert await house.standing() == (0, 0)
        await house.upstream.__aexit__()
        assert (await house.ask("POST", path, body))[0] == 502
        assert await house.standing() == (0, 0)


@pytest.mark.parametrize("items", [[], [{}] * 201, {"a": 1}, 7, [{"max_bytes": "x"}]])
async def test_a_list_that_is_none_is_refused(fake: Store, tmp_path: Path, items: Any) -> None:
    """failure row 63"""
    async with job_rig(fake, tmp_path, BATCHED) as house:
        assert (await house.ask("POST", "/bulk", {"items": items}))[0] == 400
        assert house.upstream.requests == []


async def test_a_hundred_items_are_one_request_for_the_rate(fake: Store, tmp_path: Path) -> None:
    wishes = JobWishes(routes=BATCHES, plan='rate = "2/1h"')
    async with job_rig(fake, tmp_path, wishes, audited=False) as house:
        assert (await bulk(house, *[1] * 100))[0] == 201
        assert (await bulk(house, *[1] * 100))[0] == 201
        assert (await bulk(house, 1))[0] == 429
        assert await house.standing("jobs") == (0, 200)
        (job_id, *_) = house.upstream.jobs
        for method in ("GET", "DELETE"):
            assert (await house.ask(method, f"/jobs/{job_id}"))[0] == 429


# -- named by the answer --------------------------------------------------------------------------


async def test_what_was_held_for_the_most_is_shared_out(house: JobRig) -> None:
    status, told = await house.ask("POST", "/shows", {"max_bytes": 100, "episodes": 4})
    assert (status, len(told["episode_jobs"])) == (201, 4)
    assert await house.standing() == (0, 400)
    assert await house.standing("jobs") == (0, 4)
    for number, job_id in enumerate(told["episode_jobs"]):
        house.upstream.end(job_id, "Completed", number)
        await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (6, 0)
    assert await house.standing("jobs") == (4, 0)


async def test_a_single_job_is_a_batch_of_one(house: JobRig) -> None:
    job_id = (await house.ask("POST", "/shows", {"max_bytes": 100}))[1]["job_id"]
    assert await house.standing() == (0, 100)
    house.upstream.end(job_id, "Completed", 7)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (7, 0)


async def test_a_batch_of_nothing_gives_everything_back(house: JobRig) -> None:
    assert (await house.ask("POST", "/shows", {"episodes": 0}))[1]["episode_jobs"] == []
    assert await house.standing() == (0, 0)


async def test_the_most_has_to_fit(house: JobRig) -> None:
    """failure row 58"""
    status, problem = await house.ask("POST", "/shows", {"max_bytes": 100_001, "episodes": 1})
    assert (status, problem["requested"]) == (403, 1_000_010)
    assert house.upstream.requests == []


async def test_more_than_the_most_grow_or_are_charged_when_they_end(house: JobRig) -> None:
    """failure row 44: the upstream made more of it than was held for"""
    _, told = await house.ask("POST", "/shows", {"max_bytes": 10_000, "episodes": 13})
    assert await house.standing() == (0, 130_000)
    await end_all(house)
    _, told = await house.ask("POST", "/shows", {"max_bytes": 95_000, "episodes": 12})
    assert await house.standing() == (0, 950_000)
    assert await house.standing("jobs") == (0, 10)
    for job_id in told["episode_jobs"]:
        house.upstream.end(job_id, "Completed", 90_000)
        await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (12 * 90_000, 0)
    assert await house.standing("jobs") == (12, 0)


# -- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/bulk", "/shows"])
async def test_the_jobs_of_a_batch_call_back_at_one_url(
    store: Store, tmp_path: Path, path: str
) -> None:
    async with Hooks() as hooks, job_rig(store, tmp_path, CALLED) as house:
        body = {"items": [{}] * 5, "episodes": 5, "webhook_url": hooks.url}
        await house.ask("POST", path, body)
        token = token_of(house)
        for number, job_id in enumerate(house.upstream.jobs):
            done = {"job_id": job_id, "status": "completed", "file_size": number}
            status, told = await house.call_back(done, token=token)
            assert (status, told["job"], told["outcome"]) == (200, job_id, "committed")
            assert await house.call_back(done, token=token) == (200, told)
        assert await house.standing() == (10, 0)
        assert await house.standing("jobs") == (5, 0)
        other = {"job_id": "job-99", "status": "completed", "file_size": 9}
        assert (await house.call_back(other, token=token))[0] == 404
        await hooks.until(lambda: len(hooks.told) == 5)


@pytest.mark.parametrize("path", ["/bulk", "/shows"])
async def test_a_job_that_is_done_before_its_batch_is_answered(
    fake: Store, tmp_path: Path, path: str
) -> None:
    async with job_rig(fake, tmp_path, CALLED) as house:

        async def at_once(job: UpstreamJob) -> None:
            done = {"job_id": job.id, "status": "completed", "file_size": 5}
            asked = job.asked.get("of", job.asked)
            token = asked["webhook_url"].rpartition("/")[2]
            assert (await house.call_back(done, token=token))[1]["outcome"] == "committed"

        house.upstream.on_opened = at_once
        await house.ask("POST", path, {"items": [{}] * 4, "episodes": 4})
        assert await house.standing() == (20, 0)
        assert await house.standing("jobs") == (4, 0)
        for job_id in house.upstream.jobs:
            assert (await house.row(job_id)).ended is not None


async def test_the_watcher_asks_about_each(fake: Store, tmp_path: Path) -> None:
    rule = POLLED + 'poll_every = "1s"\n'
    async with job_rig(fake, tmp_path, JobWishes(rule=rule, routes=BATCHES)) as house:
        await bulk(house, *[10] * 20)
        await house.ask("POST", "/shows", {"max_bytes": 10, "episodes": 5})
        for job_id in house.upstream.jobs:
            house.upstream.end(job_id, "Completed", 2)
        await house.counted('job_ends_total{by="watcher",end="completed",rule="downloads"}', 25)
        assert await house.standing() == (50, 0)
        assert house.upstream.asked("GET") == 25


async def test_batches_race_for_the_last_room(fake: Store, tmp_path: Path) -> None:
    """failure row 61"""
    async with job_rig(fake, tmp_path, BATCHED) as house:
        answers = await asyncio.gather(*(bulk(house, *[30_000] * 3) for _ in range(20)))
        assert sorted(status for status, _ in answers) == [201] * 11 + [403] * 9
        assert await house.standing() == (0, 990_000)
        await end_all(house)


def token_of(house: JobRig) -> str:
    (job, *_) = house.upstream.jobs.values()
    asked = job.asked.get("of", job.asked)
    token: str = asked["webhook_url"].rpartition("/")[2]
    return token
