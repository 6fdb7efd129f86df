"""Caps, rate limits, lengths and times: what a plan or a route allows besides the quota."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from gateway.ledger.store import Store
from gateway.proxy import watchdog
from tests.journeys.rig import Wishes, running
from tests.upstreams import Answer, Hang, Head, Request

CAP = Wishes(plan='caps = { file_bytes = "10KiB" }')


async def test_a_declared_length_over_the_cap_is_413(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, wishes=CAP) as rig:
        status, problem = await rig.put("a", b"x" * 10_241)
        assert (status, problem["code"]) == (413, "file-too-large")
        assert (await rig.put("a", b"x" * 10_240))[0] == 201
        assert len(rig.upstream.requests) == 1


async def test_a_counted_length_over_the_cap_is_cut(fake: Store, tmp_path: Path) -> None:
    async def pieces() -> object:
        for _ in range(11):
            yield b"x" * 1024

    async with running(fake, tmp_path, wishes=CAP) as rig:
        async with rig.session.put(
            f"{rig.url}/files/a", data=pieces(), headers=rig.headers
        ) as answer:
            assert answer.status == 413
        await rig.settled()
        assert await rig.standing() == (0, 0)
        assert b"/files/a" not in rig.upstream.stored


async def test_a_route_that_demands_a_length_answers_411(fake: Store, tmp_path: Path) -> None:
    async def pieces() -> object:
        yield b"x"

    wishes = Wishes(upload="length_required = true")
    async with running(fake, tmp_path, wishes=wishes) as rig:
        async with rig.session.put(
            f"{rig.url}/files/a", data=pieces(), headers=rig.headers
        ) as answer:
            assert answer.status == 411
        assert (await rig.put("a", b"x"))[0] == 201


async def test_over_the_rate_limit_is_429_with_retry_after(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, wishes=Wishes(plan='rate = "3/1m"')) as rig:
        assert [(await rig.put("a", b"x"))[0] for _ in range(3)] == [201] * 3
        async with rig.session.put(f"{rig.url}/files/a", data=b"x", headers=rig.headers) as answer:
            assert answer.status == 429
            assert 1 <= int(answer.headers["Retry-After"]) <= 20
            assert '"request-rate";q=3' in answer.headers["RateLimit-Policy"]
        async with rig.session.get(f"{rig.url}/pass/x", headers=rig.headers) as answer:
            assert answer.status == 429
        assert await rig.standing("uploads") == (3, 0)


async def test_multipart_charges_the_files_and_not_the_envelope(
    fake: Store, tmp_path: Path
) -> None:
    forms = """
[[routes]]
name = "forms"
methods = ["POST"]
path = "/forms"
upstream = "files"
policy = "upload"
reserve = { storage_bytes = "files" }
"""
    async with running(fake, tmp_path, wishes=Wishes(extra=forms)) as rig:
        form = aiohttp.FormData()
        form.add_field("note", "hello")
        form.add_field("file", b"x" * 4321, filename="a.bin")
        async with rig.session.post(f"{rig.url}/forms", data=form, headers=rig.headers) as answer:
            assert answer.status == 201
        assert await rig.standing() == (4321, 0)
        assert rig.upstream.requests[0].body_bytes > 4321


async def test_the_size_the_upstream_reports_is_charged(fake: Store, tmp_path: Path) -> None:
    """failure row 40"""
    told = Answer(201, [(b"Content-Type", b"application/json")], b'{"stored": 90}')
    more = Answer(201, [(b"Content-Type", b"application/json")], b'{"stored": 110}')
    wishes = Wishes(upload='size_from = "stored"')
    script = [Request(), told, Request(), more]
    async with running(fake, tmp_path, script, wishes=wishes) as rig:
        assert await rig.put("a", b"x" * 100) == (201, {"stored": 90})
        assert await rig.standing() == (90, 0)
        assert await rig.put("b", b"x" * 100) == (201, {"stored": 110})
        assert await rig.standing() == (200, 0)


async def test_a_slow_head_is_408(fake: Store, tmp_path: Path) -> None:
    """failure row 32"""
    async with running(fake, tmp_path, wishes=Wishes(server='header_timeout = "200ms"')) as rig:
        assert (await rig.raw(b"GET / HT")).startswith(b"HTTP/1.1 408")


async def test_a_body_that_stalls_is_408_and_released(fake: Store, tmp_path: Path) -> None:
    """failure row 32"""
    async with running(
        fake, tmp_path, wishes=Wishes(upload='body_idle = "500ms"', server='lingering = "1s"')
    ) as rig:
        answer = await rig.raw(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 1000\r\n\r\nx".encode()
        )
        assert answer.startswith(b"HTTP/1.1 408")
        assert await rig.standing() == (0, 0)


async def test_a_body_that_the_upstream_does_not_take_is_504(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 35: the client would send more, and is not told that it was slow."""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    wishes = Wishes(server='body_idle = "200ms"', upstream_idle="600ms")
    async with running(fake, tmp_path, [Head(), Hang()], wishes=wishes) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /pass/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 50000000\r\n\r\n".encode()
            + b"x" * 50_000_000
        )
        assert b" 504 " in await reader.readline()
        writer.transport.abort()


async def test_a_compressed_body_counts_as_it_is_sent(fake: Store, tmp_path: Path) -> None:
    """failure row 45"""
    async with running(fake, tmp_path) as rig:
        async with rig.session.put(
            f"{rig.url}/files/a",
            data=bytes.fromhex("1f8b08000000000000ff") + b"not really",
            headers=rig.headers | {"Content-Encoding": "gzip"},
            compress=None,
        ) as answer:
            assert answer.status == 201
        assert await rig.standing() == (20, 0)
        assert rig.upstream.requests[0].get(b"content-encoding") == b"gzip"


async def test_the_head_has_limits(fake: Store, tmp_path: Path) -> None:
    """failure row 63"""
    async with running(fake, tmp_path) as rig:
        many = "".join(f"X-{n}: 1\r\n" for n in range(140))
        for data, status in (
            (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: t\r\n\r\n", (b"414", b"431", b"400")),
            (f"GET / HTTP/1.1\r\nHost: t\r\nX-Long: {'x' * 9000}\r\n\r\n", (b"431",)),
            (f"GET / HTTP/1.1\r\nHost: t\r\n{many}\r\n", (b"431", b"400")),
        ):
            answer = await rig.raw(data.encode())
            assert answer[9:12] in status


async def test_many_clients_share_one_account_exactly(fake: Store, tmp_path: Path) -> None:
    """failure row 61"""
    async with running(fake, tmp_path) as rig:
        at_once = asyncio.Semaphore(16)

        async def put(number: int) -> int:
            async with at_once:
                return (await rig.put(f"f{number}", b"x" * 10_000))[0]

        statuses = await asyncio.gather(*(put(number) for number in range(150)))
        assert sorted(statuses) == [201] * 100 + [403] * 50
        assert await rig.standing() == (1_000_000, 0)
