"""Clients that dawdle: each is cut at its limit, gives back what it held, and hinders nobody."""

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.tasks import TaskSet
from tests.loop_time import loop_time
from tests.processes.clients import Upload, head
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import Answer, Repeat, Request, ScriptedUpstream, Stream

IDLE_S = 1.0
TICK_S = 1.0
"""The watchdog looks once a second."""
LATE_S = 2.0
"""For a machine that is busy with other tests, beside what `loop_time` leaves out of that."""
DRIP_S = 0.2
HUNDRED_MIB = 100 * 1024**2

SERVER = 'header_timeout = "1s"'
ROUTE = 'body_idle = "1s"\nbody_rate_min = 1000'


def hasty(upstream: ScriptedUpstream) -> Wishes:
    return Wishes(upstream.url, server=SERVER, upload=ROUTE, download=ROUTE)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a client that dawdled was answered, when, and how many bytes it had sent by then."""

    answer: bytes
    seconds: float
    sent: int


async def drip(port: int, data: bytes) -> Cut:
    """Send one byte after the other, for as long as the gateway lets it go on."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer, sent = b"", 0
    try:
        for byte in data:
            writer.write(bytes((byte,)))
            sent += 1
            try:
                async with asyncio.timeout(DRIP_S):
                    answer = await reader.read()
                break
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return Cut(answer, time.monotonic() - began, sent)


async def test_slow_heads_hinder_nobody(tmp_path: Path) -> None:
    """failure row 32"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server='header_timeout = "60s"')) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        data = head("PUT", "/files/slow", acme.key, "Content-Length: 1")
        tasks = TaskSet()
        slow = [tasks.start(drip(gateway.port, data), name="a slow head") for _ in range(200)]
        line = house.kept(gateway, acme)
        for number in range(50):
            assert (await line.ask("PUT", f"/files/{number}", b"q")).status == 201
        assert not any(task.done() for task in slow)
        await tasks.stop()


async def test_slow_heads(tmp_path: Path) -> None:
    """failure row 32"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, hasty(upstream)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        data = head("PUT", "/files/slow", acme.key, "Content-Length: 1")
        for cut in await asyncio.gather(*(drip(gateway.port, data) for _ in range(200))):
            # A byte that crosses the end resets the connection, and the answer may go with it.
            assert cut.answer.startswith(b"HTTP/1.1 408 ") or cut.answer == b""
            assert cut.seconds > 0.9
            assert cut.sent < (1 + LATE_S) / DRIP_S < len(data)
        # Whoever says nothing at all is not waited for either.
        async with loop_time() as clock:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            assert clock.passed_s < 1 + LATE_S
        writer.close()


async def test_slow_bodies(tmp_path: Path) -> None:
    """failure row 32"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, hasty(upstream)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        tasks = TaskSet()
        silent = [house.upload(gateway, acme, f"silent-{n}", 10_000) for n in range(50)]
        dripping = [house.upload(gateway, acme, f"drip-{n}", 100_000) for n in range(50)]
        async with loop_time() as clock:
            for upload in silent + dripping:
                await upload.begin(5_000)
            for upload in dripping:
                # Never silent for long, but far below 1000 bytes a second after its start.
                tasks.start(_drip(upload), name="a dripping upload")
            await until(lambda: house.open_leases(acme) == 100, "all are admitted")
            assert (await house.standing(acme)) == (0, 50 * 110_000)
            for upload in silent:
                assert await _status(upload) == 408
            assert clock.passed_s < IDLE_S + TICK_S + LATE_S
            for upload in dripping:
                assert await _status(upload) == 408
            assert clock.passed_s < 5 + IDLE_S + TICK_S + LATE_S
        await tasks.stop()
        await house.settled(acme, within_s=2)
        assert await house.standing(acme) == (0, 0)
        assert upstream.stored == {}
        await upstream.until(lambda: upstream.open == 0)


async def _drip(upload: Upload) -> None:
    with contextlib.suppress(ConnectionError):
        await upload.pace(10, 0.2)


async def _status(upload: Upload) -> int | None:
    reply = await upload.reply()
    return None if reply is None else reply.status


async def test_slow_readers(tmp_path: Path) -> None:
    """failure row 32"""
    huge = [Repeat([Request(), Answer(200, length=HUNDRED_MIB), Stream(HUNDRED_MIB)])]
    async with (
        ScriptedUpstream(huge) as upstream,
        deployed(tmp_path, hasty(upstream).but(egress=20 * HUNDRED_MIB)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        before = gateway.memory_peak
        sockets = [await _asks_and_does_not_read(gateway.port, acme.key) for _ in range(10)]
        await until(partial(_all_is_held, house, acme), "all answers have begun")
        async with loop_time() as clock:
            await until(lambda: len(gateway.lines("access")) == 10, "they are cut")
            assert clock.passed_s < 2 * IDLE_S + TICK_S + LATE_S
        # As the gateway has it: how long ago they began is not known here.
        assert min(line["duration_ms"] for line in gateway.lines("access")) > 2_000 * IDLE_S
        await house.settled(acme)
        # What went into the sockets' buffers counts as delivered; the gateway kept little more.
        used, _ = await house.standing(acme, "egress_bytes")
        assert used < 10 * 16 * 1024**2
        assert gateway.memory_peak - before < 30 * 1024**2
        await upstream.until(lambda: upstream.open == 0)
        for each in sockets:
            each.close()


async def _all_is_held(house: House, customer: Customer) -> bool:
    return (await house.standing(customer, "egress_bytes"))[1] == 10 * HUNDRED_MIB


async def _asks_and_does_not_read(port: int, key: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, head("GET", "/files/huge", key))
    return connection


async def test_more_connections_than_allowed_are_closed_at_once(tmp_path: Path) -> None:
    """failure row 32"""
    most = 20
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=f"connections_max = {most}")) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        lines = [house.kept(gateway, acme) for _ in range(most)]
        for number, line in enumerate(lines):
            assert (await line.ask("PUT", f"/files/{number}", b"x")).status == 201
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        async with asyncio.timeout(LATE_S):
            assert await reader.read() == b""
        writer.close()
        for line in lines:
            assert (await line.ask("GET", "/v1/quota")).status == 200
        lines[0].close()
        await until(lambda: _is_let_in(house), "there is room for a connection again")


async def _is_let_in(house: House) -> bool:
    upload = house.upload(house.gateways[0], house.customers[0], "late", 1)
    try:
        await upload.begin(1)
        return await _status(upload) == 201
    except ConnectionError:
        return False
    finally:
        upload.close()
