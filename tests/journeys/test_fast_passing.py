"""What passes on the fast path, or is downloaded, ends as on the ordinary one, whatever it asks and
whatever it is answered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import (
    OK,
    RATE,
    answer,
    ask,
    begun,
    client,
    counted,
    logged,
    open_connections,
    passing,
    true,
    until_closed,
)
from tests.journeys.rig import Way
from tests.upstreams import (
    Answer,
    Close,
    Drip,
    Hang,
    Repeat,
    Request,
    Reset,
    Send,
)

METHODS = ("GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH")
HINTS = Send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Case:
    """A request by a connection to the upstream that was used before, and what becomes of it.
    `taken`: the fast path begins it. `answer_timeout` is also that of the requests around it."""

    method: str
    steps: Sequence[Any] = (OK,)
    fields: Sequence[str] = ()
    body: bytes | None = None
    taken: bool = True
    answer_timeout: str = "20s"


BIG, LARGE = b"x" * 600_000, b"y" * 100_000
CASES = {
    **{method: Case(method) for method in METHODS if method != "HEAD"},
    **{
        f"{method} with a body": Case(method, body=b"x" * 700)
        for method in ("OPTIONS", "DELETE", "POST", "PUT", "PATCH")
    },
    "HEAD": Case("HEAD", [Answer(200, [(b"ETag", b'"1"')], length=5_000_000)]),
    "GET with no length": Case("GET", fields=["Content-Length: 0"]),
    "POST of nothing": Case("POST", body=b""),
    "GET with a body": Case("GET", body=b"x", taken=False),
    "HEAD with a body": Case("HEAD", body=b"x", taken=False),
    "PUT of too much for this": Case("PUT", body=LARGE * 3, taken=False),
    "a method that is not served": Case("TRACE", taken=False),
    "created": Case("POST", [Answer(201, [(b"Location", b"/x")], b"{}")], body=b"x"),
    "nothing to say": Case("DELETE", [Answer(204)]),
    "partial": Case("GET", [Answer(206, [(b"Content-Range", b"bytes 0-1/9")], b"ab")],
                    fields=["Range: bytes=0-1", 'If-Range: "1"']),
    "not modified": Case("GET", [Answer(304, [(b"ETag", b'"1"')])], fields=['If-None-Match: "1"']),
    "not modified, HEAD": Case("HEAD", [Answer(304, [(b"ETag", b'"1"')])]),
    "moved": Case("GET", [Answer(301, [(b"Location", b"/y")], b"there")]),
    "not found": Case("GET", [Answer(404, body=b"no")]),
    "failed": Case("POST", [Answer(500, body=b"no")], body=b"x"),
    "large": Case("GET", [Answer(200, body=LARGE)]),
    "very large": Case("GET", [Answer(200, body=BIG)]),
    "chunked": Case("GET", [Answer(200, body=[b"one", b"two"], chunked=True)]),
    "in pieces": Case("GET", [Drip(Answer(200, body=b"slowly").wire(), 9)]),
    "after an interim answer": Case("GET", [HINTS, OK]),
    "after an interim answer, POST": Case("POST", [HINTS, OK], body=b"x"),
    "to its end": Case("GET", [Answer(200, body=b"all", length=None), Close()]),
    "and closed": Case("GET", [Answer(200, [(b"Connection", b"close")], b"all"), Close()]),
    "too much": Case("GET", [Send(Answer(200, body=b"all").wire() + b"more")]),
    "with a body to HEAD": Case("HEAD", [Answer(200, body=b"a body")]),
    "cut": Case("GET", [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"), Close()]),
    "broken": Case("GET", [Send(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n")]),
    "a switch that nobody asked for": Case("GET", [Answer(101, [(b"Upgrade", b"x")])]),
    "too late": Case("POST", [Hang()], body=b"x", answer_timeout="1s"),
    "too late, GET": Case("GET", [Hang()], answer_timeout="1s"),
    **{f"stale, {method}": Case(method, [Close()]) for method in METHODS},
    **{f"reset, {method}": Case(method, [Reset()], body=b"x") for method in ("PUT", "DELETE")},
    "reset, GET": Case("GET", [Reset()]),
    "expected": Case("POST", fields=["Expect: 100-continue"], body=b"x", taken=False),
    "chunks": Case("POST", fields=["Transfer-Encoding: chunked", "Connection: close"], taken=False),
    "Connection": Case("GET", fields=["Connection: X-Private", "X-Private: s"], taken=False),
    "Proxy-Connection": Case("GET", fields=["Proxy-Connection: close"], taken=False),
    "spoofed": Case("GET", fields=["X-Forwarded-For: 9.9.9.9", "X-Account-Id: other"]),
    "named": Case("POST", fields=["Idempotency-Key: k1"], body=b"x", taken=False),
}  # fmt: skip

KEYED = ("not found", "very large", "too late", "stale, GET", "stale, POST", "reset, PUT", "named")
"""Who asks makes no difference, but these and the plain ones are asked by somebody, too."""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, "open") for name in CASES),
        *((name, "keyed") for name in (*METHODS, *KEYED)),
        *((name, "rated") for name in (*METHODS, *KEYED)),
        *((name, "download") for name, case in CASES.items() if case.method == "GET"),
    ],
)
async def test_it_ends_as_on_the_ordinary_path(tmp_path: Path, name: str, place: str) -> None:
    """failure rows 33 to 41"""
    directories = {way: tmp_path / way for way in Way}
    for directory in directories.values():
        directory.mkdir()
    seen = {way: await told(way, directories[way], CASES[name], place) for way in Way}
    assert seen[Way.FAST] == seen[Way.ORDINARY]


async def told(way: Way, directory: Path, case: Case, place: str) -> Any:
    """All that its client, the upstream, the log and the metrics were told."""
    rigs.way = way
    others = [Repeat([Request(), Answer(200, body=b"other")])]
    play = [Request(), OK, Request(), *case.steps, *others]
    plan = RATE if place == "rated" else ""
    limit = case.answer_timeout
    async with passing(
        Store.fake(), directory, play, others, answer_timeout=limit, plan=plan
    ) as rig:
        async with client(rig) as (reader, writer):
            writer.write(ask(rig, "GET", place, "X-Request-Id: warm"))
            assert await reader.readuntil(b"ok")
            fields = ["X-Request-Id: r1", *case.fields]
            writer.write(ask(rig, case.method, place, *fields, body=case.body))
            if "Transfer-Encoding: chunked" in case.fields:
                writer.write(b"1\r\nx\r\n0\r\n\r\n")
            await true(lambda: len(logged(rig)) == 2)
            if not writer.transport.is_closing():
                writer.write(ask(rig, "GET", place, "X-Request-Id: last", "Connection: close"))
            heard = await until_closed(reader)
        if way is Way.FAST:
            assert begun(rig) == 1 + case.taken
        await true(lambda: not open_connections(rig))
        requests = [
            (re.sub(rb"127.0.0.1:\d+|Port: \d+", b"", each.head), bytes(each.body))
            for each in rig.upstream.requests
        ]
        standing = [(quota.used, quota.reserved) for quota in (await rig.settled()).quotas]
        told = heard, requests, rig.upstream.connections, counted(rig), standing
    # Once all lines have been written: a thread of their own does that, a moment later.
    return re.sub(r"[0-9a-f]{10}-[0-9a-f]+|;t=\d+", "(of its time)", repr((*told, logged(rig))))


async def test_fields_that_are_known_are_not_for_every_method(fake: Store, tmp_path: Path) -> None:
    """failure row 41: a length that a body of POST had is refused with GET."""
    rigs.way = Way.FAST
    async with (
        passing(fake, tmp_path, [Repeat([Request(), OK])]) as rig,
        client(rig) as (reader, writer),
    ):
        for method, status in {"POST": 200, "PUT": 200, "GET": 400}.items():
            writer.write(ask(rig, method, "open", body=b"hello"))
            assert (await answer(reader))[0] == status
        assert begun(rig) == 2
        assert len(rig.upstream.requests) == 2
