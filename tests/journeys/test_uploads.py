"""Uploads through the whole gateway: admitted, denied, cut, abandoned; the books always balance."""

import asyncio
from pathlib import Path

import aiohttp

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Body, Close, Hang, Head, Request, Reset, Wait

PROBLEM = "application/problem+json"


async def test_an_upload_is_stored_charged_and_told(rig: Rig) -> None:
    status, told = await rig.put("a.bin", b"x" * 1000)
    assert (status, told) == (201, {"size": 1000})
    assert rig.upstream.stored[b"/files/a.bin"] == b"x" * 1000
    assert await rig.standing() == (1000, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_over_quota_is_403_and_the_upstream_hears_nothing(rig: Rig) -> None:
    status, problem = await rig.put("big.bin", b"x" * 1_000_001)
    assert status == 403
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["meter"] == "storage_bytes"
    assert (problem["limit"], problem["used"], problem["reserved"]) == (1_000_000, 0, 0)
    assert problem["requested"] == 1_000_001
    assert rig.upstream.connections == 0
    assert await rig.standing() == (0, 0)
    assert await rig.standing("uploads") == (0, 0)


async def test_the_last_byte_fits(rig: Rig) -> None:
    assert (await rig.put("a", b"x" * 999_999))[0] == 201
    assert (await rig.put("b", b"xx"))[0] == 403
    assert (await rig.put("b", b"x"))[0] == 201
    assert (await rig.put("c", b"x"))[0] == 403
    assert (await rig.put("empty", b""))[0] == 201
    assert await rig.standing() == (1_000_000, 0)


async def test_a_body_of_unknown_length_grows_ahead_of_the_bytes(rig: Rig) -> None:
    """failure row 42"""

    async def pieces(total: int) -> object:
        for _ in range(total // 50_000):
            yield b"y" * 50_000

    async def put(total: int) -> int:
        async with rig.session.put(
            f"{rig.url}/files/chunked-{total}", data=pieces(total), headers=rig.headers
        ) as answer:
            await answer.read()
            return answer.status

    assert await put(1_000_000) == 201
    assert await rig.standing() == (1_000_000, 0)
    assert await rig.delete("chunked-1000000") == 204
    assert await put(1_050_000) == 403
    await rig.settled()
    assert await rig.standing() == (0, 0)
    assert b"/files/chunked-1050000" not in rig.upstream.stored


async def test_no_key_or_a_wrong_one_is_401(rig: Rig) -> None:
    wrong = rig.key[:-1] + ("y" if rig.key.endswith("x") else "x")
    for headers in ({}, {"X-API-Key": "nonsense"}, {"X-API-Key": wrong}):
        async with rig.session.put(f"{rig.url}/files/a", data=b"x", headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["Content-Type"] == PROBLEM
            assert "WWW-Authenticate" in answer.headers
    assert rig.upstream.connections == 0


async def test_answers_carry_the_request_id_and_the_rate_limit_fields(rig: Rig) -> None:
    async with rig.session.put(
        f"{rig.url}/files/a", data=b"x" * 100, headers=rig.headers | {"X-Request-Id": "mine-1"}
    ) as answer:
        assert answer.headers["X-Request-Id"] == "mine-1"
        assert '"storage_bytes";q=1000000;qu="content-bytes"' in answer.headers["RateLimit-Policy"]
        assert '"storage_bytes";r=999900' in answer.headers["RateLimit"]


async def test_a_refused_upload_sends_no_body_byte_after_expect(rig: Rig) -> None:
    head = (
        f"PUT /files/big HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
        "Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(head.encode())
    assert b" 403 " in await reader.readline()
    writer.close()


async def test_expect_is_answered_once_the_reservation_stands(rig: Rig) -> None:
    head = (
        f"PUT /files/small HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(head.encode())
    assert b" 100 " in await reader.readline()
    assert await rig.standing() == (0, 5)
    writer.write(b"hello")
    assert await reader.readline() == b"\r\n"
    assert b" 201 " in await reader.readline()
    writer.close()


async def test_a_connection_that_ends_before_the_body_has_begun_is_replaced(
    fake: Store, tmp_path: Path
) -> None:
    """Also for a POST: the upstream has not heard of it yet."""
    close = asyncio.Event()
    kept = [Request(), Answer(201), Wait(close), Close()]
    async with running(fake, tmp_path, kept, [Request(), Answer(201)]) as rig:
        async with rig.session.post(
            f"{rig.url}/files/warm", data=b"x", headers=rig.headers
        ) as answer:
            assert answer.status == 201
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"POST /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        close.set()
        await rig.upstream.until(lambda: rig.upstream.connections == 2)
        writer.write(b"hello")
        assert b" 201 " in await reader.readline()
        writer.close()
        assert await rig.standing() == (6, 0)


async def test_a_post_that_was_sent_is_not_sent_again(fake: Store, tmp_path: Path) -> None:
    kept = [Request(), Answer(201), Request(), Close()]
    async with running(fake, tmp_path, kept, [Request(), Answer(201)], audited=False) as rig:
        head = (
            f"POST /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for status in (b" 201 ", b" 502 "):
            writer.write(head.encode() + b"0\r\n\r\n")
            assert status in (await reader.readuntil(b"\r\n\r\n"))
        writer.close()
        assert len(rig.upstream.requests) == 2


async def test_an_upstream_error_releases(fake: Store, tmp_path: Path) -> None:
    """failure row 36"""
    for status in (400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 599):
        async with running(fake, tmp_path, [Request(), Answer(status, body=b"no")]) as rig:
            async with rig.session.put(
                f"{rig.url}/files/a", data=b"x" * 100, headers=rig.headers
            ) as answer:
                assert (answer.status, await answer.read()) == (status, b"no")
            assert await rig.standing() == (0, 0)
        await fake.client.flushall()


async def test_a_client_that_leaves_mid_body_releases(fake: Store, tmp_path: Path) -> None:
    """failure row 29"""
    async with running(fake, tmp_path, [Request(), Answer(201)]) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 1000\r\n\r\n".encode()
            + b"x" * 500
        )
        await rig.upstream.until(
            lambda: bool(rig.upstream.requests) and rig.upstream.requests[0].body_bytes >= 500
        )
        assert await rig.standing() == (0, 1000)
        writer.transport.abort()
        await rig.settled()
        assert await rig.standing() == (0, 0)
        await rig.upstream.until(lambda: rig.upstream.open == 0)


async def test_a_client_that_leaves_after_the_last_byte_is_charged(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 30"""
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), Answer(201)]) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 10\r\n\r\n0123456789".encode()
        )
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        writer.transport.abort()
        go_on.set()
        await rig.settled()
        assert await rig.standing() == (10, 0)


async def test_no_upstream_is_502_and_releases(fake: Store, tmp_path: Path) -> None:
    """failure row 33"""
    async with running(fake, tmp_path) as rig:
        await rig.upstream.__aexit__()
        status, problem = await rig.put("a", b"x" * 100)
        assert (status, problem["code"]) == (502, "upstream-unreachable")
        assert await rig.standing() == (0, 0)


async def test_an_upstream_that_resets_mid_body_is_502(fake: Store, tmp_path: Path) -> None:
    """failure row 34"""
    async with running(fake, tmp_path, [Head(), Body(500), Reset()]) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 1000\r\n\r\n".encode()
            + b"x" * 500
        )
        assert b" 502 " in await reader.readline()
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_silence_after_the_last_byte_leaves_the_reservation_in_doubt(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 35"""
    wishes = Wishes(answer_timeout="200ms")
    async with running(fake, tmp_path, [Request(), Hang()], wishes=wishes, audited=False) as rig:
        status, problem = await rig.put("a", b"x" * 100)
        assert (status, problem["code"]) == (504, "upstream-timeout")
        assert await rig.standing() == (0, 100)


async def test_an_early_refusal_is_relayed(fake: Store, tmp_path: Path) -> None:
    """failure row 37"""
    early = Answer(413, [(b"Connection", b"close")], b"too big for me")
    async with running(fake, tmp_path, [Head(), Body(65_536), early, Close()]) as rig:
        async with rig.session.put(
            f"{rig.url}/files/a", data=b"x" * 900_000, headers=rig.headers
        ) as answer:
            assert (answer.status, await answer.read()) == (413, b"too big for me")
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_a_truncated_answer_still_commits(fake: Store, tmp_path: Path) -> None:
    """failure row 38"""
    cut = Answer(201, body=b"half", length=8)
    async with running(fake, tmp_path, [Request(), cut, Close()]) as rig:
        try:
            await rig.put("a", b"x" * 100)
        except aiohttp.ClientPayloadError:
            pass
        else:
            raise AssertionError("the client took half an answer for a whole one")
        assert await rig.standing() == (100, 0)
