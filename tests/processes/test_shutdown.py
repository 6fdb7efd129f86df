"""A gateway is told to stop while uploads run: it lets them end, cuts the rest, settles all."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.tasks import TaskSet
from tests.processes.clients import Upload
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import ScriptedUpstream

DRAIN_S = 3
SHORT, LONG = 60, 40
SIZE = 2_000


@contextlib.asynccontextmanager
async def begun(
    upstream: ScriptedUpstream, house: House, customer: Customer
) -> AsyncIterator[tuple[list[Upload], list[Upload]]]:
    """Uploads of which the short ones end within about a second, the long ones much later."""
    gateway = house.gateways[0]
    short = [house.upload(gateway, customer, f"short-{n}", SIZE) for n in range(SHORT)]
    long = [house.upload(gateway, customer, f"long-{n}", SIZE * 100) for n in range(LONG)]
    tasks = TaskSet()
    try:
        for upload in short + long:
            await upload.begin(SIZE // 10)
            tasks.start(_paced(upload), name="a paced upload")
        await upstream.until(lambda: len(upstream.requests) == SHORT + LONG)
        yield short, long
    finally:
        await tasks.stop()


async def _not_ready(gateway: GatewayProcess) -> bool:
    return not await gateway.ready()


async def _paced(upload: Upload) -> None:
    with contextlib.suppress(ConnectionError):
        await upload.pace(SIZE // 10, 0.1)


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGTERM], id="SIGTERM"),
        pytest.param([signal.SIGTERM, signal.SIGTERM, signal.SIGINT], id="impatient"),
        pytest.param([signal.SIGINT], id="Ctrl-C"),
    ],
)
async def test_uploads_end_or_are_cut_and_all_is_settled(
    tmp_path: Path, signals: list[signal.Signals]
) -> None:
    """failure row 9"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, drain_timeout=f"{DRAIN_S}s")) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        kept = house.kept(gateway, acme)
        assert (await kept.ask("GET", "/v1/quota")).status == 200
        async with begun(upstream, house, acme) as (short, long):
            told = time.monotonic()
            for number in signals:
                gateway.signal(number)
            await until(lambda: _not_ready(gateway), "it says that it stops", within_s=DRAIN_S)
            with pytest.raises(OSError, match="Connect call failed"):
                await asyncio.open_connection("127.0.0.1", gateway.port)
            replies = [await upload.reply() for upload in short]
            assert [reply and reply.status for reply in replies] == [201] * SHORT
            assert gateway.alive
            cut = [await upload.reply() for upload in long]
            assert time.monotonic() - told > DRAIN_S - 0.5
            assert [reply and reply.status for reply in cut] == [503] * LONG
            assert await gateway.end() == 0
            assert time.monotonic() - told < DRAIN_S + 4
        await house.settled(acme)
        assert await house.standing(acme) == (SHORT * SIZE, 0)
        assert len(upstream.stored) == SHORT


async def test_a_gateway_without_work_stops_at_once(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, drain_timeout="30s")) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        kept = house.kept(gateway, acme)
        assert (await kept.ask("PUT", "/files/a", b"x")).status == 201
        gateway.signal(signal.SIGTERM)
        assert await gateway.end() == 0
        assert await until(lambda: not gateway.alive, "it has ended") < 3
