"""Wowza Video behind the gateway: what viewers receive is what `/usage` tells, to the byte."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.ledger.store import Store
from gateway.records.subjects import SubjectFacts
from tests.presets.rig import ACCOUNT, PresetRig, running
from tests.upstreams import ScriptedUpstream

USAGE = "/api/v1.8/usage"
VIDEO = bytes(range(256)) * 400


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def usage(rig: PresetRig, page: str) -> Any:
    status, document = await rig.ask("GET", f"{USAGE}/{page}", bearer(rig.key))
    assert status == 200, document
    return document


async def upload(rig: PresetRig, path: str, body: bytes = VIDEO) -> None:
    async with rig.session.put(f"{rig.url}{path}", data=body, headers=bearer(rig.key)) as answer:
        assert answer.status == 201


async def view(rig: PresetRig, path: str, **headers: str) -> int:
    """The bytes that a viewer received."""
    async with rig.session.get(f"{rig.url}{path}", headers=headers) as answer:
        assert answer.status in (200, 206)
        return len(await answer.read())


async def test_what_three_viewers_of_a_vod_stream_receive(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        await upload(rig, "/vod/v1/a.mp4")
        await upload(rig, "/vod/v2/b.mp4", b"x" * 10)
        received = await asyncio.gather(*(view(rig, "/vod/v1/a.mp4") for _ in range(3)))
        await rig.settled()
        one = (await usage(rig, "vod_streams/v1"))["vod_stream"]
        assert one["viewing_bytes"] == sum(received) == 3 * len(VIDEO)
        assert one["viewing_seconds"] >= 3
        assert one["avg_viewing_seconds"] == one["viewing_seconds"] / 3
        summary = (await usage(rig, "vod_streams/summary"))["summary"]
        account = (await usage(rig, "accounts"))["accounts"]
        for page in (summary, account):
            assert page["viewing_bytes"] == one["viewing_bytes"]
            assert page["viewing_seconds"] == one["viewing_seconds"]
        assert sum(sample["viewing_bytes"] for sample in account["trend"]) == one["viewing_bytes"]
        listed = await usage(rig, "vod_streams")
        assert [stream["id"] for stream in listed["vod_streams"]] == ["v1", "v2"]
        assert (await usage(rig, "storage/peak"))["bytes"] == len(VIDEO) + 10
        assert (await usage(rig, "stream_targets"))["stream_targets"] == []


async def test_a_peak_outlives_what_it_was(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        await upload(rig, "/vod/v1/a.mp4")
        async with rig.session.delete(f"{rig.url}/vod/v1/a.mp4", headers=bearer(rig.key)) as answer:
            assert answer.status == 204
        assert (await usage(rig, "storage/peak"))["bytes"] == len(VIDEO)
        long_ago = "storage/peak?from=2020-01-01&to=2020-06-30"
        assert (await usage(rig, long_ago))["bytes"] == 0


async def test_live_transcoded_and_real_time(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        for path in (f"/live/{ACCOUNT}/t1/x.ts", "/transcoders/tr1/x.ts", "/realtime/r1"):
            upstream.stored[path.encode()] = VIDEO
        facts = SubjectFacts(store.client)
        await facts.set(ACCOUNT, "stream_target", "t1", {"name": "Main", "archived": True})
        await view(rig, f"/live/{ACCOUNT}/t1/x.ts")
        await view(rig, "/transcoders/tr1/x.ts", **bearer(rig.key))
        await upload(rig, "/realtime/r1", b"y" * 70)
        await view(rig, "/realtime/r1", **bearer(rig.key))
        await rig.settled()
        target = (await usage(rig, "stream_targets/t1"))["stream_target"]
        assert (target["name"], target["archived"]) == ("Main", True)
        assert target["viewing_bytes"] == len(VIDEO)
        transcoder = (await usage(rig, "transcoders/tr1"))["transcoder"]
        assert transcoder["egress_bytes"] == len(VIDEO)
        (stream,) = (await usage(rig, "real_time_streams"))["real_time_streams"]
        assert (stream["bytes_in"], stream["bytes_out"]) == (70, 70)
        account = (await usage(rig, "accounts"))["accounts"]
        assert (account["viewing_bytes"], account["egress_bytes"]) == (len(VIDEO), len(VIDEO))


async def test_ranges(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        await upload(rig, "/vod/v1/a.mp4")
        await view(rig, "/vod/v1/a.mp4")
        await rig.settled()
        now = datetime.now(UTC)  # noqa: TID251
        today, tomorrow = f"{now:%Y-%m-%d}", f"{now + timedelta(days=1):%Y-%m-%d}"
        for query in (
            f"from={today}",
            f"from={today}&to={tomorrow}",
            f"from={quote(f'{now:%Y-%m-%d} 00:00:00')}&to={tomorrow}",
            f"from={now:%Y-%m-%d}+00:00:00",
            f"from={today}T00:00:00Z&to={tomorrow}T00:00:00%2B00:00",
            "from=last_bill_date",
            "",
        ):
            page = await usage(rig, f"vod_streams/v1?{query}")
            assert page["vod_stream"]["viewing_bytes"] == len(VIDEO), query
        page = await usage(rig, "vod_streams/v1?from=2022-04-07&to=2022-04-08")
        assert page["vod_stream"]["viewing_bytes"] == 0
        assert page["limits"] == {
            "from": "2022-04-07T00:00:00.000Z",
            "to": "2022-04-08T00:00:00.000Z",
        }
        for query in ("from=2022-01-01&to=2022-04-02", "from=yesterday", "from=2022-02-30"):
            status, refused = await rig.ask("GET", f"{USAGE}/accounts?{query}", bearer(rig.key))
            assert (status, refused["meta"]["code"]) == (422, "ERR-422-RecordInvalid"), query


async def test_pages_by_key_and_by_number(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        subjects = rig.gateway._sources.subjects
        names = [f"s{number:02}" for number in range(25)]
        await subjects.add(ACCOUNT, "vod_stream", *names)
        await subjects.add(ACCOUNT, "transcoder", *names)
        seen, key = [], ""
        while key is not None:
            page = await usage(rig, f"vod_streams?per_page=10&next_page_key={key}")
            seen += [stream["id"] for stream in page["vod_streams"]]
            key = page["pagination"]["next_page_key"]
            assert page["pagination"]["total_records"] == 25
        assert seen == names
        page = await usage(rig, "transcoders?page=3&per_page=10")
        assert [one["id"] for one in page["transcoders"]] == names[20:]
        assert page["pagination"] == {
            "payload_version": 1.0, "page": 3, "page_first_index": 20, "page_last_index": 24,
            "per_page": 10, "total_pages": 3, "total_records": 25,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1.8/usage/vod_streams/nothing", (404, "ERR-404-RecordNotFound")),
        ("/api/v1.4/usage/vod_streams", (404, "ERR-404-RecordNotFound")),
        ("/api/vx/usage/accounts", (404, "ERR-404-RecordNotFound")),
        ("/api/v1.8/usage/transcoders?per_page=0", (422, "ERR-422-RecordInvalid")),
        ("/api/v1.8/usage/vod_streams?next_page_key=%00", (422, "ERR-422-RecordInvalid")),
    ],
)
async def test_what_cannot_be_told(
    store: Store, tmp_path: Path, path: str, expected: tuple[int, str]
) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        status, refused = await rig.ask("GET", path, bearer(rig.key))
        assert (status, refused["meta"]["code"]) == expected
        status, refused = await rig.ask("GET", path, {})
        assert (status, refused["meta"]["code"]) == (401, "ERR-401-NoApiKey")


async def test_another_accounts_streams_are_unknown(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "wowza", upstream.url) as rig,
    ):
        await upload(rig, "/vod/v1/a.mp4")
        theirs = bearer(await rig.another())
        status, refused = await rig.ask("GET", f"{USAGE}/vod_streams/v1", theirs)
        assert (status, refused["meta"]["code"]) == (404, "ERR-404-RecordNotFound")
        status, page = await rig.ask("GET", f"{USAGE}/vod_streams", theirs)
        assert (status, page["vod_streams"]) == (200, [])
