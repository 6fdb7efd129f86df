"""Upstreams that call back: signed, or at the URL they were given; clients hear of it in turn."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.clock import wall_ms
from gateway.ledger.keys import keys_of
from gateway.ledger.store import Store
from tests.hooks import Hooks
from tests.job_upstream import UpstreamJob
from tests.journeys.job_rig import (
    AT_HOME,
    CALLBACK,
    CALLBACK_ROUTES,
    POLLED,
    WEBHOOK,
    JobRig,
    JobWishes,
    job_rig,
)

SIGNED = JobWishes(rule=CALLBACK, routes=CALLBACK_ROUTES)
GIVEN = JobWishes(rule=AT_HOME + CALLBACK + WEBHOOK, routes=CALLBACK_ROUTES)
ASKED = JobWishes(rule=AT_HOME + POLLED + CALLBACK + WEBHOOK, routes=CALLBACK_ROUTES)


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[JobRig]:
    async with job_rig(store, tmp_path, SIGNED) as opened:
        yield opened


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    async with Hooks() as listening:
        yield listening


def done(job_id: str, size: int = 700, **more: Any) -> dict[str, Any]:
    return {"job_id": job_id, "status": "completed", "file_size": size} | more


# -- signed ---------------------------------------------------------------------------------------


async def test_a_signed_callback_settles(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    told = {"job": job_id, "ended": True, "end": "completed", "outcome": "committed", "late": False}
    assert await house.call_back(done(job_id)) == (200, told)
    assert await house.standing() == (700, 0)
    assert await house.standing("jobs") == (1, 0)


async def test_a_signed_callback_of_a_failure_releases(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    status, told = await house.call_back({"job_id": job_id, "status": "failed", "error": "x"})
    assert (status, told["outcome"]) == (200, "released")
    assert await house.standing() == (0, 0)


async def test_progress_changes_nothing(house: JobRig) -> None:
    job_id = await house.open(max_bytes=4_000)
    for document in ({"job_id": job_id, "status": "muxing"}, {"job_id": job_id}):
        status, told = await house.call_back(document)
        assert (status, told["ended"]) == (200, False)
    assert await house.standing() == (0, 4_000)
    await house.call_back(done(job_id))


async def test_a_callback_repeated_and_reordered_is_charged_once(house: JobRig) -> None:
    """failure row 53: ten at once, then others; every answer is the first one"""
    job_id = await house.open(max_bytes=4_000)
    answers = await asyncio.gather(*(house.call_back(done(job_id)) for _ in range(10)))
    answers += [
        await house.call_back(done(job_id, 999)),
        await house.call_back({"job_id": job_id, "status": "failed"}),
        await house.call_back({"job_id": job_id, "status": "muxing"}),
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 200
    assert await house.standing() == (700, 0)
    assert await house.standing("jobs") == (1, 0)


async def test_ten_different_ends_at_once_are_one(house: JobRig) -> None:
    """failure row 53: whichever is first"""
    job_id = await house.open(max_bytes=4_000)
    ends = [done(job_id, size) for size in range(1, 6)]
    ends += [{"job_id": job_id, "status": "failed"}] * 5
    answers = await asyncio.gather(*(house.call_back(end) for end in ends))
    assert {status for status, _ in answers} == {200}
    used, reserved = await house.standing()
    assert reserved == 0
    assert used in range(6)
    assert await house.standing("jobs") == (int(used > 0), 0)


async def test_a_late_callback_is_charged_and_flagged(fake: Store, tmp_path: Path) -> None:
    """failure row 54"""
    wishes = JobWishes(rule='lease = "1s"\n' + CALLBACK, routes=CALLBACK_ROUTES)
    async with job_rig(fake, tmp_path, wishes) as house:
        job_id = await house.open(max_bytes=4_000)
        await house.rig.settled()
        status, told = await house.call_back(done(job_id))
        assert (status, told["outcome"], told["late"]) == (200, "committed", True)
        assert await house.call_back(done(job_id)) == (200, told)
        assert await house.standing() == (700, 0)


async def test_who_does_not_sign_is_not_heard(house: JobRig) -> None:
    """failure row 65; failure row 56"""
    job_id = await house.open(max_bytes=4_000)
    assert (await house.call_back(done(job_id), secret="another-secret-here"))[0] == 401
    assert (await house.call_back(done(job_id), age_s=301))[0] == 401
    assert (await house.call_back(done(job_id), age_s=-301))[0] == 401
    assert (await house.ask("POST", "/_callbacks/downloads", done(job_id)))[0] == 401
    assert await house.standing() == (0, 4_000)
    assert (await house.call_back(done(job_id), age_s=290))[0] == 200


async def test_when_it_was_signed_is_judged_by_the_store_s_clock(
    store: Store, tmp_path: Path
) -> None:
    """failure row 48: not by the account's books, which are ahead where that clock was set back."""
    async with job_rig(store, tmp_path, SIGNED, audited=False) as house:
        client: Any = store.client
        books = keys_of(house.rig.account.id).books
        await client.hset(books, "now", wall_ms() + 3_600_000)
        job_id = await house.open(max_bytes=4_000)
        status, told = await house.call_back(done(job_id))
        assert (status, told["outcome"]) == (200, "committed")


async def test_callbacks_about_unknown_jobs_are_404(house: JobRig) -> None:
    """failure row 56"""
    job_id = await house.open(max_bytes=4_000)
    unknown: list[Any] = [done("job-99"), {"status": "completed"}, [], 7]
    for document in unknown:
        assert (await house.call_back(document))[0] == 404
    assert (await house.call_back(b"not json"))[0] == 400
    assert await house.standing() == (0, 4_000)
    await house.call_back(done(job_id))


async def test_a_figure_that_a_callback_lacks_is_asked_for(fake: Store, tmp_path: Path) -> None:
    wishes = JobWishes(rule=POLLED + CALLBACK, routes=CALLBACK_ROUTES)
    async with job_rig(fake, tmp_path, wishes) as house:
        job_id = await house.open(max_bytes=4_000)
        house.upstream.end(job_id, "Completed", 123)
        assert (await house.call_back({"job_id": job_id, "status": "completed"}))[0] == 200
        assert await house.standing() == (123, 0)


# -- at the URL that the upstream was given -------------------------------------------------------


async def test_the_upstream_is_given_a_url_of_ours(fake: Store, tmp_path: Path) -> None:
    async with job_rig(fake, tmp_path, GIVEN) as house:
        job_id = await house.open(max_bytes=4_000, webhook_url="https://client.example/h?x=1")
        asked = house.upstream.jobs[job_id].asked
        assert asked["max_bytes"] == 4_000
        assert asked["webhook_url"].startswith("https://gateway.example.com/_callbacks/downloads/")
        assert "client.example" not in asked["webhook_url"]
        assert (await house.row(job_id)).webhook == "https://client.example/h?x=1"
        other = await house.open(max_bytes=1)
        assert house.token(other) != house.token(job_id)
        assert (await house.row(other)).webhook is None
        for each in (job_id, other):
            await house.ask("DELETE", f"/jobs/{each}")


async def test_a_call_at_that_url_settles_and_repeats(fake: Store, tmp_path: Path) -> None:
    """failure row 53"""
    async with job_rig(fake, tmp_path, GIVEN) as house:
        job_id = await house.open(max_bytes=4_000)
        token = house.token(job_id)
        first = await house.call_back(done(job_id), token=token)
        assert first[0] == 200
        assert await house.call_back(done(job_id, 9), token=token) == first
        assert await house.standing() == (700, 0)


async def test_another_url_is_404(fake: Store, tmp_path: Path) -> None:
    """failure row 56"""
    async with job_rig(fake, tmp_path, GIVEN) as house:
        job_id = await house.open(max_bytes=4_000)
        token = house.token(job_id)
        guesses = [token[:-1], token + "x", token.replace("acme", "evil"), "acme~1-1~x", "x"]
        for guess in guesses:
            assert (await house.call_back(done(job_id), token=guess))[0] == 404
        assert await house.standing() == (0, 4_000)
        await house.ask("DELETE", f"/jobs/{job_id}")


async def test_what_is_said_at_a_url_only_makes_the_gateway_ask(
    fake: Store, tmp_path: Path
) -> None:
    """A client that was shown the URL cannot say what its job has used."""
    async with job_rig(fake, tmp_path, ASKED) as house:
        job_id = await house.open(max_bytes=4_000)
        token = house.token(job_id)
        assert (await house.call_back(done(job_id, 1), token=token))[1]["ended"] is False
        assert await house.standing() == (0, 4_000)
        house.upstream.end(job_id, "Completed", 700)
        assert (await house.call_back(done(job_id, 1), token=token))[1]["ended"] is True
        assert await house.standing() == (700, 0)


async def test_a_call_before_the_answer_to_the_opening_is_heard(
    fake: Store, tmp_path: Path
) -> None:
    async with job_rig(fake, tmp_path, GIVEN) as house:

        async def at_once(job: UpstreamJob) -> None:
            token = job.asked["webhook_url"].rpartition("/")[2]
            status, told = await house.call_back(done(job.id), token=token)
            assert (status, told["outcome"]) == (200, "committed")

        house.upstream.on_opened = at_once
        job_id = await house.open(max_bytes=4_000)
        assert await house.standing() == (700, 0)
        assert (await house.row(job_id)).id == job_id
        await house.ask("GET", f"/jobs/{job_id}")
        assert await house.standing() == (700, 0)


async def test_a_job_that_was_never_named_is_settled_by_its_url(
    fake: Store, tmp_path: Path
) -> None:
    def nameless(job: UpstreamJob) -> web.Response:
        return web.json_response({"ok": True}, status=201)

    async with job_rig(fake, tmp_path, GIVEN) as house:
        house.upstream.answers = nameless
        await house.ask("POST", "/jobs", {"max_bytes": 4_000})
        (job_id,) = house.upstream.jobs
        assert (await house.call_back(done(job_id), token=house.token(job_id)))[0] == 200
        assert await house.standing() == (700, 0)
        assert (await house.ask("GET", f"/jobs/{job_id}"))[0] == 200


async def test_tokens_are_not_logged(fake: Store, tmp_path: Path) -> None:
    """failure row 68"""
    async with job_rig(fake, tmp_path, GIVEN) as house:
        job_id = await house.open(max_bytes=4_000)
        token = house.token(job_id)
        await house.call_back(done(job_id), token=token)
        await house.call_back(done(job_id), token=token + "x")
        rig = house.rig
    assert token.encode() not in rig.log_bytes()
    assert token.rpartition("~")[2].encode() not in rig.log_bytes()


# -- clients' own URLs ----------------------------------------------------------------------------


async def test_the_clients_own_url_is_called_once(
    fake: Store, tmp_path: Path, hooks: Hooks
) -> None:
    async with job_rig(fake, tmp_path, GIVEN) as house:
        job_id = await house.open(max_bytes=4_000, webhook_url=hooks.url)
        token = house.token(job_id)
        said = b'{"job_id": "%b", "status": "completed", "file_size": 5e0}' % job_id.encode()
        await asyncio.gather(*(house.call_back(said, token=token) for _ in range(5)))
        await hooks.until(lambda: bool(hooks.told))
        await house.call_back(said, token=token)
        await house.call_back({"job_id": job_id, "status": "done"}, token=token)
        await hooks.until(lambda: len(hooks.told) == 2)
        assert hooks.told[0] == said
        assert hooks.kinds[0] == "application/json"


async def test_a_client_that_is_away_is_called_again(
    fake: Store, tmp_path: Path, hooks: Hooks
) -> None:
    async with job_rig(fake, tmp_path, GIVEN) as house:
        house.rig.gateway.jobs.caller.again_ms = (1, 1, 1, 1)
        hooks.answers = [500, 404, 302]
        hooks.location = f"{hooks.url}/elsewhere"
        job_id = await house.open(max_bytes=4_000, webhook_url=hooks.url)
        await house.call_back(done(job_id), token=house.token(job_id))
        await hooks.until(lambda: len(hooks.told) == 4)
        assert len(set(hooks.told)) == 1


async def test_a_client_that_never_answers_is_given_up(
    fake: Store, tmp_path: Path, hooks: Hooks
) -> None:
    async with job_rig(fake, tmp_path, GIVEN) as house:
        house.rig.gateway.jobs.caller.again_ms = (1, 1)
        hooks.answers = [500] * 9
        job_id = await house.open(max_bytes=4_000, webhook_url=hooks.url)
        await house.call_back(done(job_id), token=house.token(job_id))
        await hooks.until(lambda: len(hooks.told) == 3)
        assert await house.rig.gateway.jobs.caller.round() == 0
        assert len(hooks.told) == 3


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "https://u:p@a.example/", "a.example", "https://a.example/#x", "", 7, {}],
)
async def test_a_webhook_that_is_no_url_is_refused(fake: Store, tmp_path: Path, url: Any) -> None:
    """failure row 65"""
    async with job_rig(fake, tmp_path, GIVEN) as house:
        status, problem = await house.ask("POST", "/jobs", {"webhook_url": url})
        assert (status, problem["code"]) == (400, "bad-request")
        assert house.upstream.requests == []


async def test_only_listed_hosts_are_called(fake: Store, tmp_path: Path) -> None:
    """failure row 65"""
    rule = CALLBACK + WEBHOOK + 'hosts = ["*.client.example"]'
    async with job_rig(fake, tmp_path, JobWishes(rule=rule, routes=CALLBACK_ROUTES)) as house:
        for url in ("https://client.example/", "https://evil.example/", "http://a.client.example/"):
            assert (await house.ask("POST", "/jobs", {"webhook_url": url}))[0] == 400
        job_id = await house.open(webhook_url="https://a.client.example/")
        await house.ask("DELETE", f"/jobs/{job_id}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0"])
async def test_a_client_on_a_private_address_is_not_called(
    fake: Store, tmp_path: Path, hooks: Hooks, host: str
) -> None:
    """failure row 65: nothing on this machine hears of it, however its address is written"""
    rule = "plain_http = true\n" + CALLBACK + WEBHOOK
    async with job_rig(fake, tmp_path, JobWishes(rule=rule, routes=CALLBACK_ROUTES)) as house:
        url = hooks.url.replace("127.0.0.1", host)
        job_id = await house.open(webhook_url=url)
        await house.call_back(done(job_id), token=house.token(job_id))
        await house.counted('webhooks_total{result="forbidden",rule="downloads"}')
        assert hooks.told == []
