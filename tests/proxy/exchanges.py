"""Requests to a scripted upstream through a pool, in the steps that tests look between."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.catalog.routes import Upstream
from gateway.errors import UpstreamError
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream import UpstreamConnection
from tests.upstreams import Script, ScriptedUpstream

PATIENCE_S = 10.0
"""More than anything here takes."""
SOON_S = 0.05
"""A time limit that is meant to pass."""


@asynccontextmanager
async def pool_of(upstream: Upstream) -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool(upstream)
    try:
        yield pool
    finally:
        await pool.close()
        pool.abort()
        for _ in range(3):
            await asyncio.sleep(0)  # The loop closes what was aborted.


@asynccontextmanager
async def serving(
    *scripts: Script, tls: ssl.SSLContext | None = None, path: Path | None = None, **limits: Any
) -> AsyncIterator[tuple[ScriptedUpstream, UpstreamPool]]:
    """An upstream that plays the scripts, and a pool to it; `limits` are fields of Upstream."""
    async with (
        ScriptedUpstream(*scripts, tls=tls, path=path) as upstream,
        pool_of(Upstream("scripted", upstream.url, **limits)) as pool,
    ):
        yield upstream, pool


def request(method: bytes, length: int = 0) -> bytes:
    return b"%b /thing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (method, length)


async def ask(pool: UpstreamPool, method: bytes = b"GET", body: bytes = b"") -> UpstreamConnection:
    """A whole request on its way."""
    return start(await pool.connect(), method, body)


def start(
    connection: UpstreamConnection, method: bytes = b"GET", body: bytes = b""
) -> UpstreamConnection:
    connection.begin(method)
    connection.send(request(method, len(body)) + body)
    connection.end()
    return connection


async def exchange(connection: UpstreamConnection) -> bytes:
    """A whole request and its answer."""
    return await whole(start(connection))


async def upload_begun(pool: UpstreamPool, length: int) -> UpstreamConnection:
    """The head of an upload, without any of its body."""
    connection = await pool.connect()
    connection.begin(b"PUT")
    connection.send(request(b"PUT", length))
    return connection


async def body_of(connection: UpstreamConnection) -> bytes:
    pieces = []
    while piece := await connection.read(PATIENCE_S):
        pieces.append(piece)
    return b"".join(pieces)


async def whole(connection: UpstreamConnection) -> bytes:
    """The body of the answer, the connection released."""
    await connection.head(PATIENCE_S)
    body = await body_of(connection)
    connection.release()
    return body


async def failure_of(work: Coroutine[Any, Any, object]) -> UpstreamError | None:
    """How it fails; None if it does not."""
    try:
        await work
    except UpstreamError as failure:
        return failure
    return None


async def how_it_breaks(connection: UpstreamConnection) -> UpstreamError:
    """What goes wrong when the whole answer is read; the connection is aborted."""
    failure = await failure_of(whole(connection))
    assert failure is not None, "the answer ended properly"
    connection.abort()
    return failure
