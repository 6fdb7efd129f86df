"""Requests whose JSON says what they may use: judged first, charged as they said."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from gateway.tasks import TaskSet
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Request, Reset, Wait

COMMANDS = """
[meters.commands]
kind = "cumulative"
unit = "count"

[[routes]]
name = "commands"
methods = ["POST"]
path = "/commands"
upstream = "files"
policy = "pass"
protocol = "document"
reserve = { commands = { json = "commands", count = true } }
capped = { duration = "max_duration" }
body_max = "1KiB"
doubt_lease = "1s"
"""
PLAN = """
caps = { duration = 60 }
key_limits = { commands = 5 }
"""
WISHES = Wishes(extra=COMMANDS, plan=PLAN)


async def send(rig: Rig, count: int, **more: Any) -> tuple[int, Any]:
    document = {"commands": list(range(count)), **more}
    async with rig.session.post(
        f"{rig.url}/commands", json=document, headers=rig.headers
    ) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_each_command_counts_and_all_or_none_are_let_through(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        assert (await send(rig, 3))[0] == 201
        assert await rig.standing("commands") == (3, 0)
        status, denied = await send(rig, 3)
        assert (status, denied["code"], denied["requested"]) == (403, "quota-exceeded", 3)
        assert (await send(rig, 2))[0] == 201
        assert await rig.standing("commands") == (5, 0)
        assert len(rig.upstream.requests) == 2
        assert json.loads(rig.upstream.requests[0].body) == {"commands": [0, 1, 2]}


async def test_what_the_plan_caps_is_refused_before_the_upstream_hears(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        status, refused = await send(rig, 1, max_duration=61)
        assert (status, refused["code"]) == (403, "duration-too-long")
        status, refused = await send(rig, 1, filler="x" * 2_000)
        assert (status, refused["code"]) == (413, "file-too-large")
        assert rig.upstream.requests == []
        assert (await send(rig, 1, max_duration=60))[0] == 201
        assert await rig.standing("commands") == (1, 0)


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_what_the_upstream_refuses_is_given_back(
    store: Store, tmp_path: Path, status: int
) -> None:
    async with running(store, tmp_path, [Request(), Answer(status)], wishes=WISHES) as rig:
        assert (await send(rig, 5))[0] == status
        assert await rig.standing("commands") == (0, 0)


async def test_an_upstream_that_breaks_off_leaves_it_in_doubt_and_then_free(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, [Request(), Reset()], wishes=WISHES) as rig:
        assert (await send(rig, 5))[0] == 502
        await rig.settled()
        assert await rig.standing("commands") == (0, 0)


async def test_a_client_that_leaves_is_charged_for_what_is_done(
    store: Store, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    script = [Request(), Wait(go_on), Answer(201)]
    async with running(store, tmp_path, script, wishes=WISHES) as rig:
        sending = TaskSet().start(send(rig, 4), name="send")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 1)
        sending.cancel()
        go_on.set()
        await rig.settled()
        assert await rig.standing("commands") == (4, 0)


async def test_a_named_request_is_charged_once(store: Store, tmp_path: Path) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        for _ in range(3):
            async with rig.session.post(
                f"{rig.url}/commands",
                json={"commands": [1, 2]},
                headers=rig.headers | {"Idempotency-Key": "n-1"},
            ) as answer:
                assert answer.status == 201
        assert await rig.standing("commands") == (2, 0)
        assert len(rig.upstream.requests) == 1
