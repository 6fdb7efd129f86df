"""A Tornado API behind the gateway: jobs move exactly the documented fields of `/usage`."""

from pathlib import Path
from typing import Any

import pytest

from gateway.clock import wall_ms
from gateway.dialects.instants import rfc3339
from gateway.ledger.store import Store
from gateway.records.accounts import Accounts, account_key
from tests.job_upstream import JobUpstream
from tests.presets.rig import PresetRig, running
from tests.usage.stripe_api import KEY, StripeApi, Subscription

GB = 1 << 30
SMALL = '[plans.trial]\nlimits = { storage_bytes = "10GiB" }\ncaps = { file_bytes = "1GiB" }\n'
SINGLE = SMALL + '[[routes]]\nname = "jobs-open"\nbatch = { ids = "episode_jobs", most = 3 }\n'


async def usage(rig: PresetRig) -> dict[str, object]:
    status, page = await rig.ask("GET", "/usage", {"x-api-key": rig.key})
    assert status == 200
    assert isinstance(page, dict)
    return page


def figures(page: dict[str, object]) -> tuple[object, ...]:
    return (
        page["usage_count"],
        page["storage_usage_gb"],
        page["storage_reserved_gb"],
        page["storage_effective_usage_gb"],
    )


async def opened(rig: PresetRig, **asked: object) -> tuple[int, Any]:
    document = {"url": "https://videos.example.com/v/1", "format": "mp4", **asked}
    return await rig.ask("POST", "/jobs", {"x-api-key": rig.key}, json=document)


async def test_a_job_from_its_opening_to_its_end(store: Store, tmp_path: Path) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SINGLE) as rig,
    ):
        before = await usage(rig)
        assert list(before) == [
            "client_name", "usage_count", "storage_usage_gb", "storage_reserved_gb",
            "storage_effective_usage_gb", "storage_limit_gb", "storage_limit_bytes",
            "storage_remaining_gb", "max_resolution_limit", "max_duration_limit_seconds",
            "max_filesize_limit_bytes", "max_filesize_limit_mb",
        ]  # fmt: skip
        assert before["client_name"] == "My App"
        assert figures(before) == (0, 0, 0, 0)
        status, answer = await opened(rig)
        assert status == 201
        held = await usage(rig)
        assert figures(held) == (0, 0, 1, 1)
        upstream.end(str(answer["job_id"]), "Completed", 3 * GB // 4)
        path = f"/jobs/{answer['job_id']}"
        assert (await rig.ask("GET", path, {"x-api-key": rig.key}))[0] == 200
        after = await usage(rig)
        assert figures(after) == (1, 0.75, 0, 0.75)
        assert after["storage_remaining_gb"] == 9.25
        assert {name for name in after if after[name] != before[name]} == {
            "usage_count", "storage_usage_gb", "storage_effective_usage_gb", "storage_remaining_gb",
        }  # fmt: skip


async def test_each_episode_of_a_show_counts_as_a_job(store: Store, tmp_path: Path) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SINGLE) as rig,
    ):
        own = {"x-api-key": rig.key}
        status, show = await opened(rig, episodes=2)
        assert status == 201
        assert figures(await usage(rig)) == (0, 0, 2, 2)
        one, two = show["episode_jobs"]
        upstream.end(one, "Failed")
        upstream.end(two, "Completed", GB)
        for job in (one, two):
            await rig.ask("GET", f"/jobs/{job}", own)
        assert figures(await usage(rig)) == (2, 1, 0, 1)


async def test_many_jobs_of_one_request(store: Store, tmp_path: Path) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SMALL) as rig,
    ):
        own = {"x-api-key": rig.key}
        status, _ = await rig.ask("POST", "/jobs/bulk", own, json={"jobs": [{}] * 11})
        assert status == 403
        assert upstream.requests == []
        status, bulk = await rig.ask("POST", "/jobs/bulk", own, json={"jobs": [{}] * 10})
        assert status == 201
        assert figures(await usage(rig)) == (0, 0, 10, 10)
        for job in bulk["job_ids"]:
            upstream.end(job, "Completed", GB // 4)
            await rig.ask("GET", f"/jobs/{job}", own)
        assert figures(await usage(rig)) == (10, 2.5, 0, 2.5)


@pytest.mark.parametrize("same", [False, True])
async def test_a_job_that_is_done_again_is_reserved_for_and_charged(
    store: Store, tmp_path: Path, same: bool
) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SINGLE) as rig,
    ):
        own = {"x-api-key": rig.key}
        upstream.same = same
        _, answer = await opened(rig)
        job = str(answer["job_id"])
        assert (await rig.ask("POST", f"/jobs/{job}/retry", own))[0] == 400
        assert figures(await usage(rig)) == (0, 0, 1, 1), "it has not failed: held once"
        upstream.end(job, "Failed")
        await rig.ask("GET", f"/jobs/{job}", own)
        assert figures(await usage(rig)) == (1, 0, 0, 0)
        theirs = {"x-api-key": await rig.another()}
        assert (await rig.ask("POST", f"/jobs/{job}/retry", theirs))[0] == 404
        status, again = await rig.ask("POST", f"/jobs/{job}/retry", own)
        assert status == (200 if same else 201)
        assert figures(await usage(rig)) == (1, 0, 1, 1)
        job = str(again.get("job_id", job))
        upstream.end(job, "Completed", GB // 4)
        await rig.ask("GET", f"/jobs/{job}", own)
        assert figures(await usage(rig)) == (2, 0.25, 0, 0.25)


async def test_a_job_is_not_done_again_where_there_is_no_room(store: Store, tmp_path: Path) -> None:
    own = SINGLE.replace('"10GiB"', '"1GiB"').replace("most = 3", "most = 1")
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, own) as rig,
    ):
        key = {"x-api-key": rig.key}
        _, one = await opened(rig)
        upstream.end(str(one["job_id"]), "Failed")
        await rig.ask("GET", f"/jobs/{one['job_id']}", key)
        _, two = await opened(rig)
        status, refused = await rig.ask("POST", f"/jobs/{one['job_id']}/retry", key)
        assert (status, refused["error"]) == (403, "Storage quota exceeded")
        assert not [path for _, path, _ in upstream.requests if path.endswith("retry")]
        await rig.session.delete(f"{rig.url}/jobs/{two['job_id']}", headers=key)


@pytest.mark.parametrize(
    "asked",
    [
        {"jobs": [{"url": "u"}, {"url": "u", "max_resolution": "2160"}]},
        {"jobs": [{"url": "u"}], "max_resolution": "2160"},
        {"jobs": [{"url": "u", "max_duration": 9_000}]},
        {"jobs": [{"url": "u", "Max_Duration": 60}]},
    ],
)
async def test_caps_hold_for_each_of_many_jobs(
    store: Store, tmp_path: Path, asked: dict[str, object]
) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SMALL) as rig,
    ):
        status, page = await rig.ask("POST", "/jobs/bulk", {"x-api-key": rig.key}, json=asked)
        assert (status, list(page)) == (400 if "Max_" in str(asked) else 403, ["error"])
        assert upstream.requests == []


async def test_over_quota_and_over_a_cap_are_refused_in_the_vendors_words(
    store: Store, tmp_path: Path
) -> None:
    own = SINGLE.replace('"10GiB"', '"2GiB"').replace("most = 3", "most = 2")
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, own) as rig,
    ):
        status, first = await opened(rig)
        assert status == 201
        status, refused = await opened(rig)
        assert status == 403
        assert refused == {
            "error": "Storage quota exceeded",
            "limit_gb": "2.00",
            "used_gb": "1.00",
            "message": "This API key has a 2 GB limit and has used 1.00 GB",
        }
        status, refused = await opened(rig, max_resolution="2160")
        assert (status, list(refused)) == (403, ["error"])
        assert upstream.asked("POST") == 1
        for path, headers, error in (
            ("/usage", {}, "Missing x-api-key header"),
            ("/usage", {"x-api-key": "wrong"}, "Invalid API Key"),
            ("/jobs/1", {}, "Missing x-api-key header"),
            ("/nowhere", {}, "no route has this path"),
        ):
            status, page = await rig.ask("GET", path, headers)
            assert (status, page) == (404 if path == "/nowhere" else 401, {"error": error})
        await rig.ask("DELETE", f"/jobs/{first['job_id']}", {"x-api-key": rig.key})


async def test_another_accounts_job_is_unknown(store: Store, tmp_path: Path) -> None:
    async with (
        JobUpstream() as upstream,
        running(store, tmp_path, "tornado", upstream.url, SINGLE) as rig,
    ):
        _, answer = await opened(rig)
        theirs = {"x-api-key": await rig.another()}
        path = f"/jobs/{answer['job_id']}"
        assert (await rig.ask("GET", path, theirs))[0] == 404
        assert (await rig.ask("DELETE", path, theirs))[0] == 404
        async with rig.session.delete(
            f"{rig.url}{path}", headers={"x-api-key": rig.key}
        ) as cancelled:
            assert cancelled.status == 204
        assert figures(await usage(rig)) == (1, 0, 0, 0)


async def test_a_key_that_is_billed_by_a_subscription(store: Store, tmp_path: Path) -> None:
    started_s = wall_ms() // 1_000 - 3 * 86_400
    async with JobUpstream() as upstream, StripeApi() as stripe:
        stripe.subscriptions["sub_1"] = Subscription(started_s, started_s + 30 * 86_400)
        billing = f'[billing]\nstripe_key = "{KEY}"\nurl = "{stripe.url}"\n'
        own = SINGLE.replace("[plans.trial]\n", "[plans.trial]\ndefault = false\n")
        own += f"[plans.paid]\ndefault = true\ncaps = {{ file_bytes = '1GiB' }}\n{billing}"
        async with running(store, tmp_path, "tornado", upstream.url, own) as rig:
            accounts = Accounts(store.client)
            await accounts.set_subscription("acme", "sub_1")
            _, answer = await opened(rig)
            upstream.end(str(answer["job_id"]), "Completed", GB // 2)
            await rig.ask("GET", f"/jobs/{answer['job_id']}", {"x-api-key": rig.key})
            page = await usage(rig)
            assert list(page)[5:] == [
                "billing_period_start", "billing_period_end", "current_period_usage_gb",
                "max_filesize_limit_bytes", "max_filesize_limit_mb",
            ]  # fmt: skip
            assert page["billing_period_start"] == rfc3339(started_s * 1_000)
            assert page["current_period_usage_gb"] == 0.5
            stripe.subscriptions.clear()
            await accounts.set_subscription("acme", "sub_2")
            page = await usage(rig)
            assert "billing_period_start" not in page
            assert page["billing_error"] == "billing data is not available at the moment"
            assert page["storage_usage_gb"] == 0.5


async def test_what_was_used_before_the_plan_changed_belongs_to_the_period_too(
    store: Store, tmp_path: Path
) -> None:
    """The trial counted for ever, so that the months of the paid plan begin with the change."""
    started_s = wall_ms() // 1_000 - 3 * 86_400
    async with JobUpstream() as upstream, StripeApi() as stripe:
        stripe.subscriptions["sub_1"] = Subscription(started_s, started_s + 30 * 86_400)
        own = f'{SINGLE}[billing]\nstripe_key = "{KEY}"\nurl = "{stripe.url}"\n'
        async with running(store, tmp_path, "tornado", upstream.url, own) as rig:
            accounts = Accounts(store.client)
            row = account_key("acme")
            await store.client.hset(row, "created_ms", str(started_s * 1_000 - 86_400_000))
            await store.client.hset(row, "anchor_ms", str(started_s * 1_000))
            await accounts.set_subscription("acme", "sub_1")
            await done(rig, upstream, GB // 2)
            await accounts.set_plan("acme", "paid", wall_ms())
            await done(rig, upstream, GB // 4)
            page = await usage(rig)
            assert page["storage_usage_gb"] == 0.75
            assert page["current_period_usage_gb"] == 0.75


async def done(rig: PresetRig, upstream: JobUpstream, size: int) -> None:
    _, answer = await opened(rig)
    upstream.end(str(answer["job_id"]), "Completed", size)
    await rig.ask("GET", f"/jobs/{answer['job_id']}", {"x-api-key": rig.key})
