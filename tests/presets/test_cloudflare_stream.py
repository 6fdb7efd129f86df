"""Cloudflare Stream behind the gateway: uploads hold their most, then count what they are."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import cloudflare
import pytest
from cloudflare import Cloudflare, omit

from gateway.ledger.store import Store
from tests.presets.rig import ALIAS, PresetRig, running
from tests.presets.stream_api import StreamApi

SMALL = '[plans.standard]\nlimits = { storage_seconds = "10m" }\n[jobs.videos]\npoll_every = "1s"\n'
PATH = f"/client/v4/accounts/{ALIAS}/stream"


def bearer(rig: PresetRig) -> dict[str, str]:
    return {"Authorization": f"Bearer {rig.key}"}


async def usage(rig: PresetRig, creator: str | None = None) -> Any:
    """What the vendor's client makes of the answer; it blocks, so not on this thread."""

    def asked() -> Any:
        with Cloudflare(
            api_token=rig.key, base_url=f"{rig.url}/client/v4", max_retries=0
        ) as client:
            query = omit if creator is None else creator
            return client.stream.videos.storage_usage(account_id=ALIAS, creator=query)

    return await asyncio.to_thread(asked)


async def direct_upload(rig: PresetRig, seconds: object, **more: str) -> tuple[int, Any]:
    document = {"maxDurationSeconds": seconds, **more}
    return await rig.ask("POST", f"{PATH}/direct_upload", bearer(rig), json=document)


async def test_an_upload_from_its_url_to_its_deletion(store: Store, tmp_path: Path) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        page = await usage(rig)
        assert (page.total_storage_minutes, page.total_storage_minutes_limit) == (0, 10)
        assert (page.video_count, page.creator) == (0, None)
        status, answer = await direct_upload(rig, 480)
        assert status == 200
        status, refused = await direct_upload(rig, 180)
        assert (status, refused["success"]) == (403, False)
        assert "480/600" in refused["errors"][0]["message"]
        video = api.videos[answer["result"]["uid"]]
        video.state, video.duration_s = "ready", 239.2
        assert (await rig.ask("GET", f"{PATH}/{video.uid}", bearer(rig)))[0] == 200
        page = await usage(rig)
        assert (page.total_storage_minutes, page.video_count) == (4, 1)
        assert (await direct_upload(rig, 180))[0] == 200
        async with rig.session.delete(
            f"{rig.url}{PATH}/{video.uid}", headers=bearer(rig)
        ) as deleted:
            assert deleted.status == 200
        page = await usage(rig)
        assert (page.total_storage_minutes, page.video_count) == (0, 0)
        (other,) = api.videos.values()
        other.state = "error"
        await rig.settled()
        assert set(api.asked) == {ALIAS}, "the gateway asks by the account's name in the path"


async def test_what_each_creator_stores(store: Store, tmp_path: Path) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        for creator, seconds in (("ann", 120), ("ann", 60), ("b c", 180), (None, 60)):
            more = {} if creator is None else {"creator": creator}
            _, answer = await direct_upload(rig, seconds, **more)
            video = api.videos[answer["result"]["uid"]]
            video.state, video.duration_s = "ready", seconds
            await rig.ask("GET", f"{PATH}/{video.uid}", bearer(rig))
        for creator, minutes, videos in (("ann", 3, 2), ("b c", 3, 1), ("nobody", 0, 0)):
            page = await usage(rig, creator)
            assert (page.creator, page.total_storage_minutes) == (creator, minutes)
            assert (page.video_count, page.total_storage_minutes_limit) == (videos, 10)
        page = await usage(rig)
        assert (page.creator, page.total_storage_minutes, page.video_count) == (None, 7, 4)
        status, refused = await rig.ask(
            "GET", f"{PATH}/storage-usage?creator={'x' * 65}", bearer(rig)
        )
        assert (status, refused["success"]) == (400, False)


async def test_a_video_that_nobody_asks_about_is_charged_by_the_gateways_own_question(
    store: Store, tmp_path: Path
) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        _, answer = await direct_upload(rig, 120)
        video = api.videos[answer["result"]["uid"]]
        video.state, video.duration_s = "ready", 60
        async with asyncio.timeout(10):
            while (await usage(rig)).video_count == 0:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.1)
        assert (await usage(rig)).total_storage_minutes == 1


@pytest.mark.parametrize("seconds", ["60", -1, 1.5, None])
async def test_a_duration_that_is_none_never_reaches_the_upstream(
    store: Store, tmp_path: Path, seconds: object
) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        status, refused = await direct_upload(rig, seconds)
        assert (status, refused["success"]) == (400, False)
        assert api.videos == {}


async def test_another_accounts_videos_are_out_of_reach(store: Store, tmp_path: Path) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        _, answer = await direct_upload(rig, 60)
        uid = answer["result"]["uid"]
        theirs = {"Authorization": f"Bearer {await rig.another()}"}
        for path in (f"{PATH}/{uid}", f"{PATH}/storage-usage", PATH):
            status, refused = await rig.ask("GET", path, theirs)
            assert (status, refused["errors"][0]["code"]) == (403, 10000)
        status, refused = await rig.ask("GET", PATH.replace(ALIAS, "other") + f"/{uid}", theirs)
        assert (status, refused["success"]) == (404, False)
        api.videos[uid].state = "error"
        await rig.settled()


async def test_keys_that_are_none_are_told_by_the_vendors_own_errors(
    store: Store, tmp_path: Path
) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        rig.key = "wrong"
        with pytest.raises(cloudflare.AuthenticationError):
            await usage(rig)


def creation(seconds: str, **more: str) -> dict[str, str]:
    said = base64.b64encode(seconds.encode()).decode()
    return {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "5000000",
        "Upload-Metadata": f"name dmlkZW8=,maxDurationSeconds {said}",
        **more,
    }


async def test_an_upload_by_tus_says_in_its_metadata_how_long_it_may_be(
    store: Store, tmp_path: Path
) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        head = bearer(rig) | creation("480", **{"Upload-Creator": "ann"})
        async with rig.session.post(f"{rig.url}{PATH}", headers=head) as answer:
            assert answer.status == 201
            assert answer.headers["Location"].startswith("https://upload.example.com/tus/")
            uid = answer.headers["stream-media-id"]
        status, refused = await rig.ask("POST", PATH, bearer(rig) | creation("121"))
        assert (status, refused["success"]) == (403, False)
        api.videos[uid].state, api.videos[uid].duration_s = "ready", 60
        await rig.ask("GET", f"{PATH}/{uid}", bearer(rig))
        for page in (await usage(rig), await usage(rig, "ann")):
            assert (page.total_storage_minutes, page.video_count) == (1, 1)


@pytest.mark.parametrize("seconds", ["", "-1", "1.5", "9" * 17, "long"])
async def test_metadata_that_say_no_duration_never_reach_the_upstream(
    store: Store, tmp_path: Path, seconds: str
) -> None:
    async with (
        StreamApi() as api,
        running(store, tmp_path, "cloudflare-stream", api.url, SMALL) as rig,
    ):
        status, refused = await rig.ask("POST", PATH, bearer(rig) | creation(seconds))
        assert (status, refused["success"]) == (400, False)
        broken = bearer(rig) | creation("1") | {"Upload-Metadata": "maxDurationSeconds %%"}
        assert (await rig.ask("POST", PATH, broken))[0] == 400
        assert api.videos == {}
