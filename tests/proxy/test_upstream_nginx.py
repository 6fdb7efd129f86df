"""A real peer: what nginx answers, and gigabytes to and from it in a flat memory."""

import asyncio
import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.catalog.routes import Upstream
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.wire import ForwardRules, Message, Sender, request_head
from tests.nginx import BINARY, Nginx
from tests.proxy.exchanges import PATIENCE_S, body_of, pool_of

ON_EVERY_LOOP = True
pytestmark = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")

MIB = 1024 * 1024
TEXT = b"all work and no play\n" * 5_000


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    with Nginx() as running:
        (running.files / "text").write_bytes(TEXT)
        for mib in (256, 1024):
            with (running.files / f"large{mib}").open("wb") as large:
                large.truncate(mib * MIB)
        yield running


@pytest.fixture(params=["http", "https", "unix"])
def upstream(nginx: Nginx, request: pytest.FixtureRequest) -> Upstream:
    return upstream_by(request.param, nginx)


def upstream_by(kind: str, nginx: Nginx) -> Upstream:
    ca_file = str(nginx.authority.ca_file) if kind == "https" else None
    return Upstream("nginx", nginx.urls[kind], ca_file)


def head(
    pool: UpstreamPool,
    method: bytes,
    path: bytes,
    *headers: tuple[bytes, bytes],
    length: int | None = None,
) -> bytes:
    return request_head(
        method,
        path,
        headers,
        rules=ForwardRules(pool.address.authority),
        sender=Sender(b"192.0.2.7"),
        message=Message(b"r1", length=length),
    )


async def ask(
    pool: UpstreamPool, method: bytes, path: bytes, *headers: tuple[bytes, bytes]
) -> UpstreamConnection:
    connection = await pool.connect()
    connection.begin(method)
    connection.send(head(pool, method, path, *headers))
    connection.end()
    return connection


async def upload(
    pool: UpstreamPool, path: bytes, piece: bytes, count: int, watch: Callable[[], None]
) -> int:
    """PUT `count` times `piece`; the status."""
    connection = await pool.connect()
    connection.begin(b"PUT")
    connection.send(head(pool, b"PUT", path, length=len(piece) * count))
    for _ in range(count):
        connection.send(piece)
        await connection.drain(PATIENCE_S)
        watch()
    connection.end()
    status = (await connection.head(PATIENCE_S)).status
    assert await connection.read(PATIENCE_S) == b""
    connection.release()
    return status


class Memory:
    """How far this process grows beyond what it had at first."""

    def __init__(self) -> None:
        self._before = self._resident()
        self.grown = 0

    def watch(self) -> None:
        self.grown = max(self.grown, self._resident() - self._before)

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


ANSWERS = [
    # (method, path, headers, status, body, kept)
    (b"GET", b"/files/text", [], 200, TEXT, True),
    (b"HEAD", b"/files/text", [], 200, b"", True),
    (b"GET", b"/files/text", [(b"Range", b"bytes=4-7")], 206, TEXT[4:8], True),
    (b"GET", b"/files/text", [(b"Range", b"bytes=999999999-")], 416, None, True),
    (b"GET", b"/files/text", [(b"If-Modified-Since", b"FUTURE")], 304, b"", True),
    (b"GET", b"/files/none", [], 404, None, True),
    (b"GET", b"/empty", [], 204, b"", True),
    (b"HEAD", b"/empty", [], 204, b"", True),
    (b"GET", b"/close", [], 200, b"bye", False),
    (b"HEAD", b"/close", [], 200, b"", False),
    (b"DELETE", b"/files/none", [], 404, None, True),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "body", "kept"), ANSWERS)
async def test_answers_and_whether_their_connection_is_kept(
    upstream: Upstream,
    nginx: Nginx,
    method: bytes,
    path: bytes,
    headers: list[tuple[bytes, bytes]],
    status: int,
    body: bytes | None,
    kept: bool,
) -> None:
    """failure row 39"""
    if headers and headers[0][1] == b"FUTURE":
        async with pool_of(upstream) as pool:
            connection = await ask(pool, b"HEAD", path)
            fields = dict((await connection.head(PATIENCE_S)).headers)
            headers = [(b"If-Modified-Since", fields[b"Last-Modified"])]
            connection.release()
    async with pool_of(upstream) as pool:
        for _ in range(3):
            connection = await ask(pool, method, path, *headers)
            assert (await connection.head(PATIENCE_S)).status == status
            got = await body_of(connection)
            assert body is None or got == body
            connection.release()
            assert pool.idle == (1 if kept else 0)


async def test_chunks(upstream: Upstream) -> None:
    async with pool_of(upstream) as pool:
        for _ in range(3):
            connection = await ask(pool, b"GET", b"/chunked/text", (b"Accept-Encoding", b"gzip"))
            answer = await connection.head(PATIENCE_S)
            assert answer.chunked
            assert answer.length is None
            assert gzip.decompress(await body_of(connection)) == TEXT
            connection.release()
            assert pool.idle == pool.open == 1


async def test_what_nginx_reads_in_a_forwarded_head(nginx: Nginx) -> None:
    """failure row 66"""
    async with pool_of(Upstream("nginx", nginx.urls["http"])) as pool:
        connection = await ask(pool, b"GET", b"/echo", (b"X-Forwarded-For", b"6.6.6.6"))
        authority = b"127.0.0.1:%d" % nginx.port
        assert await body_of(connection) == b"|".join(
            [b"/echo", authority, b"192.0.2.7", b"1.1 quota-gateway"]
        )


async def test_an_upload_is_stored_and_deleted(upstream: Upstream, nginx: Nginx) -> None:
    async with pool_of(upstream) as pool:
        assert await upload(pool, b"/files/new", b"a" * 100_000, 7, lambda: None) == 201
        assert (nginx.files / "new").read_bytes() == b"a" * 700_000
        connection = await ask(pool, b"DELETE", b"/files/new")
        assert (await connection.head(PATIENCE_S)).status == 204
        connection.release()
        assert not (nginx.files / "new").exists()
        assert pool.open == pool.idle == 1


async def test_a_refused_upload_is_answered_before_its_end(upstream: Upstream) -> None:
    """failure row 37"""
    async with pool_of(upstream) as pool:
        connection = await pool.connect()
        connection.begin(b"PUT")
        connection.send(head(pool, b"PUT", b"/refused", length=1024 * MIB))
        while not connection.answered:
            connection.send(b"a" * 65_536)
            await connection.drain(PATIENCE_S)
            await asyncio.sleep(0)
        assert (await connection.head(PATIENCE_S)).status == 413
        assert await body_of(connection) == b"too large"
        connection.release()
        assert pool.idle == 0


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize(("kind", "mib"), [("http", 1024), ("https", 256), ("unix", 256)])
async def test_gigabytes_down(nginx: Nginx, kind: str, mib: int) -> None:
    async with pool_of(upstream_by(kind, nginx)) as pool:
        connection = await ask(pool, b"GET", b"/files/large%d" % mib)
        assert (await connection.head(PATIENCE_S)).length == mib * MIB
        memory, got = Memory(), 0
        while piece := await connection.read(PATIENCE_S):
            got += len(piece)
            memory.watch()
        assert got == mib * MIB
        assert memory.grown < 16 * MIB
        connection.release()
        assert pool.idle == 1


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize(("kind", "count"), [("http", 512), ("https", 256), ("unix", 256)])
async def test_gigabytes_up(nginx: Nginx, kind: str, count: int) -> None:
    piece = bytes(range(256)) * 4096
    async with pool_of(upstream_by(kind, nginx)) as pool:
        memory = Memory()
        assert await upload(pool, b"/files/up", piece, count, memory.watch) == 201
        assert memory.grown < 16 * MIB
    stored = nginx.files / "up"
    expected = hashlib.sha256()
    for _ in range(count):
        expected.update(piece)
    with stored.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == expected.digest()
    stored.unlink()
