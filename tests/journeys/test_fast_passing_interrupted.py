"""What passes on the fast path without being charged ends as on the ordinary one, wherever it is
interrupted."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DRAINING, UNAUTHENTICATED, Error
from gateway.ledger.store import Store
from gateway.proxy import heads
from gateway.records.accounts import Accounts
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import (
    OK,
    PASSING,
    RATE,
    answer,
    ask,
    begun,
    client,
    counted,
    logged,
    open_connections,
    passing,
    paused,
    true,
)
from tests.journeys.rig import ACCOUNT, Way, Wishes, running
from tests.upstreams import (
    Answer,
    Hang,
    Linger,
    Repeat,
    Request,
    Send,
    Stream,
    Wait,
)

ON_EVERY_LOOP = True

BIG = b"x" * 600_000


@pytest.mark.parametrize("way", Way, ids=str)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_a_client_that_leaves_ends_what_changes_nothing(
    fake: Store, tmp_path: Path, way: Way, method: str
) -> None:
    """failure row 30"""
    rigs.way = way
    play = [Request(), OK, Request(), Linger()]
    async with passing(fake, tmp_path, play) as rig:
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", "open"))
            assert (await answer(reader))[0] == 200
            writer.write(ask(rig, method, "open"))
            await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        await rig.upstream.until(lambda: rig.upstream.open == 0)
        await true(lambda: len(logged(rig)) == 2)
        assert (logged(rig)[1]["outcome"], logged(rig)[1]["status"]) == ("client-gone", 0)


@pytest.mark.parametrize("way", Way, ids=str)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_client_that_leaves_ends_nothing_else(
    fake: Store, tmp_path: Path, way: Way, method: str
) -> None:
    """failure row 30"""
    rigs.way = way
    go_on = asyncio.Event()
    play = [Request(), OK, Request(), Wait(go_on), OK, Request()]
    async with passing(fake, tmp_path, play) as rig:
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", "open"))
            assert (await answer(reader))[0] == 200
            writer.write(ask(rig, method, "open"))
            await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        await true(lambda: not open_connections(rig))
        go_on.set()
        await true(lambda: len(logged(rig)) == 2)
        assert (logged(rig)[1]["outcome"], logged(rig)[1]["status"]) == ("client-gone", 200)


@pytest.mark.parametrize("way", Way, ids=str)
async def test_a_client_that_leaves_a_download_ends_it(
    fake: Store, tmp_path: Path, way: Way
) -> None:
    rigs.way = way
    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")
    play = [Request(), OK, Request(), head, Stream(900_000_000)]
    async with passing(fake, tmp_path, play) as rig:
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", "open"))
            assert (await answer(reader))[0] == 200
            writer.write(ask(rig, "GET", "open"))
            await reader.readexactly(1_000_000)
        await rig.upstream.until(lambda: rig.upstream.open == 0)
        await true(lambda: len(logged(rig)) == 2)
        assert logged(rig)[-1]["outcome"] == "client-gone"


async def test_a_large_answer_is_moved_by_the_kernel(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigs.way, moved, splice = Way.FAST, [], os.splice

    def counting(*args: Any, **named: Any) -> int:
        moved.append(splice(*args, **named))
        return moved[-1]

    monkeypatch.setattr(os, "splice", counting)
    play = [Request(), OK, Request(), Answer(200, body=BIG), Request(), OK]
    async with passing(fake, tmp_path, play) as rig, client(rig) as (reader, writer):
        for size in (2, len(BIG), 2):
            writer.write(ask(rig, "GET", "open"))
            assert len((await answer(reader))[1]) == size
        assert begun(rig) == 3
        assert sum(moved) > len(BIG) // 2
        assert rig.upstream.connections == 1


async def test_what_comes_behind_is_answered_behind(fake: Store, tmp_path: Path) -> None:
    rigs.way = Way.FAST
    go_on = asyncio.Event()
    play = [Request(), OK, Request(), Wait(go_on), Answer(200, body=BIG), Repeat([Request(), OK])]
    async with passing(fake, tmp_path, play) as rig, client(rig) as (reader, writer):
        writer.write(ask(rig, "GET", "open"))
        assert (await answer(reader))[0] == 200
        writer.write(ask(rig, "GET", "open"))
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        for body in (b"1", b"22", b"3" * 90_000):
            writer.write(ask(rig, "PUT", "open", body=body))
        writer.write(ask(rig, "GET", "open"))
        await asyncio.sleep(0.05)
        assert len(rig.upstream.requests) == 2
        go_on.set()
        sizes = [len((await answer(reader))[1]) for _ in range(5)]
        assert sizes == [len(BIG), 2, 2, 2, 2]
        bodies = [len(request.body) for request in rig.upstream.requests]
        assert bodies == [0, 0, 1, 2, 90_000, 0]


async def test_a_body_that_comes_later_goes_the_ordinary_way(fake: Store, tmp_path: Path) -> None:
    rigs.way = Way.FAST
    async with passing(fake, tmp_path, [Request(), OK]) as rig, client(rig) as (reader, writer):
        request = ask(rig, "PUT", "keyed", body=b"1234567890")
        writer.write(request[:-5])
        await asyncio.sleep(0.02)
        writer.write(request[-5:])
        assert (await answer(reader))[0] == 200
        assert begun(rig) == 0
        assert bytes(rig.upstream.requests[0].body) == b"1234567890"


@pytest.mark.parametrize("way", Way, ids=str)
@pytest.mark.parametrize("error", [UNAUTHENTICATED, DRAINING], ids=lambda error: str(error.code))
async def test_a_revocation_or_the_end_of_a_drain_stops_it(
    fake: Store, tmp_path: Path, way: Way, error: Error
) -> None:
    """failure rows 53 and 62"""
    rigs.way = way
    play = [Request(), OK, Request(), Linger()]
    async with (
        passing(fake, tmp_path, play, answer_timeout="20s") as rig,
        client(rig) as (reader, writer),
    ):
        writer.write(ask(rig, "GET", "keyed"))
        assert (await answer(reader))[0] == 200
        writer.write(ask(rig, "POST", "keyed", body=b"x"))
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        if error is UNAUTHENTICATED:
            rig.gateway._watchdog.stop_of(ACCOUNT, None, error)
        else:
            rig.gateway._watchdog.stop_all(error)
        assert (await answer(reader))[0] == error.status
        await rig.upstream.until(lambda: rig.upstream.open == 0)


@pytest.mark.parametrize("way", Way, ids=str)
async def test_a_route_that_has_had_its_time(fake: Store, tmp_path: Path, way: Way) -> None:
    """failure row 31"""
    rigs.way = way
    routes = PASSING.replace('"/open/{rest...}"', '"/open/{rest...}"\ntimeout = "1s"')
    wishes = Wishes(extra=routes, answer_timeout="20s")
    play = [Request(), OK, Request(), Hang()]
    async with (
        running(fake, tmp_path, play, wishes=wishes) as rig,
        client(rig) as (reader, writer),
    ):
        writer.write(ask(rig, "GET", "open"))
        assert (await answer(reader))[0] == 200
        writer.write(ask(rig, "GET", "open"))
        assert (await answer(reader))[0] == 408


@pytest.mark.parametrize("way", Way, ids=str)
async def test_a_drain_lets_it_end_and_refuses_the_next(
    fake: Store, tmp_path: Path, way: Way
) -> None:
    """failure row 53"""
    rigs.way = way
    go_on = asyncio.Event()
    play = [Request(), OK, Request(), Wait(go_on), OK]
    async with passing(fake, tmp_path, play) as rig, client(rig) as (reader, writer):
        writer.write(ask(rig, "GET", "open"))
        assert (await answer(reader))[0] == 200
        writer.write(ask(rig, "GET", "open"))
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        async with client(rig) as (another, others):
            others.write(ask(rig, "GET", "keyed")[:10])
            rig.gateway.handler.draining = True
            others.write(ask(rig, "GET", "keyed")[10:])
            assert (await answer(another))[0] == 503
        go_on.set()
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""


@pytest.mark.parametrize("way", Way, ids=str)
async def test_who_is_not_known_is_not_let_through(fake: Store, tmp_path: Path, way: Way) -> None:
    """failure row 64"""
    rigs.way = way
    async with passing(fake, tmp_path, [Repeat([Request(), OK])]) as rig:
        async with client(rig) as (reader, writer):
            good = ask(rig, "GET", "keyed")
            for request, status in (
                (good, 200),
                (good.replace(rig.key.encode(), b"qg_none"), 401),
                (good.replace(b"X-API-Key", b"X-Other"), 401),
                (good, 200),
            ):
                writer.write(request)
                assert (await answer(reader))[0] == status
            await Accounts(fake.client).suspend(ACCOUNT)
            await true(lambda: not len(rig.gateway.identities))
            writer.write(good)
            assert (await answer(reader))[0] == 403
        assert len(rig.upstream.requests) == 2


async def test_a_mistake_breaks_one_request_and_nobody_elses(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> bytes:
        raise ValueError("a mistake")

    rigs.way = Way.FAST
    async with passing(fake, tmp_path, [Repeat([Request(), OK])]) as rig:
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", "open"))
            assert (await answer(reader))[0] == 200
            with monkeypatch.context() as patch:
                patch.setattr(heads, "whole_answer", wrong)
                writer.write(ask(rig, "GET", "open"))
                assert await reader.read() == b""
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", "open"))
            assert (await answer(reader))[0] == 200
        await true(lambda: len(logged(rig)) == 3)
        assert [line["outcome"] for line in logged(rig)] == ["relayed", "internal", "relayed"]


# -- counted against a rate -----------------------------------------------------------------------


@pytest.mark.parametrize("way", Way, ids=str)
async def test_what_is_too_often_is_refused_unheard(fake: Store, tmp_path: Path, way: Way) -> None:
    rigs.way = way
    play, plan = [Repeat([Request(), OK])], 'rate = "2/1h"'
    async with passing(fake, tmp_path, play, plan=plan) as rig, client(rig) as (reader, writer):
        told = []
        for _ in range(3):
            writer.write(ask(rig, "GET", "rated"))
            told.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.read(1_000)
        assert [head[9:12] for head in told] == [b"200", b"200", b"429"]
        limit = re.compile(rb'\r\nRateLimit: "request-rate";r=(\d+);t=(?:1800|1799)\r\n')
        assert [limit.findall(head) for head in told] == [[b"1"], [b"0"], [b"0"]]
        assert len(rig.upstream.requests) == 2


async def test_the_rest_of_a_body_may_come_while_it_is_counted(fake: Store, tmp_path: Path) -> None:
    rigs.way = Way.FAST
    store, admission = paused(fake)
    play = [Repeat([Request(), OK])]
    async with passing(store, tmp_path, play, plan=RATE) as rig, client(rig) as (reader, writer):
        for late in (False, True):
            request = ask(rig, "PUT", "rated", body=b"1234567890")
            writer.write(request[:-5])
            await admission.ran.wait()
            if not late:
                writer.write(request[-5:])
                await asyncio.sleep(0.02)
            admission.go_on.set()
            if late:
                await true(lambda: begun(rig) == 2)
                writer.write(request[-5:])
            assert (await answer(reader))[0] == 200
        assert [bytes(r.body) for r in rig.upstream.requests] == [b"1234567890"] * 2
        # Counted once each.
        writer.write(ask(rig, "GET", "rated"))
        assert b"r=97" in await reader.readuntil(b"\r\n\r\n")


async def test_a_body_of_some_size_is_held_until_it_is_counted(fake: Store, tmp_path: Path) -> None:
    rigs.way = Way.FAST
    body = bytes(200_000)
    async with (
        passing(fake, tmp_path, [Repeat([Request(), OK])], plan=RATE) as rig,
        client(rig) as (reader, writer),
    ):
        writer.write(ask(rig, "PUT", "rated", body=body))
        assert (await answer(reader))[0] == 200
        assert begun(rig) == 1
        assert bytes(rig.upstream.requests[0].body) == body


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_client_that_leaves_while_it_is_counted_is_not_passed_on(
    fake: Store, tmp_path: Path, method: str
) -> None:
    """failure row 29"""
    rigs.way = Way.FAST
    store, admission = paused(fake)
    async with passing(store, tmp_path, [Request(), OK], plan=RATE) as rig:
        async with client(rig) as (_, writer):
            body = None if method == "GET" else b"1234567890"
            request = ask(rig, method, "rated", body=body)
            writer.write(request if body is None else request[:-5])
            await admission.ran.wait()
        await true(lambda: not open_connections(rig))
        admission.go_on.set()
        await true(lambda: len(logged(rig)) == 1)
        assert logged(rig)[0]["outcome"] == "client-gone"
        assert rig.upstream.connections == 0
        assert "settlement_refusals" not in str(counted(rig))


async def test_what_is_stopped_while_it_is_counted_is_not_passed_on(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 62"""
    rigs.way = Way.FAST
    store, admission = paused(fake)
    async with (
        passing(store, tmp_path, [Request(), OK], plan=RATE) as rig,
        client(rig) as (reader, writer),
    ):
        writer.write(ask(rig, "GET", "rated"))
        await admission.ran.wait()
        rig.gateway._watchdog.stop_of(ACCOUNT, None, UNAUTHENTICATED)
        assert (await answer(reader))[0] == 401
        admission.go_on.set()
        assert rig.upstream.connections == 0
