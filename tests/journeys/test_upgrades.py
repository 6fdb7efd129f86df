"""Upgraded connections: bytes of another protocol, until one side ends or nothing moves."""

import asyncio
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.proxy import watchdog
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import SWITCH, Echo, Hang, Head, Linger, Stream, Wait

ON_EVERY_LOOP = True

QUICK = Wishes(server='body_idle = "200ms"', upstream_idle="300ms")


async def opened(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = ["GET /pass/ws HTTP/1.1", "Host: here", f"X-API-Key: {rig.key}"]
    lines += ["Connection: Upgrade", "Upgrade: echo", "", ""]
    writer.write("\r\n".join(lines).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def ended(rig: Rig) -> None:
    async with asyncio.timeout(5):
        while rig.gateway.metrics.in_flight.now():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_it_carries_bytes_both_ways(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Head(), SWITCH, Echo()]) as rig:
        reader, writer = await opened(rig)
        for _ in range(3):
            writer.write(b"ping" * 1000)
            assert await reader.readexactly(4000) == b"ping" * 1000
        writer.close()
        await rig.upstream.until(lambda: rig.upstream.open == 0)


async def test_it_lasts_while_one_side_alone_speaks(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Head(), SWITCH, Linger()], wishes=QUICK) as rig:
        _, writer = await opened(rig)
        before = rig.upstream.bytes_in
        for _ in range(15):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await rig.upstream.until(lambda: rig.upstream.bytes_in == before + 15)
        assert rig.upstream.open == 1
        writer.close()


async def test_it_ends_when_nothing_moves(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Head(), SWITCH, Hang()], wishes=QUICK) as rig:
        reader, writer = await opened(rig)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


async def test_a_client_that_takes_nothing_ends_it(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 32"""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    endless = [Head(), SWITCH, Stream(100_000_000)]
    async with running(fake, tmp_path, endless, wishes=QUICK) as rig:
        _, writer = await opened(rig)
        await ended(rig)
        writer.transport.abort()
        assert rig.upstream.bytes_out < 100_000_000


async def test_what_the_client_sent_last_still_arrives(fake: Store, tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Head(), SWITCH, Wait(go_on), Linger()]) as rig:
        _, writer = await opened(rig)
        (upstream,) = rig.gateway.handler.live.pools["files"]._open
        assert upstream._transport is not None
        before, sent = rig.upstream.bytes_in, 0
        while not upstream._transport.get_write_buffer_size():
            writer.write(b"x" * 50_000)
            sent += 50_000
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        go_on.set()
        await rig.upstream.until(lambda: rig.upstream.open == 0)
        assert rig.upstream.bytes_in - before == sent
