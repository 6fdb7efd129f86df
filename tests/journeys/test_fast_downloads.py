"""Small downloads on the fast path are answered and then charged, whatever happens in between."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import DRAINING
from gateway.ledger.store import Store
from gateway.proxy.passing import Passing
from tests.cable import Cable
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import Paused, answer, ask, begun, client, logged, passing, true
from tests.journeys.rig import Rig, Way, Wishes, running
from tests.upstreams import Answer, Repeat, Request

ON_EVERY_LOOP = True

PLAY = [Repeat([Request(), Answer(200, body=b"0123456789")])]


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


def let_pass(store: Store) -> Paused:
    settlement = Paused(store.settlement)
    settlement.go_on.set()
    return settlement


async def warm(rig: Rig) -> None:
    """From now on there is a connection to the upstream that was used before."""
    async with client(rig) as (reader, writer):
        writer.write(ask(rig, "GET", "open"))
        assert (await answer(reader))[0] == 200


def hold_up(settlement: Paused) -> None:
    settlement.ran.clear()
    settlement.go_on.clear()


async def test_the_next_request_waits_until_it_is_charged(fake: Store, tmp_path: Path) -> None:
    settlement = let_pass(fake)
    async with (
        passing(replace(fake, settlement=settlement), tmp_path, PLAY) as rig,
        client(rig) as (reader, writer),
    ):
        await warm(rig)
        hold_up(settlement)
        writer.write(ask(rig, "GET", "download"))
        await settlement.ran.wait()
        assert (await answer(reader))[0] == 200
        writer.write(ask(rig, "GET", "download"))
        async with client(rig) as (another, others):
            others.write(ask(rig, "PUT", "open", body=b"x"))
            assert (await answer(another))[0] == 200  # by the connection that is free again
        assert (len(rig.upstream.requests), rig.upstream.connections) == (3, 1)
        settlement.go_on.set()
        assert (await answer(reader))[0] == 200
        await rig.settled()
        assert await rig.standing("egress_bytes") == (20, 0)
        assert begun(rig) == 4


@pytest.mark.parametrize("by", ["client", "drain"])
async def test_what_is_answered_cannot_be_stopped_any_more(
    fake: Store, tmp_path: Path, by: str
) -> None:
    settlement = let_pass(fake)
    async with passing(replace(fake, settlement=settlement), tmp_path, PLAY) as rig:
        await warm(rig)
        async with client(rig) as (reader, writer):
            hold_up(settlement)
            writer.write(ask(rig, "GET", "download"))
            await settlement.ran.wait()
            assert (await answer(reader))[0] == 200
            if by == "drain":
                rig.gateway._watchdog.stop_all(DRAINING)
        await asyncio.sleep(0.02)
        settlement.go_on.set()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (10, 0)
        await true(lambda: len(logged(rig)) == 2)
        assert (logged(rig)[1]["outcome"], logged(rig)[1]["answer_bytes"]) == ("relayed", 10)
        assert len(rig.upstream.requests) == 2


@pytest.mark.parametrize("by", ["client", "drain"])
@pytest.mark.parametrize("sent", [False, True])
async def test_what_is_stopped_as_it_is_carried_on_holds_nothing(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, sent: bool
) -> None:
    """failure row 30: in the same turn of the loop, before the ordinary path has begun. Else what
    it holds is free when its lease ends, and the upstream's connection never again."""
    carry_on = Passing._carry_on

    def stopped(errand: Passing) -> None:
        carry_on(errand)
        if by == "client":
            errand.client_gone()
        else:
            rig.gateway._watchdog.stop_all(DRAINING)

    play = [Repeat([Request(), Answer(200, body=b"x" * 50_000)])]
    async with passing(fake, tmp_path, play) as rig, client(rig) as (_, writer):
        if sent:
            await warm(rig)
        with monkeypatch.context() as patched:
            patched.setattr(Passing, "_carry_on", stopped)
            writer.write(ask(rig, "GET", "download"))
            await true(lambda: len(logged(rig)) == 1 + sent)
        await rig.settled(within_s=2.0)
        pool = rig.gateway.handler.live.pools["files"]
        await true(lambda: pool.open == pool.idle)


async def test_what_the_store_cannot_take_is_charged_later(fake: Store, tmp_path: Path) -> None:
    """failure row 14"""
    settlement = Cable(fake.settlement)
    async with (
        passing(replace(fake, settlement=settlement), tmp_path, PLAY) as rig,
        client(rig) as (reader, writer),
    ):
        await warm(rig)
        settlement.cut = True
        writer.write(ask(rig, "GET", "download"))
        assert (await answer(reader))[1] == b"0123456789"
        await true(lambda: len(logged(rig)) == 2)
        assert (logged(rig)[1]["outcome"], logged(rig)[1]["answer_bytes"]) == ("relayed", 10)
        settlement.cut = False
        await true(lambda: not rig.gateway.metrics.pending_settlements.now())
        assert await rig.standing("egress_bytes") == (10, 0)
        writer.write(ask(rig, "GET", "download"))
        assert (await answer(reader))[0] == 200
        await rig.settled()
        assert await rig.standing("egress_bytes") == (20, 0)


TOUCH = """
[[routes]]
name = "touch"
methods = ["POST"]
path = "/touch/{name...}"
upstream = "files"
policy = "pass"
reserve = { uploads = 1 }
asset = "files/{name}"
"""


async def test_what_only_passes_changes_nothing_of_what_is_stored(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, wishes=Wishes(extra=TOUCH)) as rig:
        await rig.put("a", b"x" * 100)
        async with rig.session.post(
            f"{rig.url}/touch/a", data=b"x", headers=rig.headers
        ) as answered:
            assert answered.status == 201
        assert begun(rig) == 2
        assert await rig.standing() == (100, 0)
        assert await rig.standing("uploads") == (2, 0)
