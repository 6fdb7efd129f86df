"""The rows of jobs: found by their upstream's name within their account, ended once."""

import asyncio

import pytest

from gateway.errors import StoreError
from gateway.ledger.store import Store
from gateway.records.jobs import Ended, Job, Jobs, Naming, NewJob, Outcome, item_name

HOUR_MS = 3_600_000
NEW = NewJob("r1", "acme", "work", {"storage_bytes": 100, "jobs": 1}, "k1", ("creator", "ann"))


async def opened(store: Store, new: NewJob = NEW) -> Jobs:
    jobs = Jobs(store.client)
    await jobs.open(new, lease_ms=HOUR_MS, keep_ms=2 * HOUR_MS)
    return jobs


async def got(jobs: Jobs, reservation: str = "r1", account: str = "acme") -> Job:
    job = await jobs.get(account, reservation)
    assert job is not None
    return job


async def test_a_row_says_what_was_reserved_and_for_whom(store: Store) -> None:
    job = await got(await opened(store))
    assert (job.reserved, job.key_id, job.subject) == (NEW.reserved, "k1", ("creator", "ann"))
    assert (job.id, job.ended) == (None, None)
    assert job.lease_end_ms == job.opened_ms + HOUR_MS


async def test_a_row_may_be_without_key_and_subject(store: Store) -> None:
    job = await got(await opened(store, NewJob("r1", "acme", "work", {"jobs": 1})))
    assert (job.key_id, job.subject) == (None, None)


async def test_a_named_job_is_found_in_its_account_only(store: Store) -> None:
    jobs = await opened(store)
    assert await jobs.find("acme", "work", "j/1") is None
    assert await jobs.name(Naming("acme", "r1", "work", "j/1"), keep_ms=HOUR_MS) == "r1"
    found = await jobs.find("acme", "work", "j/1")
    assert found is not None
    assert (found.reservation, found.id) == ("r1", "j/1")
    assert await jobs.find("other", "work", "j/1") is None
    assert await jobs.find("acme", "play", "j/1") is None


async def test_a_name_belongs_to_the_first_unless_it_is_taken_over(store: Store) -> None:
    jobs = await opened(store)
    await jobs.open(NewJob("r2", "acme", "work", {"jobs": 1}), lease_ms=1, keep_ms=HOUR_MS)
    first, second = (Naming("acme", name, "work", "j") for name in ("r1", "r2"))
    assert await jobs.name(first, keep_ms=HOUR_MS) == "r1"
    assert await jobs.name(first, keep_ms=HOUR_MS) == "r1"
    assert await jobs.name(second, keep_ms=HOUR_MS) == "r1"
    assert (await got(jobs, "r2")).id is None
    assert await jobs.name(second, keep_ms=HOUR_MS, instead_of="r1") == "r2"
    assert await jobs.find("acme", "work", "j") == await got(jobs, "r2")


async def test_a_job_has_one_name(store: Store) -> None:
    jobs = await opened(store)
    names = [Naming("acme", "r1", "work", f"j{number}") for number in range(10)]
    taken = await asyncio.gather(*(jobs.name(name, keep_ms=HOUR_MS) for name in names))
    assert sorted(taken, key=str) == [None] * 9 + ["r1"]
    job = await got(jobs)
    assert job.id is not None
    assert await jobs.find("acme", "work", job.id) == job
    found = [await jobs.find("acme", "work", name.job) for name in names]
    assert sum(each is not None for each in found) == 1


async def test_the_jobs_of_a_batch_are_listed_in_its_order(store: Store) -> None:
    jobs = await opened(store, NewJob("b", "acme", "work", {"jobs": 1}, items=0))
    batch = await got(jobs, "b")
    assert [await jobs.add_items(batch, 2), await jobs.add_items(batch, 1)] == [0, 2]
    for number in (0, 2):
        new = NewJob(item_name("b", number), "acme", "work", {"jobs": 1}, batch="b")
        await jobs.open(new, lease_ms=HOUR_MS, keep_ms=HOUR_MS)
    items = await jobs.items_of(await got(jobs, "b"))
    assert [(item.reservation, item.batch) for item in items] == [("b.0", "b"), ("b.2", "b")]


async def test_a_job_ends_once_and_then_reads_the_same(store: Store) -> None:
    """failure row 53"""
    jobs = await opened(store)
    job = await got(jobs)
    ends = [
        Ended("completed", "status", Outcome.COMMITTED, actual={"storage_bytes": n})
        for n in range(10)
    ]
    ended = await asyncio.gather(*(jobs.end(job, end) for end in ends))
    assert [first for _, first in ended].count(True) == 1
    told = {str(each.ended) for each, _ in ended}
    assert told == {str((await got(jobs)).ended)}


async def test_a_late_end_says_so(store: Store) -> None:
    jobs = await opened(store)
    late = Ended("failed", "watcher", Outcome.EXPIRED, late=True)
    job, first = await jobs.end(await got(jobs), late)
    assert first
    assert job.ended == late


async def test_what_is_dropped_is_unknown_and_cannot_end(store: Store) -> None:
    jobs = await opened(store)
    job = await got(jobs)
    await jobs.drop("acme", "r1")
    assert await jobs.get("acme", "r1") is None
    assert await jobs.end(job, Ended("failed", "status", Outcome.RELEASED)) == (job, False)
    await jobs.extended(job, HOUR_MS)
    assert await jobs.get("acme", "r1") is None


async def test_an_extended_lease_is_noted(store: Store) -> None:
    jobs = await opened(store)
    job = await got(jobs)
    await jobs.extended(job, 3 * HOUR_MS)
    assert (await got(jobs)).lease_end_ms >= job.opened_ms + 3 * HOUR_MS


async def test_a_store_that_is_away_is_a_store_error(store: Store) -> None:
    jobs = await opened(store)
    await store.client.set("qg:{acme}:job:r9", "no row")
    with pytest.raises(StoreError):
        await jobs.get("acme", "r9")
