"""Jobs through the whole gateway: reserved when opened, charged when they end, and once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.records.jobs import Outcome
from tests.job_upstream import UpstreamJob
from tests.journeys.job_rig import JobRig, JobWishes, job_rig


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[JobRig]:
    async with job_rig(store, tmp_path) as opened:
        yield opened


# -- opening --------------------------------------------------------------------------------------


async def test_a_job_holds_what_its_request_says(house: JobRig) -> None:
    job_id = await house.open(url="http://x", max_bytes=4_000)
    assert house.upstream.jobs[job_id].asked == {"url": "http://x", "max_bytes": 4_000}
    assert await house.standing() == (0, 4_000)
    assert await house.standing("jobs") == (0, 1)
    assert await house.standing("jobs_at_once") == (0, 1)
    house.upstream.end(job_id, "Failed")
    await house.ask("GET", f"/jobs/{job_id}")


async def test_what_the_request_does_not_say_is_the_default(house: JobRig) -> None:
    job_id = await house.open()
    assert await house.standing() == (0, 10_000)
    await house.ask("DELETE", f"/jobs/{job_id}")


async def test_the_default_may_be_the_plans_cap(fake: Store, tmp_path: Path) -> None:
    wishes = JobWishes(
        storage='{ json = "max_bytes", default = "cap" }', plan='caps = { file_bytes = "20kB" }'
    )
    async with job_rig(fake, tmp_path, wishes) as house:
        job_id = await house.open()
        assert await house.standing() == (0, 20_000)
        status, problem = await house.ask("POST", "/jobs", {"max_bytes": 20_001})
        assert (status, problem["code"]) == (413, "file-too-large")
        await house.ask("DELETE", f"/jobs/{job_id}")


async def test_over_quota_is_403_and_the_upstream_hears_nothing(house: JobRig) -> None:
    status, problem = await house.ask("POST", "/jobs", {"max_bytes": 1_000_001})
    assert (status, problem["code"]) == (403, "quota-exceeded")
    assert problem["requested"] == 1_000_001
    assert house.upstream.requests == []
    assert await house.standing() == (0, 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"max_bytes": -1}', "invalid-amount"),
        (b'{"max_bytes": 1.0}', "invalid-amount"),
        (b'{"max_bytes": 1e3}', "invalid-amount"),
        (b'{"max_bytes": "1000"}', "invalid-amount"),
        (b'{"max_bytes": true}', "invalid-amount"),
        (b'{"max_bytes": 9007199254740992}', "invalid-amount"),
        (b'{"max_bytes": [1]}', "invalid-amount"),
        (b'{"max_bytes": NaN}', "bad-request"),
        (b'{"max_bytes": ' + b"9" * 5_000 + b"}", "bad-request"),
        (b'{"max_bytes": 1, "max_bytes": 2}', "bad-request"),
        (b'{"Max_Bytes": 1}', "bad-request"),
        (b"[" * 100_000, "bad-request"),
        ('{"max_bytes": 1}'.encode("utf-16"), "bad-request"),
        (b"not json", "bad-request"),
        (b"", "bad-request"),
    ],
)
async def test_an_amount_with_more_than_one_reading_is_refused(
    fake: Store, tmp_path: Path, body: bytes, code: str
) -> None:
    """failure row 62; failure row 63"""
    async with job_rig(fake, tmp_path) as house:
        status, problem = await house.ask("POST", "/jobs", body)
        assert (status, problem["code"]) == (400, code)
        assert house.upstream.requests == []
        assert await house.standing() == (0, 0)


async def test_the_json_that_opens_a_job_is_bounded(fake: Store, tmp_path: Path) -> None:
    """failure row 63"""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"[" * 1_000

    async with job_rig(fake, tmp_path, JobWishes(rule='body_max = "1kB"')) as house:
        rig = house.rig
        for body in (b"[" * 1_001, pieces()):
            async with rig.session.post(
                f"{rig.url}/jobs", data=body, headers=rig.headers
            ) as answer:
                assert (answer.status, (await answer.json())["code"]) == (413, "file-too-large")
        assert house.upstream.requests == []
        assert await house.standing() == (0, 0)


async def test_an_amount_may_have_to_be_said(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, JobWishes(storage='{ json = "limits.bytes" }')) as house:
        status, problem = await house.ask("POST", "/jobs", {"limits": None})
        assert (status, problem["code"]) == (400, "invalid-amount")
        job_id = await house.open(limits={"bytes": 7})
        assert await house.standing() == (0, 7)
        await house.ask("DELETE", f"/jobs/{job_id}")


@pytest.mark.parametrize("status", [400, 402, 409, 429, 500, 503])
async def test_an_upstream_that_refuses_a_job_releases(
    fake: Store, tmp_path: Path, status: int
) -> None:
    """failure row 36"""
    async with job_rig(fake, tmp_path) as house:
        house.upstream.refuses = status
        assert await house.ask("POST", "/jobs", {}) == (status, {"error": "no"})
        assert await house.standing() == (0, 0)
        assert await house.standing("jobs") == (0, 0)


async def test_no_upstream_is_502_and_releases(fake: Store, tmp_path: Path) -> None:
    """failure row 33"""
    async with job_rig(fake, tmp_path) as house:
        await house.upstream.__aexit__()
        status, problem = await house.ask("POST", "/jobs", {})
        assert (status, problem["code"]) == (502, "upstream-unreachable")
        assert await house.standing() == (0, 0)


async def test_silence_after_an_opening_leaves_it_in_doubt(fake: Store, tmp_path: Path) -> None:
    """failure row 35"""
    gone_on = asyncio.Event()

    async def late(job: UpstreamJob) -> None:
        await gone_on.wait()

    wishes = JobWishes(answer_timeout="200ms", rule='lease = "1s"')
    async with job_rig(fake, tmp_path, wishes) as house:
        house.upstream.on_opened = late
        status, problem = await house.ask("POST", "/jobs", {"max_bytes": 5})
        assert (status, problem["code"]) == (504, "upstream-timeout")
        assert await house.standing() == (0, 5)
        gone_on.set()
        await house.rig.settled()
        assert await house.standing() == (0, 0)


async def test_an_answer_without_an_id_keeps_what_is_held_until_its_lease(
    fake: Store, tmp_path: Path
) -> None:
    def nameless(job: UpstreamJob) -> web.Response:
        return web.json_response({"ok": True}, status=201)

    async with job_rig(fake, tmp_path, JobWishes(rule='lease = "1s"')) as house:
        house.upstream.answers = nameless
        assert await house.ask("POST", "/jobs", {"max_bytes": 5}) == (201, {"ok": True})
        assert await house.standing() == (0, 5)
        await house.rig.settled()
        assert await house.standing() == (0, 0)


async def test_a_job_the_upstream_had_already_is_held_for_once(house: JobRig) -> None:
    job_id = await house.open(max_bytes=100)

    def same(job: UpstreamJob) -> web.Response:
        return web.json_response({"job_id": job_id}, status=200)

    house.upstream.answers = same
    assert await house.ask("POST", "/jobs", {"max_bytes": 100}) == (200, {"job_id": job_id})
    assert await house.standing() == (0, 100)
    assert await house.standing("jobs") == (0, 1)
    house.upstream.end(job_id, "Completed", 60)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (60, 0)


async def test_an_id_that_comes_again_after_its_job_has_ended_is_another_job(
    house: JobRig,
) -> None:
    def same(job: UpstreamJob) -> web.Response:
        house.upstream.jobs["again"] = UpstreamJob("again", job.asked)
        return web.json_response({"job_id": "again"}, status=201)

    house.upstream.answers = same
    for number in (1, 2):
        assert await house.open(max_bytes=100) == "again"
        assert await house.standing() == (60 * (number - 1), 100)
        house.upstream.end("again", "Completed", 60)
        await house.ask("GET", "/jobs/again")
        assert await house.standing() == (60 * number, 0)


async def test_a_job_that_is_done_at_once_is_charged_at_once(house: JobRig) -> None:
    def done(job: UpstreamJob) -> web.Response:
        told = {"job_id": job.id, "status": "Completed", "file_size": 3}
        return web.json_response(told, status=201)

    house.upstream.answers = done
    await house.open(max_bytes=100)
    assert await house.standing() == (3, 0)
    assert await house.standing("jobs") == (1, 0)


# -- ends that a status answer tells --------------------------------------------------------------


async def test_a_completed_job_is_charged_what_it_used(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Completed", 700)
    status, told = await house.ask("GET", f"/jobs/{job_id}")
    assert (status, told["status"]) == (200, "Completed")
    assert await house.standing() == (700, 0)
    assert await house.standing("jobs") == (1, 0)
    assert await house.standing("jobs_at_once") == (0, 0)


async def test_without_a_size_a_job_is_charged_what_it_held(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Completed", -1)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (4_000, 0)


async def test_a_job_that_used_more_than_it_held_is_charged_all_of_it(house: JobRig) -> None:
    """failure row 44"""
    job_id = await house.open(max_bytes=10)
    house.upstream.end(job_id, "Completed", 1_500_000)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (1_500_000, 0)
    assert (await house.ask("POST", "/jobs", {"max_bytes": 1}))[0] == 403


async def test_a_failed_job_is_charged_nothing(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Failed")
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (0, 0)
    assert await house.standing("jobs") == (0, 0)


async def test_meters_may_count_failed_jobs_as_well(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, JobWishes(rule='charged_anyway = ["jobs"]')) as house:
        job_id = await house.open(max_bytes=4_000)
        house.upstream.end(job_id, "Failed")
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (0, 0)
        assert await house.standing("jobs") == (1, 0)


async def test_a_running_job_goes_on_holding(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    for _ in range(3):
        assert (await house.ask("GET", f"/jobs/{job_id}"))[1]["status"] == "Processing"
    assert await house.standing() == (0, 4_000)
    await house.ask("DELETE", f"/jobs/{job_id}")


async def test_life_extends_the_lease_up_to_the_lifetime(fake: Store, tmp_path: Path) -> None:
    wishes = JobWishes(rule='lease = "1s"\nlifetime = "3s"')
    async with job_rig(fake, tmp_path, wishes) as house:
        job_id = await house.open(max_bytes=5)
        began = asyncio.get_running_loop().time()
        while (await house.standing()) == (0, 5):
            await house.ask("GET", f"/jobs/{job_id}")
        lasted = asyncio.get_running_loop().time() - began
        assert 2.5 < lasted < 4.0
        assert await house.standing() == (0, 0)


async def test_an_end_told_twice_is_charged_once(house: JobRig) -> None:
    """failure row 53: the second answer is the first one, and the books stay as they are"""
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Completed", 700)
    answers = await asyncio.gather(*(house.ask("GET", f"/jobs/{job_id}") for _ in range(10)))
    assert {status for status, _ in answers} == {200}
    assert await house.standing() == (700, 0)
    house.upstream.end(job_id, "Completed", 999)
    await house.ask("GET", f"/jobs/{job_id}")
    house.upstream.end(job_id, "Failed")
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (700, 0)
    assert await house.standing("jobs") == (1, 0)


async def test_a_failure_told_first_is_not_charged_later(house: JobRig) -> None:
    """failure row 53: reordered ends"""
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Failed")
    await house.ask("GET", f"/jobs/{job_id}")
    house.upstream.end(job_id, "Completed", 700)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.standing() == (0, 0)


async def test_a_late_end_is_charged_and_flagged(fake: Store, tmp_path: Path) -> None:
    """failure row 54"""
    async with job_rig(fake, tmp_path, JobWishes(rule='lease = "1s"')) as house:
        job_id = await house.open(max_bytes=4_000)
        await house.rig.settled()
        assert await house.standing() == (0, 0)
        house.upstream.end(job_id, "Completed", 700)
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (700, 0)
        ended = (await house.row(job_id)).ended
        assert ended is not None
        assert (ended.outcome, ended.late) == (Outcome.COMMITTED, True)


async def test_unknown_and_foreign_jobs_are_404(house: JobRig) -> None:
    """failure row 56"""
    job_id = await house.open(max_bytes=4_000)
    house.upstream.end(job_id, "Completed", 700)
    asked = len(house.upstream.requests)
    other = await Accounts(house.rig.store.client).create(house.rig.new_account("other"))
    assert isinstance(other, Account)
    await house.rig.gateway.ledger.open_books(other.id)
    _, key = await ApiKeys(house.rig.store.client).create(other.id, KeyPolicy())
    foreign = {"X-API-Key": key}
    answers = [
        await house.ask(method, f"/jobs/{name}", **headers)
        for method in ("GET", "DELETE")
        for name, headers in ((job_id, foreign), ("job-99", foreign), ("job-99", {}))
    ]
    assert {status for status, _ in answers} == {404}
    assert {problem["detail"] for _, problem in answers} == {"there is no such job"}
    assert len(house.upstream.requests) == asked
    assert await house.standing() == (0, 4_000)
    await house.ask("GET", f"/jobs/{job_id}")


async def test_the_asset_of_a_job_is_known_by_its_id(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, JobWishes(rule='asset = "files/{job}"')) as house:
        job_id = await house.open(max_bytes=4_000)
        house.upstream.end(job_id, "Completed", 700)
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (700, 0)
        house.rig.upstream.stored[f"/files/{job_id}".encode()] = b""
        assert await house.rig.delete(job_id) == 204
        assert await house.standing() == (0, 0)
        assert await house.standing("jobs") == (1, 0)


async def test_the_key_of_the_gateway_stays_here(house: JobRig) -> None:
    job_id = await house.open()
    await house.ask("GET", f"/jobs/{job_id}", **{"Accept-Encoding": "gzip"})
    await house.ask("DELETE", f"/jobs/{job_id}")
    for headers in house.upstream.headers:
        assert "x-api-key" not in headers
        assert "accept-encoding" not in headers


# -- calling off ----------------------------------------------------------------------------------


async def test_a_job_that_is_called_off_gives_back_what_it_held(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    assert await house.ask("DELETE", f"/jobs/{job_id}") == (204, None)
    assert await house.standing() == (0, 0)
    assert await house.ask("DELETE", f"/jobs/{job_id}") == (204, None)
    assert (await house.ask("GET", f"/jobs/{job_id}"))[1]["status"] == "Cancelled"
    assert await house.standing() == (0, 0)


async def test_a_cancellation_that_the_upstream_refuses_changes_nothing(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    job = house.upstream.jobs.pop(job_id)
    assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 404
    assert await house.standing() == (0, 4_000)
    house.upstream.jobs[job_id] = job
    await house.ask("DELETE", f"/jobs/{job_id}")


# -- under a name of the client's -----------------------------------------------------------------


async def test_a_job_opened_twice_under_one_key_is_one_job(house: JobRig) -> None:
    """failure row 59"""
    named = {"Idempotency-Key": "order-7"}
    first = await house.ask("POST", "/jobs", {"max_bytes": 100}, **named)
    assert first[0] == 201
    assert await house.ask("POST", "/jobs", {"max_bytes": 100}, **named) == first
    assert len(house.upstream.jobs) == 1
    assert await house.standing() == (0, 100)
    assert await house.standing("jobs") == (0, 1)
    job_id = first[1]["job_id"]
    house.upstream.end(job_id, "Completed", 60)
    await house.ask("GET", f"/jobs/{job_id}")
    assert await house.ask("POST", "/jobs", {"max_bytes": 100}, **named) == first
    assert await house.standing() == (60, 0)
