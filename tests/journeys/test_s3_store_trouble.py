"""A store that goes away while S3 is served: closed before the upstream, and no byte lost."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisGoneError

from gateway.ledger.store import Store
from gateway.tasks import TaskSet
from tests.cable import Cable
from tests.journeys.s3_rig import (
    GONE,
    Both,
    completed,
    created,
    failed,
    ok,
    s3_running,
    source,
    xml,
)
from tests.upstreams import Step, Wait

COPIED = xml("<CopyObjectResult/>")


class Rows:
    """A client of Redis that fails on some of its commands."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.away: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self.away:
            return self._fail
        return getattr(self._client, name)

    async def _fail(self, *_: object, **__: object) -> None:
        raise RedisGoneError("away")


def unsteady(store: Store) -> tuple[Store, Rows, Cable]:
    rows, cable = Rows(store.client), Cable(store.admission)
    return replace(store, client=rows, admission=cable, settlement=cable), rows, cable  # type: ignore[arg-type]


def until(event: asyncio.Event, answer: Step) -> Step:
    return Both(Wait(event), answer)


async def test_without_its_rows_nothing_of_an_upload_goes_on(fake: Store, tmp_path: Path) -> None:
    """failure row 13 (of an upload)"""
    store, rows, _ = unsteady(fake)
    async with s3_running(store, tmp_path, created(), created(), ok(status=204)) as it:
        rows.away = {"eval"}
        answer = await it.create()  # The upstream has it, and nobody could go on with it.
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert await it.standing() == (0, 0)
        rows.away = set()
        await it.create()
        rows.away = {"eval"}
        slow = await it.part(1, 10)
        assert (slow.status, slow.code) == (503, "SlowDown")
        assert slow.headers["Retry-After"]
        rows.away = {"hmget"}
        assert (await it.complete(1)).code == "SlowDown"
        assert (await it.abort()).code == "SlowDown"
        assert len(it.rig.upstream.requests) == 2
        rows.away = set()
        await it.abort()


async def test_a_part_that_could_not_be_noted_counts_as_what_it_may_be(
    fake: Store, tmp_path: Path
) -> None:
    go_on, background = asyncio.Event(), TaskSet()
    store, rows, _ = unsteady(fake)
    steps = (created(), until(go_on, ok()), completed())
    async with s3_running(store, tmp_path, *steps) as it:
        await it.create()
        part = background.start(it.part(1, 1_000), name="part")
        await it.rig.upstream.until(lambda: len(it.rig.upstream.requests) == 2)
        rows.away = {"eval"}
        go_on.set()
        assert (await part).status == 200
        rows.away = set()
        await it.complete(1)
        assert await it.standing() == (1_000, 0)


@pytest.mark.parametrize("end", [completed(), ok(status=204)])
async def test_an_end_that_could_not_be_noted_is_settled(
    fake: Store, tmp_path: Path, end: Step
) -> None:
    """failure row 14 (of an upload)"""
    go_on, background = asyncio.Event(), TaskSet()
    store, rows, _ = unsteady(fake)
    done = end == completed()
    steps = (created(), ok(), until(go_on, end), completed() if done else GONE)
    async with s3_running(store, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        ending = background.start(it.complete(1) if done else it.abort(), name="end")
        await it.rig.upstream.until(lambda: len(it.rig.upstream.requests) == 3)
        rows.away = {"eval", "delete"}
        go_on.set()
        assert (await ending).status in (200, 204)
        rows.away = set()
        expected = (1_000, 0) if done else (0, 0)
        assert await it.standing() == expected
        assert (await (it.complete(1) if done else it.abort())).status in (200, 404)
        assert await it.standing() == expected


async def test_a_copy_on_an_open_plan_is_charged_later(fake: Store, tmp_path: Path) -> None:
    """failure row 13 (of a copy)"""
    store, _, cable = unsteady(fake)
    plan, more = 'on_store_failure = { open = "5KiB" }', "copy_max = 1000"
    steps = (ok(), COPIED, failed("InternalError", 200), COPIED)
    async with s3_running(store, tmp_path, *steps, plan=plan, more=more) as it:
        await it.ask("PUT", "/bucket/k", body=b"x")
        cable.cut = True
        assert (await it.ask("PUT", "/bucket/a", source("/o/k"))).status == 200
        assert (await it.ask("PUT", "/bucket/b", source("/o/k"))).code == "InternalError"
        await it.rig.upstream.until(lambda: len(it.rig.upstream.requests) == 3)
        cable.cut = False
        async with asyncio.timeout(10):
            while it.rig.gateway.metrics.pending_settlements.now():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await it.standing() == (1_001, 0)
        await it.rig.upstream.__aexit__()
        cable.cut = True
        assert (await it.ask("PUT", "/bucket/c", source("/o/k"))).status == 502
        cable.cut = False
        assert await it.standing() == (1_001, 0)
