"""Commands on jobs: what an account has, what is stuck, and settling by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.admin import job_commands as commands
from gateway.admin import reservation_commands
from gateway.admin.command import ExitCode
from gateway.admin.job_views import JobSettledView
from gateway.admin.record import Hand
from gateway.catalog.jobs import JobEnd, JobRule
from gateway.ledger.packed import told
from gateway.records.api_keys import KeyPolicy
from gateway.records.jobs import Ended, Job, Jobs, Naming, NewJob, Outcome
from tests.admin.house import CATALOG, House
from tests.admin.test_ledger_commands import refused, reserve, terms

RULE = JobRule("work", "u", {"done": JobEnd.COMPLETED}, asset="videos/{job}")
KEEP_MS = 3_600_000


def catalogued(house: House) -> House:
    """The same house, and a rule of jobs in its catalog."""
    return House(house.store, catalog=replace(CATALOG, jobs={"work": RULE}))


async def opened(house: House, name: str, job: str | None, amount: int = 60) -> Job:
    """A job as a gateway has opened it."""
    await reserve(house, name, amount)
    jobs = Jobs(house.store.client)
    await jobs.open(
        NewJob(name, "acme", "work", {"storage_bytes": amount}), lease_ms=60_000, keep_ms=KEEP_MS
    )
    if job is not None:
        await jobs.name(Naming("acme", name, "work", job), keep_ms=KEEP_MS)
    found = await jobs.get("acme", name)
    assert found is not None
    return found


async def settle(
    house: House, name: str, actual: Mapping[str, str] | None = None
) -> JobSettledView:
    return await commands.settle(
        house.desk, "acme", name, actual or {}, Hand("ann", "lost upstream")
    )


async def test_jobs_are_listed_newest_first(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    running = await opened(house, "r1", "j1", 10)
    done = await opened(house, "r2", "j2", 20)
    jobs = Jobs(house.store.client)
    await jobs.end(
        done, Ended("completed", "status", Outcome.COMMITTED, True, {"storage_bytes": 5})
    )
    listed = (await commands.list_jobs(house.desk, "acme")).jobs
    told = {job.id: (job.state, job.outcome, job.late, job.lines, job.stuck) for job in listed}
    assert told == {
        "j1": ("running", None, False, {"storage_bytes": 10}, False),
        "j2": ("completed", "committed", True, {"storage_bytes": 5}, False),
    }
    assert len((await commands.list_jobs(house.desk, "acme", count=1)).jobs) == 1
    assert (await commands.list_jobs(house.desk, "acme", stuck=True)).jobs == ()
    await jobs.miss(running)
    (stuck,) = (await commands.list_jobs(house.desk, "acme", stuck=True)).jobs
    assert (stuck.id, stuck.state, stuck.stuck) == ("j1", "missing", True)


async def test_a_job_without_a_name_is_stuck_after_a_while(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    await opened(house, "r1", None)
    assert (await commands.list_jobs(house.desk, "acme", stuck=True)).jobs == ()
    await house.store.client.hincrby("qg:{acme}:job:r1", "opened_ms", -61_000)
    (stuck,) = (await commands.list_jobs(house.desk, "acme", stuck=True)).jobs
    assert (stuck.id, stuck.reservation) == (None, "r1")


@pytest.mark.parametrize("name", ["j1", "r1"])
async def test_a_job_is_settled_by_either_of_its_names(house: House, name: str) -> None:
    house = catalogued(house)
    await house.open_account()
    await opened(house, "r1", "j1")
    view = await settle(house, name, {"storage_bytes": "7"})
    assert (view.job.state, view.job.by, view.job.outcome) == ("completed", "operator", "committed")
    assert (view.late, view.overage) == (False, {})
    quota = (await house.ledger.snapshot(await terms(house))).quotas[0]
    assert (quota.used, quota.reserved) == (7, 0)
    (entry,) = (await reservation_commands.log(house.desk)).entries
    assert (entry.actor, entry.verb, entry.target) == ("ann", "job settle", name)
    assert entry.reason == "lost upstream"
    assert entry.facts == {"actual": {"storage_bytes": 7}, "via": "command line"}
    assert await house.ledger.remove(await terms(house), "videos/j1") is not None


async def test_without_amounts_a_job_is_charged_what_it_held(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    await opened(house, "r1", "j1", 60)
    assert (await settle(house, "j1")).job.lines == {"storage_bytes": 60}


async def test_a_charge_over_the_limit_says_so(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    await opened(house, "r1", "j1")
    assert (await settle(house, "j1", {"storage_bytes": "150"})).overage == {"storage_bytes": 50}


async def test_how_settling_says_no(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    job = await opened(house, "r1", "j1")
    assert await refused(settle(house, "j2")) == ("unknown-job", ExitCode.NOT_FOUND)
    assert (await refused(settle(house, "j1", {"lost": "1"})))[1] == ExitCode.NOT_FOUND
    assert (await refused(settle(house, "j1", {"storage_bytes": "-1"})))[1] == ExitCode.USAGE
    await house.ledger.release("acme", "r1", reason="why")
    assert (await refused(settle(house, "j1")))[0] == "reservation-settled"
    await Jobs(house.store.client).end(job, Ended("failed", "status", Outcome.RELEASED))
    assert await refused(settle(house, "j1")) == ("job-ended", ExitCode.REFUSED)
    listing = commands.list_jobs(house.desk, "acme", count=0)
    assert (await refused(listing))[1] == ExitCode.USAGE
    assert (await refused(commands.list_jobs(house.desk, "nobody")))[1] == ExitCode.NOT_FOUND


async def test_the_counters_of_its_api_key_are_charged_too(house: House) -> None:
    house = catalogued(house)
    await house.open_account()
    key, _ = await house.desk.keys.create("acme", KeyPolicy(limits={"storage_bytes": 80}))
    jobs = Jobs(house.store.client)
    await reserve(house, "r1", 10)
    new = NewJob("r1", "acme", "work", {"storage_bytes": 10}, key.id)
    await jobs.open(new, lease_ms=60_000, keep_ms=KEEP_MS)
    await settle(house, "r1", {"storage_bytes": "90"})
    redis: Any = house.store.client
    books = await redis.hget("qg:{acme}:books", f"k:{key.id}/storage_bytes")
    assert told(books).split()[0] == "90"
