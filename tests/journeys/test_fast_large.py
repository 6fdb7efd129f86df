"""Large uploads on the fast path end as on the ordinary one, wherever they are interrupted."""

import asyncio
import random
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DRAINING, UNAUTHENTICATED
from gateway.ledger.store import Store
from gateway.proxy.exchange import Exchange
from gateway.proxy.large import Large
from gateway.proxy.passing import AWAITING, CONNECTING
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.tls import client_context
from gateway.proxy.upstream import UpstreamConnection
from tests.certificates import Authority
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import (
    INGEST,
    OK,
    begun,
    block_opened,
    client,
    counted,
    logged,
    open_connections,
    put,
    true,
    until_closed,
)
from tests.journeys.rig import Rig, Way, Wishes, running
from tests.upstream_line import Line
from tests.upstreams import Answer, Body, Close, Hang, Head, Repeat, Request, Reset, Send

ON_EVERY_LOOP = True
SIZE = 900_000
HALF = 500_000
DATA = random.Random(7).randbytes(SIZE)
RESET_AT_ONCE = struct.pack("ii", 1, 0)
BLOCK = "block = { storage_bytes = 950_000, uploads = 10 }"
FILL = "X-Filled: 1"
"""There was much before."""
HINTS = Send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Case:
    """An upload by a connection to the upstream that was used before, and what becomes of it.
    `pieces`: how much of its body is sent, and is with the upstream, before the next piece. `then`:
    what its client does, or what is done to it, behind the last of them."""

    steps: Sequence[Any] = (Request(), OK)
    pieces: Sequence[int] = (SIZE,)
    then: str = ""
    fields: Sequence[str] = ()
    server: str = ""
    plan: str = ""
    answer_timeout: str = "20s"
    upstream_idle: str = "20s"
    upload: str = ""
    taken: bool = True
    warm: bool = True
    """After another request."""
    listens: bool = True
    """There is an upstream by then."""
    exact: bool = True
    """How much of the body has passed by then is no matter of chance."""
    place: str = "files"
    """`ingest`: it is served from a block."""


class Deaf:
    """Take no more of what comes."""

    async def play(self, line: Line) -> None:
        transport = line.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await line.record.stopped.wait()


NO = Answer(413, [(b"Connection", b"close")], b"too large")
CASES = {
    "whole": Case(),
    "the first of all": Case(warm=False),
    "nobody listens": Case([Close()], pieces=(), then="flood", listens=False),
    "in pieces": Case(pieces=(0, 1, 1_000, 60_000, 200_000, HALF, SIZE)),
    "with another one behind": Case(then="another"),
    "after an interim answer": Case([Head(), HINTS, Body(), HINTS, OK]),
    "refused": Case([Request(), Answer(507, body=b"full")]),
    "refused, and closed": Case([Request(), NO, Close()]),
    "without a length": Case([Request(), Answer(201, body=b"all", length=None), Close()]),
    "a large answer": Case([Request(), Answer(201, body=DATA)]),
    "broken": Case([Request(), Send(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n")]),
    "an early no": Case([Head(), Body(HALF), NO, Close()], pieces=(HALF,), then="rest"),
    "an early no, kept": Case([Head(), Body(HALF), Answer(413, body=b"no")], pieces=(HALF,),
                              then="rest"),
    "an early yes": Case([Head(), Body(HALF), Answer(201)], pieces=(HALF,)),
    "a reset within": Case([Head(), Body(HALF), Reset()], pieces=(HALF,)),
    "a close within": Case([Head(), Body(HALF), Close()], pieces=(HALF,)),
    "a reset behind": Case([Request(), Reset()]),
    "no answer": Case([Request(), Hang()], answer_timeout="1s"),
    "not taken": Case([Head(), Deaf()], pieces=(), then="flood", upstream_idle="1s",
                      exact=False),
    "closed before its end": Case([Request()], pieces=(HALF,), then="close"),
    "closed before its body": Case([Request()], pieces=(0,), then="close"),
    "reset before its body": Case([Request()], pieces=(0,), then="reset"),
    "stopped before its body": Case([Request()], pieces=(0,), then="stop"),
    "nothing of it": Case([Request()], pieces=(0,), server='body_idle = "1s"'),
    "reset before its end": Case([Request()], pieces=(HALF,), then="reset"),
    "no more of it": Case([Request()], pieces=(HALF,), server='body_idle = "1s"'),
    "too slow": Case([Request()], pieces=(HALF,), then="trickle", exact=False,
                     upload='body_idle = "1s"\nbody_rate_min = "1GB"'),
    "longer than it may take": Case([Request()], pieces=(HALF,), then="trickle", exact=False,
                                    upload='timeout = "1s"'),
    "stopped": Case([Request()], pieces=(HALF,), then="stop"),
    "revoked": Case([Request()], pieces=(HALF,), then="revoke"),
    "beyond its limit": Case(plan="caps = { file_bytes = 1000 }", pieces=(0,), taken=False),
    "beyond its plan": Case(fields=[FILL], pieces=(0,)),
    "rated": Case(plan='rate = "100/1h"'),
    "rated, too often": Case(plan='rate = "1/1h"', pieces=(0,)),
    "expected": Case(fields=["Expect: 100-continue"], then="expect", pieces=(), taken=False),
}  # fmt: skip


COPIED = ("whole", "in pieces", "with another one behind", "not taken", "a reset within",
          "closed before its end", "stopped")  # fmt: skip
"""Those in which it matters how the body is moved."""
BLOCKED = ("whole", "with another one behind", "refused", "an early no", "an early yes",
           "a reset behind", "no answer", "closed before its body", "nothing of it",
           "closed before its end", "stopped", "revoked", "expected")  # fmt: skip
"""Those in which it matters where the room for it was taken from."""


@pytest.mark.parametrize(
    ("name", "splice"),
    [*((name, "true") for name in CASES), *((name, "false") for name in COPIED)],
)
async def test_it_ends_as_on_the_ordinary_path(tmp_path: Path, name: str, splice: str) -> None:
    """failure rows 29 to 41"""
    await ends_alike(tmp_path, CASES[name], splice)


@pytest.mark.parametrize("name", BLOCKED)
async def test_out_of_a_block_it_ends_alike_too(tmp_path: Path, name: str) -> None:
    await ends_alike(tmp_path, replace(CASES[name], plan=BLOCK, place="ingest"), "true")


async def ends_alike(directory: Path, case: Case, splice: str) -> None:
    seen = {}
    for way in Way:
        (own := directory / way).mkdir()
        seen[way] = await told(way, own, case, splice)
    assert seen[Way.FAST] == seen[Way.ORDINARY]


async def told(way: Way, directory: Path, case: Case, splice: str) -> Any:
    """All that its client, the upstream, the log and the metrics were told, and the books."""
    rigs.way = way
    others = [Repeat([Request(), OK])]
    wishes = Wishes(
        server=f"splice = {splice}\n{case.server}",
        plan=case.plan,
        upload=case.upload,
        extra=INGEST + case.upload,
        answer_timeout=case.answer_timeout,
        upstream_idle=case.upstream_idle,
    )
    play = [*([Request(), OK] if case.warm else []), *case.steps, *others]
    async with running(Store.fake(), directory, play, others, wishes=wishes, audited=False) as rig:
        if not case.exact:
            assert rig.upstream._server is not None
            narrow(socket.SO_RCVBUF, *rig.upstream._server.sockets)
        async with client(rig) as (reader, writer):
            if case.warm:
                before = bytes(200_000 if FILL in case.fields else 1)
                writer.write(put(rig, f"{case.place}/warm", len(before)) + before)
                assert await reader.readuntil(b"ok")
            if case.place == "ingest":
                rig.gateway.ledger.hot = 0
                await block_opened(rig)
            if not case.listens:
                await deserted(rig)
            if not case.exact:
                ours = rig.gateway.handler.live.pools["files"]._open
                transports = [each._transport for each in ours if each._transport is not None]
                narrow(socket.SO_SNDBUF, *(each.get_extra_info("socket") for each in transports))
            heard = await played(rig, case, reader, writer)
        if way is Way.FAST:
            assert begun(rig) == case.warm + case.taken + (case.then == "another")
        await true(lambda: not open_connections(rig))
        await true(lambda: len(rig.gateway._watchdog) == 0)
        requests = [
            (re.sub(rb"127.0.0.1:\d+|Port: \d+", b"", each.head), bytes(each.body))
            for each in rig.upstream.requests
        ]
        await rig.gateway.ledger.stop()  # gives back what is left of a block
        standing = [(quota.used, quota.reserved) for quota in (await rig.snapshot()).quotas]
        told: Any = heard, requests, rig.upstream.connections, counted(rig), standing
        if not case.exact:
            told = heard[:12], standing
    # Once all lines have been written: a thread of their own does that, a moment later.
    lines = logged(rig) if case.exact else [line["outcome"] for line in logged(rig)]
    seen = repr((*told, lines))
    return re.sub(r"[0-9a-f]{10}-[0-9a-f]+|;[tr]=\d+|', \d+\)", "(of its time)", seen)


def narrow(option: int, *sockets: Any) -> None:
    """So that little is on its way."""
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, option, 4_096)


async def played(
    rig: Rig, case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    """What its client hears."""
    writer.write(put(rig, f"{case.place}/a", SIZE, "X-Request-Id: r1", *case.fields))
    sent = 0
    for until in case.pieces:
        writer.write(DATA[sent:until])
        sent = until
        if sent:
            await rig.upstream.until(partial(has_taken, rig, 1 + case.warm, sent))
    if case.then and case.listens and not sent:
        await true(lambda: any(awaits_a_body(each) for each in rig.gateway._watchdog._exchanges))
    heard = b""
    if case.then in ("rest", "expect"):
        heard = await reader.readuntil(b"\r\n\r\n")
    await THEN[case.then](rig, writer, sent)
    answers = 1 + case.warm + (case.then == "another")
    await true(lambda: len(logged(rig)) == answers)
    whole = case.exact and (sent == SIZE or THEN[case.then] is rest)
    if not writer.transport.is_closing():
        if whole:
            writer.write(put(rig, "files/last", 0, "X-Request-Id: last", "Connection: close"))
        else:
            writer.write_eof()
    return heard + await until_closed(reader)


def awaits_a_body(request: object) -> bool:
    if isinstance(request, Exchange):
        return request.receiving
    return isinstance(request, Large) and request._step == AWAITING


def has_taken(rig: Rig, number: int, sent: int) -> bool:
    requests = rig.upstream.requests
    return len(requests) == number and requests[-1].body_bytes == sent


async def deserted(rig: Rig) -> None:
    assert rig.upstream._server is not None
    rig.upstream._server.close()
    await true(lambda: rig.gateway.handler.live.pools["files"].open == 0)


async def test_what_is_stopped_while_it_connects_sends_nothing(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigs.way = Way.FAST
    go_on, connect = asyncio.Event(), UpstreamPool.connect

    async def later(pool: UpstreamPool) -> UpstreamConnection:
        await go_on.wait()
        return await connect(pool)

    monkeypatch.setattr(UpstreamPool, "connect", later)
    async with running(fake, tmp_path) as rig, client(rig) as (reader, writer):
        writer.write(put(rig, "files/a", SIZE) + DATA[:HALF])
        flights = rig.gateway._watchdog._exchanges
        await true(lambda: [getattr(each, "_step", None) for each in flights] == [CONNECTING])
        rig.gateway._watchdog.stop_all(DRAINING)
        assert (await reader.readuntil(b"\r\n"))[9:12] == b"503"
        assert (await rig.settled()).open_count == 0
        go_on.set()
        await rig.upstream.until(lambda: rig.upstream.connections == 1 and rig.upstream.open == 0)
        assert rig.upstream.requests == []
        assert await rig.standing() == (0, 0)


async def test_what_is_encrypted_is_held_up_to_a_size(fake: Store, tmp_path: Path) -> None:
    rigs.way = Way.FAST
    authority = Authority(tmp_path)
    pair = authority.issue("localhost")
    wishes = Wishes(server=f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"')
    async with running(fake, tmp_path, wishes=wishes) as rig:
        trust = client_context(str(authority.ca_file))
        for size, taken in ((200_000, 1), (700_000, 1)):
            url = f"https://localhost:{rig.port}/files/{size}"
            async with rig.session.put(
                url, data=DATA[:size], headers=rig.headers, ssl=trust
            ) as said:
                assert said.status == 201
            assert begun(rig) == taken
        assert rig.upstream.stored[b"/files/200000"] == DATA[:200_000]
        assert rig.upstream.stored[b"/files/700000"] == DATA[:700_000]
        assert await rig.standing() == (900_000, 0)


# -- what is done then ----------------------------------------------------------------------------


async def nothing(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None: ...


async def another(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    writer.write(put(rig, "files/b", 3, "X-Request-Id: r2") + b"abc")


async def rest(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    writer.write(DATA[sent:])


async def close(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    writer.close()


async def reset(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
    writer.close()


async def stop(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    rig.gateway._watchdog.stop_all(DRAINING)


async def revoke(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    rig.gateway._watchdog.stop_of(rig.account.id, None, UNAUTHENTICATED)


async def trickle(rig: Rig, writer: asyncio.StreamWriter, sent: int) -> None:
    while len(logged(rig)) < 2 and sent < SIZE:
        writer.write(DATA[sent : sent + 100])
        sent += 100
        await asyncio.sleep(0.05)


THEN: dict[str, Callable[[Rig, asyncio.StreamWriter, int], Awaitable[None]]] = {
    "": nothing,
    "another": another,
    "rest": rest,
    "expect": rest,
    "flood": rest,
    "close": close,
    "reset": reset,
    "stop": stop,
    "revoke": revoke,
    "trickle": trickle,
}
