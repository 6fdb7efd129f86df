"""What journeys on the fast path share: a client on a raw socket, and what was told and counted."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.catalog.routes import CredentialKind
from gateway.ledger.outcomes import Granted, Line
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.ledger.transport import Transport
from gateway.records.identities import Identity
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer

PASSING = """
[[routes]]
name = "keyed"
methods = ["GET", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"]
path = "/keyed/{rest...}"
upstream = "files"
policy = "pass"

[[routes]]
name = "open"
methods = ["GET", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"]
path = "/open/{rest...}"
upstream = "files"
policy = "pass"
auth = []
account = "none"
"""
"""Routes that let pass who has a key, and everybody."""
INGEST = """
[[routes]]
name = "ingest"
methods = ["POST", "PUT"]
path = "/ingest/{rest...}"
upstream = "files"
policy = "upload"
reserve = { storage_bytes = "body", uploads = 1 }
"""
"""A route whose uploads leave no asset, so that blocks serve them."""
PLACES = {"open": "open", "keyed": "keyed", "rated": "keyed", "download": "files"}
RATE = 'rate = "100/1h"'
OK = Answer(200, [(b"X-A", b"1")], b"ok")


def ask(rig: Rig, method: str, place: str, *fields: str, body: bytes | None = None) -> bytes:
    lines = [f"{method} /{PLACES[place]}/a%20b?q=1 HTTP/1.1", "Host: t", *fields]
    if place != "open":
        lines.append(f"X-API-Key: {rig.key}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def put(rig: Rig, path: str, length: int, *fields: str) -> bytes:
    """The head of an upload; `path` begins with the place."""
    lines = [f"PUT /{path} HTTP/1.1", "Host: t", f"X-API-Key: {rig.key}", *fields]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


@asynccontextmanager
async def passing(
    store: Store, directory: Path, *scripts: Any, answer_timeout: str = "20s", **more: str
) -> AsyncIterator[Rig]:
    """With `PASSING`; unless a test says otherwise the upstream may take as long as it does."""
    wishes = Wishes(extra=PASSING, answer_timeout=answer_timeout, **more)
    async with running(store, directory, *scripts, wishes=wishes) as rig:
        yield rig


async def block_opened(rig: Rig) -> None:
    """Have a block for `INGEST` from which nothing is given yet. Accounts must be hot."""
    ledger, terms, name = rig.gateway.ledger, rig.gateway.handler.live.terms_of, "opens-a-block"
    found = await rig.gateway.identities.find(CredentialKind.X_API_KEY, rig.key)
    assert isinstance(found, Identity)
    of = terms(found, None)
    assert of is not None
    lines = [Line.exact("storage_bytes", 0), Line.exact("uploads", 0)]
    assert isinstance(await ledger.reserve(of, name, lines, lease_ms=10_000), Granted)
    await ledger.release(rig.account.id, name, reason="test")


class Paused:
    """A transport whose scripts run, and whose replies wait until they may pass."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.go_on = asyncio.Event()
        self.ran = asyncio.Event()

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        reply = await self._inner.run(script, keys, args)
        self.ran.set()
        await self.go_on.wait()
        return reply

    async def close(self) -> None:
        await self._inner.close()


def paused(store: Store) -> tuple[Store, Paused]:
    admission = Paused(store.admission)
    return replace(store, admission=admission), admission


@asynccontextmanager
async def client(rig: Rig) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer with a length, or without a body."""
    told = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", told)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return int(told[9:12]), body


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    heard = b""
    try:
        while data := await reader.read(1 << 16):
            heard += data
    except ConnectionError:
        heard += b"(reset)"
    return heard


async def true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.005)


def begun(rig: Rig) -> int:
    assert rig.gateway.fast is not None
    return rig.gateway.fast.begun


def open_connections(rig: Rig) -> int:
    assert rig.gateway._server is not None
    return rig.gateway._server.open_connections


def logged(rig: Rig) -> list[dict[str, Any]]:
    """The lines of the access log so far, without what differs from run to run."""
    lines = [json.loads(line) for line in rig.log_bytes().splitlines()]
    found = [line for line in lines if line["kind"] == "access"]
    for line in found:
        for name in ("at", "duration_ms", "reservation"):
            assert line.pop(name)
        assert bool(line.pop("key")) == bool(line["account"])
    return found


def counted(rig: Rig) -> dict[str, str]:
    """All series but those of time, and of what runs in the background."""
    text = rig.gateway.metrics.exposition()[0].decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("quota_"))
    left_out = re.compile("seconds|lag|build|process|ledger|connections|created")
    found = {
        name: value for name, _, value in lines if value != "0.0" and not left_out.search(name)
    }
    return dict(sorted(found.items()))
