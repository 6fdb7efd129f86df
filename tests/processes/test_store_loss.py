"""Redis goes away or hangs: nothing is admitted on a guess, and what was stored gets charged."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from gateway.tasks import TaskSet
from tests.processes.clients import hammer
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import House, deployed
from tests.redis_server import RedisServer
from tests.upstreams import Answer, Request, ScriptedUpstream, Wait

SOON_S = 0.5
"""Admission gives up after 300 ms; the rest is for a machine that is busy with other tests."""

USUAL = "250ms"

Away = Callable[[RedisServer], AbstractContextManager[None]]


@contextlib.contextmanager
def killed(redis: RedisServer) -> Iterator[None]:
    """While the block runs the server is gone; it comes back with what it had written."""
    redis.kill()
    try:
        yield
    finally:
        redis.start()


GONE_OR_HANGING = pytest.mark.parametrize("away", [killed, RedisServer.paused])


@GONE_OR_HANGING
async def test_nothing_is_admitted_meanwhile(tmp_path: Path, away: Away) -> None:
    """failure row 13; failure row 15"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, store_timeout=USUAL)) as house,
    ):
        (gateway,) = house.gateways
        acme, stranger = await house.customer("acme"), await house.customer("stranger")
        line, new_line = house.kept(gateway, acme), house.kept(gateway, stranger)
        assert (await line.ask("PUT", "/files/before", b"b")).status == 201
        with away(house.redis):
            for each in (line, new_line, line):
                began = time.monotonic()
                reply = await each.ask("PUT", "/files/meanwhile", b"m" * 1_000)
                assert time.monotonic() - began < SOON_S
                assert reply.status == 503
                assert reply.headers["retry-after"] == "1"
            assert (await line.ask("GET", "/v1/quota")).status == 503
            await until(partial(_ready, gateway, wanted=False), "it says that it is not ready")
        assert len(upstream.requests) == 1
        await until(partial(_ready, gateway, wanted=True), "the store is back")
        await until(lambda: _admits(house), "it admits again")
        await house.settled(acme)
        assert await house.standing(acme) == (2, 0)


@GONE_OR_HANGING
async def test_what_was_stored_meanwhile_is_charged_afterwards(tmp_path: Path, away: Away) -> None:
    """failure row 14"""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, store_timeout=USUAL)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        uploads = [
            await house.upload(gateway, acme, f"{number}", 1_000).begin(1_000)
            for number in range(10)
        ]
        await upstream.until(lambda: sum(r.ended for r in upstream.requests) == len(uploads))
        with away(house.redis):
            began = time.monotonic()
            go_on.set()
            replies = [await upload.reply() for upload in uploads]
            assert [reply and reply.status for reply in replies] == [201] * len(uploads)
            assert time.monotonic() - began < 2 * SOON_S
            assert await gateway.metric("pending_settlements") == len(uploads)
        await house.settled(acme)
        assert await house.standing(acme) == (10_000, 0)
        assert await gateway.metric("pending_settlements") == 0


async def test_a_store_that_answers_late_has_reserved_nothing_for_good(tmp_path: Path) -> None:
    """failure row 15: 2 s, far beyond what an admission waits"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, store_timeout=USUAL)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        lines = [house.kept(gateway, acme) for _ in range(20)]
        for line in lines:
            assert (await line.ask("PUT", "/files/a", b"a")).status == 201
        with house.redis.paused():
            began = time.monotonic()
            answers = [line.ask("PUT", "/files/b", b"b" * 1_000) for line in lines]
            replies = await asyncio.gather(*answers)
            assert {reply.status for reply in replies} == {503}
            await until(lambda: time.monotonic() - began > 2, "2 s have passed")
        # What had reached the store is carried out now, and given back as soon as it is heard of:
        # long before a lease would end.
        await house.settled(acme, within_s=5)
        assert await house.standing(acme) == (1, 0)
        assert len(upstream.requests) == len(lines)


async def test_a_body_of_unknown_length_is_cut_when_it_cannot_be_covered(tmp_path: Path) -> None:
    """failure row 13: in the middle of a request, too"""
    step = 65_536
    wishes = Wishes("", store_timeout=USUAL, upload=f"grow_step = {step}")
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, wishes.but(upstream=upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        upload = house.upload(gateway, acme, "a", 10 * step, chunked=True)
        await upload.begin(step // 2)
        await upstream.until(lambda: bool(upstream.bytes_in > step // 2))
        house.redis.kill()
        await upload.send(5 * step)
        reply = await upload.reply()
        assert reply is not None
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        await upstream.until(lambda: upstream.resets == 1)
        assert upstream.requests[0].body_bytes <= step
        house.redis.start()
        await house.settled(acme)
        assert await house.standing(acme) == (0, 0)


async def test_an_upload_outlives_an_absence_longer_than_its_lease(tmp_path: Path) -> None:
    """failure row 14"""
    leases = 'lease = "3s"\nheartbeat = "1s"'
    async with (
        ScriptedUpstream() as upstream,
        deployed(
            tmp_path, Wishes(upstream.url, store_timeout=USUAL, server=leases), gateways=2
        ) as house,
    ):
        (gateway, _) = house.gateways
        acme = await house.customer("acme", storage=1_000)
        upload = await house.upload(gateway, acme, "a", 1_000).begin(500)
        await upstream.until(lambda: bool(upstream.requests))
        with killed(house.redis):
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 4, "its lease has ended")
        await until(lambda: not house.open_leases(acme), "it is reclaimed")
        await upload.send(500)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        await until(partial(_charged, house, 1_000), "it is charged")
        assert await gateway.metric("settlements_total", late="true") == 1


async def test_lost_books_are_no_fault_of_those_whose_key_went_with_them(tmp_path: Path) -> None:
    """failure row 25"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=2) as house,
    ):
        known, unknown = house.gateways
        acme = await house.customer("acme")
        lines = [house.kept(known, acme), house.kept(unknown, acme)]
        assert (await lines[0].ask("PUT", "/files/a", b"a")).status == 201
        house.foreseen.append("the store has lost its books")
        house.redis.run("FLUSHALL")
        for gateway in house.gateways:
            await until(partial(_ready, gateway, wanted=False), "the loss is noticed")
        for line in lines:
            for method, target in (("PUT", "/files/b"), ("GET", "/v1/quota")):
                reply = await line.ask(method, target)
                assert (reply.status, reply.headers["retry-after"]) == (503, "1")
                assert b"store-lost" in reply.body
        assert len(upstream.requests) == 1
        house.customers.clear()


async def test_scripts_that_are_flushed_all_the_time_cost_no_request(tmp_path: Path) -> None:
    """failure row 18"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=2) as house,
    ):
        acme = await house.customer("acme")
        tasks = TaskSet()
        load = tasks.start(
            hammer(
                [gateway.port for gateway in house.gateways],
                acme.key,
                (f"/files/{number}" for number in range(2_000)),
                b"f",
                lines=32,
            ),
            name="load",
        )
        while not load.done():
            await asyncio.to_thread(house.redis.run, "SCRIPT", "FLUSH")
            await asyncio.wait([load], timeout=0.01)
        assert await load == {201: 2_000}
        assert await house.standing(acme) == (2_000, 0)


async def _charged(house: House, used: int) -> bool:
    return await house.standing(house.customers[0]) == (used, 0)


async def _ready(gateway: GatewayProcess, *, wanted: bool) -> bool:
    return await gateway.ready() is wanted


async def _admits(house: House) -> bool:
    line = house.kept(house.gateways[0], house.customers[0])
    reply = await line.ask("PUT", "/files/after", b"a")
    line.close()
    return reply.status == 201
