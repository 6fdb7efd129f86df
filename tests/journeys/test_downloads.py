"""Downloads: what is delivered is charged, and nothing is delivered that was not reserved."""

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import (
    SWITCH,
    Answer,
    Close,
    Drip,
    Echo,
    Head,
    Linger,
    Request,
    Send,
    Stream,
)

PUBLIC = """
[[routes]]
name = "public"
methods = ["GET"]
path = "/public/{account}/{name...}"
upstream = "files"
policy = "download"
auth = []
account = "path"
reserve = { egress_bytes = "response" }

[[routes]]
name = "shared"
methods = ["GET"]
path = "/shared/{name...}"
upstream = "files"
policy = "download"
auth = []
account = "asset"
asset = "files/{name}"
reserve = { egress_bytes = "response" }
strip_prefix = "/shared"
"""


async def test_the_bytes_of_an_answer_are_charged(rig: Rig) -> None:
    await rig.put("a.bin", b"x" * 5000)
    assert await rig.get("a.bin") == (200, b"x" * 5000)
    await rig.settled()
    assert await rig.standing("egress_bytes") == (5000, 0)


async def test_head_delivers_nothing_and_charges_nothing(rig: Rig) -> None:
    """failure row 39"""
    await rig.put("a.bin", b"x" * 5000)
    async with rig.session.head(f"{rig.url}/files/a.bin", headers=rig.headers) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "5000")
    assert await rig.standing("egress_bytes") == (0, 0)


async def test_an_answer_larger_than_what_remains_is_refused_before_it_begins(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, [Request(), whole(2_000_001)]) as rig:
        status, body = await rig.get("big")
        assert status == 403
        assert b"egress_bytes" in body
        assert await rig.standing("egress_bytes") == (0, 0)


async def test_an_account_with_nothing_left_is_refused_before_the_upstream_is_asked(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, [Request(), whole(2_000_000)]) as rig:
        assert (await rig.get("all"))[0] == 200
        await rig.settled()
        assert await rig.standing("egress_bytes") == (2_000_000, 0)
        assert (await rig.get("more"))[0] == 403
        assert len(rig.upstream.requests) == 1


async def test_an_answer_of_unknown_length_is_cut_where_the_quota_ends(
    fake: Store, tmp_path: Path
) -> None:
    endless = Send(b"HTTP/1.1 200 OK\r\n\r\n")
    async with running(fake, tmp_path, [Request(), endless, Stream(5_000_000)]) as rig:
        with pytest.raises(aiohttp.ClientPayloadError):
            await rig.get("endless")
        await rig.settled()
        used, reserved = await rig.standing("egress_bytes")
        assert reserved == 0
        assert used <= 2_000_000


async def test_an_answer_that_breaks_off_charges_what_was_relayed(
    fake: Store, tmp_path: Path
) -> None:
    cut = Answer(200, body=b"x" * 600, length=1000)
    async with running(fake, tmp_path, [Request(), cut, Close()]) as rig:
        with pytest.raises(aiohttp.ClientPayloadError):
            await rig.get("a")
        await rig.settled()
        assert await rig.standing("egress_bytes") == (600, 0)


async def test_a_client_that_leaves_is_charged_what_it_was_sent(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 31"""
    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    async with running(fake, tmp_path, [Request(), head, Drip(b"x" * 1_000_000, 1000)]) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(f"GET /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n\r\n".encode())
        await reader.readexactly(5000)
        writer.transport.abort()
        await rig.settled()
        used, reserved = await rig.standing("egress_bytes")
        assert 4_000 < used < 200_000
        assert reserved == 0
        await rig.upstream.until(lambda: rig.upstream.open == 0)


async def test_ranges_pass_through(fake: Store, tmp_path: Path) -> None:
    part = Answer(206, [(b"Content-Range", b"bytes 0-9/100")], b"0123456789")
    async with running(fake, tmp_path, [Request(), part]) as rig:
        async with rig.session.get(
            f"{rig.url}/files/a", headers=rig.headers | {"Range": "bytes=0-9"}
        ) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == "bytes 0-9/100"
            assert await answer.read() == b"0123456789"
        await rig.settled()
        assert rig.upstream.requests[0].get(b"range") == b"bytes=0-9"
        assert await rig.standing("egress_bytes") == (10, 0)


async def test_a_missing_file_costs_nothing(rig: Rig) -> None:
    assert (await rig.get("nowhere"))[0] == 404
    assert await rig.standing("egress_bytes") == (0, 0)


async def test_what_is_said_of_a_missing_file_needs_no_room(fake: Store, tmp_path: Path) -> None:
    """It is not charged, so it is relayed whole where a file of that size would be denied."""
    missing = Answer(404, body=[b"x" * 100_000] * 2, chunked=True)
    script = [Request(), whole(1_950_000), Request(), missing]
    async with running(fake, tmp_path, script) as rig:
        assert (await rig.get("most"))[0] == 200
        await rig.settled()
        assert await rig.get("nowhere") == (404, b"x" * 200_000)
        assert await rig.standing("egress_bytes") == (1_950_000, 0)


async def test_a_public_download_is_charged_to_the_account_of_its_path(
    fake: Store, tmp_path: Path
) -> None:
    wishes = Wishes(extra=PUBLIC)
    async with running(
        fake, tmp_path, [Request(), Answer(200, body=b"hello")], wishes=wishes
    ) as rig:
        async with rig.session.get(f"{rig.url}/public/acme/x") as answer:
            assert await answer.read() == b"hello"
        await rig.settled()
        assert await rig.standing("egress_bytes") == (5, 0)
        async with rig.session.get(f"{rig.url}/public/nobody/x") as answer:
            assert answer.status == 404


async def test_a_public_download_is_charged_to_the_owner_of_the_asset(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, wishes=Wishes(extra=PUBLIC)) as rig:
        await rig.put("a.bin", b"x" * 100)
        async with rig.session.get(f"{rig.url}/shared/a.bin") as answer:
            assert answer.status == 404  # by the upstream, which knows it under /files
        assert await rig.standing("egress_bytes") == (0, 0)
        async with rig.session.get(f"{rig.url}/shared/unknown") as answer:
            assert answer.status == 404
        assert len(rig.upstream.requests) == 2


def whole(total: int) -> Answer:
    return Answer(200, body=b"x" * total)


TIMED = """
[meters.delivery_seconds]
kind = "cumulative"
unit = "seconds"

[[routes]]
name = "timed"
methods = ["GET"]
path = "/timed/{name...}"
upstream = "files"
policy = "download"
reserve = { delivery_seconds = "delivery_seconds" }
"""


async def test_seconds_of_delivery_are_counted_rounded_up(fake: Store, tmp_path: Path) -> None:
    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
    script = [Request(), head, Drip(b"x" * 20, 1, 0.06)]
    async with running(fake, tmp_path, script, wishes=Wishes(extra=TIMED)) as rig:
        async with rig.session.get(f"{rig.url}/timed/a", headers=rig.headers) as answer:
            assert await answer.read() == b"x" * 20
        await rig.settled()
        assert await rig.standing("delivery_seconds") == (2, 0)


async def test_an_upgraded_connection_is_charged_for_both_directions(
    fake: Store, tmp_path: Path
) -> None:
    sockets = """
[[routes]]
name = "sockets"
methods = ["GET"]
path = "/sockets/{name}"
upstream = "files"
policy = "download"
upgrade = true
reserve = { egress_bytes = "response" }
"""
    wishes = Wishes(extra=sockets)
    async with running(fake, tmp_path, [Head(), SWITCH, Echo()], wishes=wishes) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"GET /sockets/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ping" * 1000)
        assert await reader.readexactly(4000) == b"ping" * 1000
        writer.close()
        await rig.settled()
        assert await rig.standing("egress_bytes") == (8000, 0)


async def test_an_upgraded_connection_is_cut_where_the_quota_ends(
    fake: Store, tmp_path: Path
) -> None:
    sockets = """
[[routes]]
name = "sockets"
methods = ["GET"]
path = "/sockets/{name}"
upstream = "files"
policy = "download"
upgrade = true
reserve = { egress_bytes = "response" }
grow_step = "64KiB"
"""
    wishes = Wishes(extra=sockets)
    async with running(fake, tmp_path, [Head(), SWITCH, Linger()], wishes=wishes) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"GET /sockets/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"p" * 2_500_000)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await rig.settled()
        used, _ = await rig.standing("egress_bytes")
        assert used <= 2_000_000
        assert rig.upstream.bytes_in <= 2_000_000 + 1000
