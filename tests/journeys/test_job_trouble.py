"""Jobs while something else goes wrong: the store, the upstream's manners, a rule that is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from gateway.ledger.store import Store
from gateway.settings import read
from tests.cable import Cable
from tests.hooks import Hooks
from tests.job_upstream import UpstreamJob
from tests.journeys.job_rig import (
    AT_HOME,
    BATCHES,
    CALLBACK,
    CALLBACK_ROUTES,
    POLLED,
    WEBHOOK,
    JobRig,
    JobWishes,
    job_rig,
)
from tests.journeys.test_upload_trouble import away

SIGNED = JobWishes(rule=CALLBACK, routes=BATCHES + CALLBACK_ROUTES)


@contextlib.asynccontextmanager
async def cabled(
    store: Store, tmp_path: Path, wishes: JobWishes | None = None
) -> AsyncIterator[tuple[JobRig, Cable]]:
    """A house whose settlements go over a cable that can be cut."""
    cable = Cable(store.settlement)
    async with job_rig(replace(store, settlement=cable), tmp_path, wishes) as house:
        yield house, cable


# -- the store ------------------------------------------------------------------------------------


async def test_a_status_is_answered_while_nothing_can_be_settled(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 14: whoever asks next settles it"""
    async with cabled(fake, tmp_path) as (house, cable):
        job_id = await house.open(max_bytes=100)
        house.upstream.end(job_id, "Completed", 60)
        cable.cut = True
        status, told = await house.ask("GET", f"/jobs/{job_id}")
        assert (status, told["status"]) == (200, "Completed")
        cable.cut = False
        assert await house.standing() == (0, 100)
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (60, 0)


async def test_a_cancellation_is_answered_while_nothing_can_be_settled(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 14"""
    async with cabled(fake, tmp_path) as (house, cable):
        job_id = await house.open(max_bytes=100)
        cable.cut = True
        assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 204
        cable.cut = False
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (0, 0)


async def test_a_callback_that_cannot_be_settled_is_to_come_again(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 14"""
    async with cabled(fake, tmp_path, SIGNED) as (house, cable):
        job_id = await house.open(max_bytes=100)
        done = {"job_id": job_id, "status": "completed", "file_size": 60}
        cable.cut = True
        assert (await house.call_back(done))[0] == 503
        cable.cut = False
        assert (await house.call_back(done))[0] == 200
        assert await house.standing() == (60, 0)


async def test_a_reply_that_is_lost_settles_once(fake: Store, tmp_path: Path) -> None:
    """failure row 16"""
    async with cabled(fake, tmp_path) as (house, cable):
        job_id = await house.open(max_bytes=100)
        house.upstream.end(job_id, "Completed", 60)
        cable.lose_replies = 2
        await house.ask("GET", f"/jobs/{job_id}")
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (60, 0)


async def test_a_job_that_cannot_be_kept_is_not_opened(fake: Store, tmp_path: Path) -> None:
    """failure row 13"""
    async with cabled(fake, tmp_path, SIGNED) as (house, cable):
        cable.cut = True
        for path in ("/jobs", "/bulk", "/shows"):
            assert (await house.ask("POST", path, {"items": [{}, {}]}))[0] == 503
        assert house.upstream.requests == []
        cable.cut = False
        await house.rig.settled()
        assert await house.standing() == (0, 0)


async def test_a_job_that_cannot_be_named_is_answered_all_the_same(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 26: its lease holds what it may use"""
    async with job_rig(fake, tmp_path, JobWishes(rule='lease = "1s"', routes=BATCHES)) as house:
        for number in range(1, 5):
            await fake.client.hset(f"qg:{{acme}}:jobid:downloads/job-{number}", "no", "name")
        assert await house.open(max_bytes=100) == "job-1"
        assert (await house.ask("POST", "/bulk", {"items": [{"max_bytes": 5}]}))[0] == 201
        assert (await house.ask("POST", "/shows", {"max_bytes": 1, "episodes": 2}))[0] == 201
        assert house.count('jobs_unnamed_total{rule="downloads"}') == 3
        assert (await house.standing())[1] >= 107
        await house.rig.settled()
        assert await house.standing() == (0, 0)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/jobs", {"max_bytes": 100}),
        ("/bulk", {"items": [{"max_bytes": 60}, {"max_bytes": 40}]}),
        ("/shows", {"max_bytes": 50, "episodes": 2}),
    ],
)
async def test_a_job_that_cannot_be_named_at_once_is_named_later(
    fake: Store, tmp_path: Path, path: str, asked: dict[str, object]
) -> None:
    """failure row 14: its client knows its name, and nobody else could tell it"""
    async with job_rig(fake, tmp_path, JobWishes(routes=BATCHES)) as house:
        with contextlib.ExitStack() as trouble:

            async def lose_the_store(job: UpstreamJob) -> None:
                if len(house.upstream.jobs) == 1:
                    trouble.enter_context(away(fake))

            house.upstream.on_opened = lose_the_store
            status, told = await house.ask("POST", path, asked)
            assert status == 201
        ids = told.get("job_ids") or told.get("episode_jobs") or [told["job_id"]]
        async with asyncio.timeout(10):
            for job_id in ids:
                while (await house.ask("GET", f"/jobs/{job_id}"))[0] != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        for job_id in ids:
            house.upstream.end(job_id, "Completed", 7)
            await house.ask("GET", f"/jobs/{job_id}")
        await house.rig.settled()
        assert await house.standing() == (7 * len(ids), 0)


# -- the upstream ---------------------------------------------------------------------------------


async def test_a_cancellation_that_is_still_to_be_done_ends_nothing(
    fake: Store, tmp_path: Path
) -> None:
    async with job_rig(fake, tmp_path) as house:
        job_id = await house.open(max_bytes=100)
        house.upstream.cancels = lambda job: web.Response(status=202)
        assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 202
        assert await house.standing() == (0, 100)
        house.upstream.cancels = lambda job: web.json_response({"status": "Processing"})
        assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 200
        assert await house.standing() == (0, 100)
        told = {"status": "Completed", "file_size": 7}
        house.upstream.cancels = lambda job: web.json_response(told)
        assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 200
        assert await house.standing() == (7, 0)


async def test_what_is_done_is_charged_though_it_is_called_off(fake: Store, tmp_path: Path) -> None:
    """A client that waits until its job is done and then deletes it has used what it used."""
    async with job_rig(fake, tmp_path, JobWishes(rule=POLLED)) as house:
        job_id = await house.open(max_bytes=100)
        house.upstream.end(job_id, "Completed", 60)
        assert (await house.ask("DELETE", f"/jobs/{job_id}"))[0] == 204
        assert await house.standing() == (60, 0)


async def test_an_answer_that_cannot_be_read_is_relayed(fake: Store, tmp_path: Path) -> None:
    def long(job: UpstreamJob) -> web.Response:
        return web.Response(body=b"[" * 1_100_000, status=201)

    async with job_rig(fake, tmp_path, JobWishes(rule='lease = "1s"')) as house:
        house.upstream.answers = long
        rig = house.rig
        async with rig.session.post(
            f"{rig.url}/jobs", json={"max_bytes": 5}, headers=rig.headers
        ) as answer:
            assert (answer.status, len(await answer.read())) == (201, 1_100_000)
        assert await house.standing() == (0, 5)
        await rig.settled()


async def test_a_client_that_leaves_leaves_its_job(fake: Store, tmp_path: Path) -> None:
    """failure row 30"""
    go_on = asyncio.Event()

    async def wait(job: UpstreamJob) -> None:
        await go_on.wait()

    async with job_rig(fake, tmp_path) as house:
        house.upstream.on_opened = wait
        reader, writer = await asyncio.open_connection("127.0.0.1", house.rig.port)
        writer.write(
            f"POST /jobs HTTP/1.1\r\nHost: t\r\nX-API-Key: {house.rig.key}\r\n"
            "Content-Length: 18\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert b" 100 " in await reader.readline()
        writer.write(b'{"max_bytes": 100}')
        async with asyncio.timeout(5):
            while not house.upstream.jobs:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer.transport.abort()
        go_on.set()
        (job_id,) = house.upstream.jobs
        async with asyncio.timeout(5):
            while await house.rows.find("acme", "downloads", job_id) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await house.standing() == (0, 100)
        await house.ask("DELETE", f"/jobs/{job_id}")


# -- callbacks that are none ----------------------------------------------------------------------


async def test_a_callback_has_a_body_and_a_bound(fake: Store, tmp_path: Path) -> None:
    """failure row 63"""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    async with job_rig(fake, tmp_path, SIGNED) as house:
        rig = house.rig
        async with rig.session.post(f"{rig.url}/_callbacks/downloads") as answer:
            assert answer.status == 400
        async with rig.session.post(f"{rig.url}/_callbacks/downloads", data=pieces()) as answer:
            assert answer.status == 413


async def test_an_upstream_that_cannot_be_asked_is_asked_again(fake: Store, tmp_path: Path) -> None:
    wishes = JobWishes(rule=AT_HOME + POLLED + CALLBACK + WEBHOOK, routes=CALLBACK_ROUTES)
    async with job_rig(fake, tmp_path, wishes) as house:
        job_id = await house.open(max_bytes=100)
        job = house.upstream.jobs.pop(job_id)
        token = job.asked["webhook_url"].rpartition("/")[2]
        done = {"job_id": job_id, "status": "completed", "file_size": 1}
        status, told = await house.call_back(done, token=token)
        assert (status, told["ended"]) == (200, False)
        house.upstream.jobs[job_id] = job
        house.upstream.end(job_id, "Completed", 60)
        await house.counted(
            'job_ends_total{by="watcher",end="completed",rule="downloads"}', within_s=15
        )
        assert await house.standing() == (60, 0)


# -- a rule that is gone --------------------------------------------------------------------------


async def test_jobs_of_a_rule_that_is_gone_are_left_to_their_leases(
    fake: Store, tmp_path: Path
) -> None:
    rule = AT_HOME + 'poll_every = "1s"\nlease = "3s"\n' + POLLED + CALLBACK + WEBHOOK
    wishes = JobWishes(rule=rule, routes=CALLBACK_ROUTES)
    async with Hooks() as hooks, job_rig(fake, tmp_path, wishes) as house:
        hooks.answers = [500]
        house.rig.gateway.jobs.caller.again_ms = (500,)
        told = await house.open(max_bytes=10, webhook_url=hooks.url)
        await house.open(max_bytes=100)
        house.upstream.end(told, "Completed", 1)
        await house.call_back({"job_id": told, "status": "x"}, token=house.token(told))
        await hooks.until(lambda: bool(hooks.told))
        path = tmp_path / "gateway.toml"
        path.write_text(path.read_text().partition("[meters.jobs]")[0])
        await house.rig.gateway.reload(await asyncio.to_thread(read, path))
        await house.counted('webhooks_total{result="forbidden",rule="downloads"}')
        await house.rig.settled()
        assert len(hooks.told) == 1
        assert await house.standing() == (1, 0)
