"""Small uploads on the fast path, out of a block: as on the ordinary one, and settled once."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.ratelimit_headers import Fields
from gateway.errors import UNAUTHENTICATED, StoreError
from gateway.ledger import blocks
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import (
    INGEST,
    answer,
    begun,
    block_opened,
    client,
    counted,
    logged,
    open_connections,
    put,
    true,
)
from tests.journeys.rig import Rig, Way, Wishes, running
from tests.ledger.lossy import Lossy
from tests.upstreams import Answer, Close, Drip, Hang, Repeat, Request, Wait

BLOCK = "block = { storage_bytes = 1_000, uploads = 100 }"
WISHES = Wishes(plan=BLOCK, extra=INGEST)


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


def head(rig: Rig, name: str, length: int, *lines: str) -> bytes:
    return put(rig, f"ingest/{name}", length, *lines)


async def given_back(rig: Rig) -> tuple[int, int]:
    """What is used and reserved when no block is out any more."""
    await rig.gateway.ledger.stop()
    await rig.settled()
    return await rig.standing()


async def test_answer_log_and_metrics_are_those_of_the_ordinary_path(tmp_path: Path) -> None:
    seen: dict[Way, Any] = {}
    for way in Way:
        rigs.way = way
        store, play = Store.fake(), Repeat([Request(), Answer(201, [(b"X-A", b"1")], b"ok")])
        (directory := tmp_path / way).mkdir()
        async with running(store, directory, [play], wishes=WISHES) as rig:
            rig.gateway.ledger.hot = 0
            await block_opened(rig)
            async with client(rig) as (reader, writer):
                told = []
                for number, size in enumerate((5, 0, 700)):
                    writer.write(head(rig, f"a{number}", size, f"X-Request-Id: r{number}"))
                    writer.write(b"x" * size)
                    told.append(await reader.readuntil(b"ok"))
            if way is Way.FAST:
                assert begun(rig) == 3
            await true(lambda: len(logged(rig)) == 3)
            heard = [
                re.sub(rb"127.0.0.1:\d+|Port: \d+", b"", r.head) for r in rig.upstream.requests
            ]
            seen[way] = told, logged(rig), counted(rig), heard, await given_back(rig)
        await store.close()
    assert seen[Way.FAST] == seen[Way.ORDINARY]
    # As the account stood when the block was opened: all of it is reserved.
    assert all(b'RateLimit: "storage_bytes";r=999000' in each for each in seen[Way.FAST][0])


ENDINGS: dict[str, tuple[Sequence[Any], int, int]] = {
    "whole": ([Answer(200, body=b"yes")], 200, 4),
    "in pieces": ([Drip(Answer(200, body=b"slowly").wire(), 9)], 200, 4),
    "large": ([Answer(200, body=b"x" * 100_000)], 200, 4),
    "to its end": ([Answer(200, body=b"all", length=None), Close()], 200, 4),
    "refused": ([Answer(500, body=b"no")], 500, 0),
    "too late": ([Hang()], 504, 0),
}


@pytest.mark.parametrize("over", ["served", "retired", "closed"])
@pytest.mark.parametrize("kind", ENDINGS)
async def test_whatever_the_answer_is_the_books_are_right(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, over: str
) -> None:
    """And whether the block still serves by then, takes back only, or is closed."""
    steps, status, used = ENDINGS[kind]
    if over != "served":
        monkeypatch.setattr(blocks, "SERVES_S", 0.05)
    monkeypatch.setattr(blocks, "COMES_BACK_S", 60.0 if over == "retired" else 0.0)
    go_on = asyncio.Event()
    play = [Request(), Answer(201), Request(), Wait(go_on), *steps]
    wishes = Wishes(
        plan=BLOCK,
        extra=INGEST + 'doubt_lease = "1s"',
        answer_timeout="1s" if kind == "too late" else "20s",
    )
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        (block,) = rig.gateway.ledger._shares.values()
        await true(lambda: over == "served" or block.retired)
        await true(lambda: over != "closed" or (block.closed is not None and block.closed.is_set()))
        go_on.set()
        told = await reader.readuntil(b"\r\n\r\n")
        assert (begun(rig), int(told[9:12])) == (2, status)
        assert await given_back(rig) == (1 + used, 0)


async def test_the_rest_of_a_body_may_come_later(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, wishes=WISHES) as rig, client(rig) as (reader, writer):
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        writer.write(head(rig, "a", 10) + b"12345")
        await true(lambda: begun(rig) == 1)
        writer.write(b"67890")
        assert (await answer(reader))[0] == 201
        assert [bytes(r.body) for r in rig.upstream.requests] == [b"1234567890"]
        assert await given_back(rig) == (10, 0)


async def test_a_client_that_leaves_holds_nothing(fake: Store, tmp_path: Path) -> None:
    """failure rows 29 and 30"""
    go_on = asyncio.Event()
    play = [Request(), Wait(go_on), Answer(201)]
    async with running(fake, tmp_path, play, wishes=WISHES) as rig:
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        async with client(rig) as (_, writer):
            writer.write(head(rig, "a", 10) + b"12345")
            await true(lambda: begun(rig) == 1)
        await true(lambda: open_connections(rig) == 0)
        assert rig.gateway.ledger._shares == {}
        async with client(rig) as (_, writer):
            writer.write(head(rig, "b", 3) + b"all")
            await rig.upstream.until(lambda: len(rig.upstream.requests) == 1)
        await true(lambda: open_connections(rig) == 0)
        go_on.set()
        await true(lambda: rig.gateway.ledger._shares == {})
        assert await given_back(rig) == (3, 0)
        await true(lambda: len(logged(rig)) == 2)
        assert [line["outcome"] for line in logged(rig)] == ["client-gone"] * 2


async def test_a_key_that_is_cut_stops_what_runs_under_it(fake: Store, tmp_path: Path) -> None:
    """failure row 62"""
    play = [Request(), Hang()]
    wishes = Wishes(plan=BLOCK, extra=INGEST + 'doubt_lease = "1s"')
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 1)
        rig.gateway._watchdog.stop_of("acme", None, UNAUTHENTICATED)
        assert (await answer(reader))[0] == 401
        assert (await rig.standing())[1] == 1_000  # in doubt: it was sent
        assert await given_back(rig) == (0, 0)


async def test_a_mistake_breaks_one_request_and_nobody_elses(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> bytes:
        raise ValueError("a mistake")

    async with running(fake, tmp_path, wishes=WISHES) as rig:
        async with client(rig) as (reader, writer):
            writer.write(head(rig, "warm", 1) + b"x")
            assert (await answer(reader))[0] == 201
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        with monkeypatch.context() as patch:
            patch.setattr(Fields, "lines", wrong)
            async with client(rig) as (reader, writer):
                writer.write(head(rig, "a", 4) + b"body")
                assert await reader.read() == b""
        async with client(rig) as (reader, writer):
            writer.write(head(rig, "b", 2) + b"xx")
            status, body = await answer(reader)
            assert (status, json.loads(body)["size"]) == (201, 2)
        assert await given_back(rig) == (7, 0)  # it was charged before


class Losing(Lossy):
    """What is done once a reply has been lost."""

    then: Callable[[], Awaitable[None]]

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        try:
            return await super().run(script, keys, args)
        except StoreError:
            await self.then()
            raise


async def test_what_the_store_may_have_reserved_is_not_taken_out_of_a_block_as_well(
    fake: Store, tmp_path: Path
) -> None:
    admission = Losing(fake.admission)
    store = replace(fake, admission=admission)
    async with running(store, tmp_path, wishes=WISHES) as rig, client(rig) as (reader, writer):

        async def opened() -> None:
            rig.gateway.ledger.hot = 0
            await block_opened(rig)

        admission.then, admission.lose = opened, "reply"
        writer.write(head(rig, "a", 4) + b"body")
        assert (await answer(reader))[0] == 201
        assert begun(rig) == 1
        assert [block.spent["uploads"] for block in rig.gateway.ledger._blocks] == [0]
        assert await given_back(rig) == (4, 0)


async def test_what_a_block_cannot_give_is_asked_of_the_store(fake: Store, tmp_path: Path) -> None:
    """More than a whole block at once, and where the limit leaves no room for one."""
    wishes = Wishes(plan=BLOCK, extra=INGEST)
    async with running(fake, tmp_path, wishes=wishes) as rig, client(rig) as (reader, writer):
        ledger = rig.gateway.ledger
        ledger.hot = 0
        await block_opened(rig)
        (block,) = ledger._blocks
        for size in (2_000, 300):
            writer.write(head(rig, f"{size}", size) + b"x" * size)
            assert (await answer(reader))[0] == 201
        assert ledger._blocks == {block}
        shares = "quota_gateway_block_shares_total"
        assert counted(rig)[shares] == "2.0"  # the first of them was for the test itself
        assert block.spent["storage_bytes"] == 300
        assert await given_back(rig) == (2_300, 0)
        filled = 1_000_000 - 2_300 - 50
        writer.write(head(rig, "fill", filled) + b"x" * filled)
        assert (await answer(reader))[0] == 201
        denied = 0
        for _ in range(20):
            writer.write(head(rig, "last", 60) + b"x" * 60)
            status, _ = await answer(reader)
            denied += status == 403
        assert denied == 20
        writer.write(head(rig, "fits", 50) + b"x" * 50)
        assert (await answer(reader))[0] == 201
        assert await given_back(rig) == (1_000_000, 0)
