"""The fast path: what it takes ends as on the ordinary one, wherever it is interrupted."""

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.ratelimit_headers import Fields
from gateway.errors import UNAUTHENTICATED
from gateway.ledger.store import Store
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import (
    answer,
    begun,
    client,
    counted,
    logged,
    open_connections,
    paused,
    put,
    true,
)
from tests.journeys.rig import Rig, Way, Wishes, running
from tests.upstreams import Answer, Close, Drip, Hang, Repeat, Request, Send, Wait

ON_EVERY_LOOP = True


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


def head(rig: Rig, name: str, length: int, *lines: str) -> bytes:
    return put(rig, f"files/{name}", length, *lines)


async def test_answer_log_and_metrics_are_those_of_the_ordinary_path(
    fake: Store, tmp_path: Path
) -> None:
    seen: dict[Way, Any] = {}
    for way in Way:
        rigs.way = way
        store, wishes = Store.fake(), Wishes(plan='rate = "100/1h"')
        play = Repeat([Request(), Answer(201, [(b"RateLimit", b"theirs"), (b"X-A", b"1")], b"ok")])
        (directory := tmp_path / way).mkdir()
        async with running(store, directory, [play], wishes=wishes) as rig:
            async with client(rig) as (reader, writer):
                told = []
                for number, size in enumerate((5, 0, 700)):
                    writer.write(head(rig, f"a%20b{number}?q=1", size, f"X-Request-Id: r{number}"))
                    writer.write(b"x" * size)
                    told.append(await reader.readuntil(b"ok"))
            if way is Way.FAST:
                assert begun(rig) == 3
            await true(lambda: len(logged(rig)) == 3)
            heard = [
                re.sub(rb"127.0.0.1:\d+|Port: \d+", b"", r.head) for r in rig.upstream.requests
            ]
            bodies = [bytes(request.body) for request in rig.upstream.requests]
            seen[way] = told, logged(rig), counted(rig), heard, bodies, await rig.standing()
        await store.close()
    assert seen[Way.FAST] == seen[Way.ORDINARY]


async def test_a_store_that_has_lost_its_scripts_is_given_them_again(
    store: Store, tmp_path: Path
) -> None:
    """failure row 17"""
    async with running(store, tmp_path) as rig:
        assert (await rig.put("a", b"x"))[0] == 201
        await store.client.script_flush()
        assert (await rig.put("b", b"x"))[0] == 201
        assert (await rig.put("c", b"x"))[0] == 201
        assert await rig.standing() == (3, 0)


async def test_the_rest_of_a_body_may_come_before_and_after_the_grant(
    fake: Store, tmp_path: Path
) -> None:
    store, admission = paused(fake)
    async with running(store, tmp_path) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "a", 10) + b"12345")
        await admission.ran.wait()
        writer.write(b"67890")
        await true(lambda: rig.upstream.connections == 0)
        await asyncio.sleep(0.02)
        admission.go_on.set()
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "b", 10) + b"12345")
        await true(lambda: begun(rig) == 2)
        await true(lambda: len(rig.upstream.requests) == 2)
        writer.write(b"67890")
        assert (await answer(reader))[0] == 201
        assert [bytes(r.body) for r in rig.upstream.requests] == [b"1234567890"] * 2
        assert await rig.standing() == (20, 0)


async def test_a_client_that_leaves_before_its_body_is_whole_holds_nothing(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 29"""
    store, admission = paused(fake)
    async with running(store, tmp_path) as rig:
        async with client(rig) as (_, writer):
            writer.write(head(rig, "a", 10) + b"12345")
            await admission.ran.wait()
        await true(lambda: open_connections(rig) == 0)
        admission.go_on.set()
        assert (await rig.settled()).open_count == 0
        await true(lambda: bool(logged(rig)))
        assert [line["outcome"] for line in logged(rig)] == ["client-gone"]
        assert rig.upstream.connections == 0
        assert await rig.standing() == (0, 0)


async def test_a_client_that_leaves_after_its_last_byte_is_charged(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 30"""
    go_on = asyncio.Event()
    warm = [Request(), Answer(201), Request(), Wait(go_on), Answer(201)]
    async with running(fake, tmp_path, warm) as rig:
        assert await put_without_json(rig, "warm", b"x") == 201
        async with client(rig) as (_, writer):
            writer.write(head(rig, "a", 10) + b"1234567890")
            await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        await true(lambda: open_connections(rig) == 1)
        go_on.set()
        await rig.settled()
        assert await rig.standing() == (11, 0)
        await true(lambda: len(logged(rig)) == 2)
        assert logged(rig)[-1]["outcome"] == "client-gone"


async def put_without_json(rig: Rig, name: str, body: bytes) -> int:
    async with rig.session.put(
        f"{rig.url}/files/{name}", data=body, headers=rig.headers
    ) as answered:
        await answered.read()
        return answered.status


SECOND: dict[str, tuple[Sequence[Any], int, tuple[int, int]]] = {
    "whole": ([Answer(200, body=b"yes")], 200, (5, 0)),
    "in pieces": ([Drip(Answer(200, body=b"slowly").wire(), 9)], 200, (5, 0)),
    "chunked": ([Answer(200, body=[b"one", b"two"], chunked=True)], 200, (5, 0)),
    "without a body": ([Answer(204)], 204, (5, 0)),
    "large": ([Answer(200, body=b"x" * 100_000)], 200, (5, 0)),
    "after an interim one": (
        [Send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"), Answer(200, body=b"yes")],
        200,
        (5, 0),
    ),
    "to its end": ([Answer(200, body=b"all", length=None), Close()], 200, (5, 0)),
    "refused": ([Answer(500, body=b"no")], 500, (1, 0)),
    "not there": ([Close()], 502, (1, 4)),
    "broken": ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n")], 502, (1, 4)),
    "too late": ([Hang()], 504, (1, 4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SECOND)
async def test_whatever_the_answer_is_the_books_are_right(
    fake: Store, tmp_path: Path, kind: str
) -> None:
    """failure rows 33 to 41: the second request goes by a connection that was used before."""
    steps, status, standing = SECOND[kind]
    play = [Request(), Answer(201), Request(), *steps]
    limit = "1s" if kind == "too late" else "20s"
    wishes = Wishes(answer_timeout=limit, upload='doubt_lease = "1s"')
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "a", 4) + b"body")
        while (told := await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 103"):
            pass
        assert (begun(rig), int(told[9:12])) == (2, status)
        assert await rig.standing() == standing
        await rig.settled()


async def test_requests_in_one_piece_and_behind_one_another_are_answered_in_order(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path) as rig, client(rig) as (reader, writer):
        bodies = [b"%d" % (10**n) for n in range(8)]
        both = [head(rig, f"f{n}", n + 1) + body for n, body in enumerate(bodies)]
        writer.write(both[0] + both[1])
        writer.write(both[2])
        await true(lambda: len(rig.upstream.requests) >= 1)
        for piece in both[3:]:
            writer.write(piece[:20])
            await asyncio.sleep(0)
            writer.write(piece[20:])
        told = [await answer(reader) for _ in both]
        assert [status for status, _ in told] == [201] * 8
        assert [json.loads(body)["size"] for _, body in told] == list(range(1, 9))
        assert await rig.standing() == (36, 0)


async def test_what_comes_behind_is_not_read_for_ever(fake: Store, tmp_path: Path) -> None:
    store, admission = paused(fake)
    async with running(store, tmp_path) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "a", 1) + b"x")
        await admission.ran.wait()
        writer.write(head(rig, "b", 200_000) + b"y" * 200_000)
        await asyncio.sleep(0.05)
        admission.go_on.set()
        assert [(await answer(reader))[0] for _ in range(2)] == [201, 201]
        assert await rig.standing() == (200_001, 0)


async def test_a_key_that_is_cut_stops_what_runs_under_it(fake: Store, tmp_path: Path) -> None:
    """failure row 62"""
    go_on = asyncio.Event()
    play = [Request(), Answer(201), Request(), Wait(go_on), Answer(201)]
    wishes = Wishes(upload='doubt_lease = "1s"')
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        rig.gateway._watchdog.stop_of("acme", None, UNAUTHENTICATED)
        assert (await answer(reader))[0] == 401
        assert await rig.standing() == (1, 4)  # in doubt: it was sent
        go_on.set()


async def test_a_request_that_is_stopped_while_it_is_reserved_holds_nothing(
    fake: Store, tmp_path: Path
) -> None:
    store, admission = paused(fake)
    async with running(store, tmp_path) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "a", 4) + b"body")
        await admission.ran.wait()
        rig.gateway._watchdog.stop_of("acme", None, UNAUTHENTICATED)
        assert (await answer(reader))[0] == 401
        admission.go_on.set()
        await rig.settled()
        assert await rig.standing() == (0, 0)
        assert rig.upstream.connections == 0


async def test_a_drain_lets_it_end_and_then_closes(fake: Store, tmp_path: Path) -> None:
    """failure row 53"""
    go_on = asyncio.Event()
    play = [Request(), Answer(201), Request(), Wait(go_on), Answer(201)]
    async with running(fake, tmp_path, play, audited=False) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        rig.gateway.handler.draining = True
        go_on.set()
        assert (await answer(reader))[0] == 201
        assert await reader.read() == b""


async def test_a_slow_upstream_is_no_idle_client(fake: Store, tmp_path: Path) -> None:
    go_on = asyncio.Event()
    play = [Request(), Answer(201), Request(), Wait(go_on), Answer(201), Request(), Answer(201)]
    wishes = Wishes(server='keepalive = "200ms"')
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        await asyncio.sleep(0.5)  # longer than an idle connection is kept
        go_on.set()
        assert (await answer(reader))[0] == 201
        assert await reader.read() == b""  # and then it is idle


async def test_what_runs_for_long_keeps_what_it_holds(fake: Store, tmp_path: Path) -> None:
    """failure row 28"""
    go_on = asyncio.Event()
    play = [Request(), Answer(201), Request(), Wait(go_on), Answer(201)]
    wishes = Wishes(answer_timeout="20s", server='lease = "1500ms"\nheartbeat = "300ms"')
    async with running(fake, tmp_path, play, wishes=wishes) as rig, client(rig) as (reader, writer):
        writer.write(head(rig, "warm", 1) + b"x")
        assert (await answer(reader))[0] == 201
        writer.write(head(rig, "a", 4) + b"body")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        await asyncio.sleep(2.5)  # longer than the lease
        assert await rig.standing() == (1, 4)
        go_on.set()
        assert (await answer(reader))[0] == 201
        assert await rig.standing() == (5, 0)


async def test_a_mistake_breaks_one_request_and_nobody_elses(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> bytes:
        raise ValueError("a mistake")

    async with running(fake, tmp_path) as rig:
        assert (await rig.put("warm", b"x"))[0] == 201
        with monkeypatch.context() as patch:
            patch.setattr(Fields, "lines", wrong)
            async with client(rig) as (reader, writer):
                writer.write(head(rig, "a", 4) + b"body")
                assert await reader.read() == b""
        assert (await rig.put("b", b"xx"))[0] == 201
        await rig.settled()
        assert await rig.standing() == (7, 0)  # it was charged before
