"""Bodies of 2 GiB pass through, unchanged, and leave the gateway as small as it was."""

import asyncio
from pathlib import Path

import pytest

from tests.processes.bulk import BulkUpstream, digest_of, get, put
from tests.processes.configuration import Wishes
from tests.processes.harness import deployed

GIB = 1024**3
MEMORY_MAX = 120 * 1024**2

SHAPES = pytest.mark.parametrize(
    ("total", "chunked", "server"),
    [
        pytest.param(2 * GIB, False, "", id="2GiB"),
        pytest.param(GIB // 2, False, "splice = false", id="512MiB-copied"),
        pytest.param(GIB // 2, True, "", id="512MiB-chunked"),
        pytest.param(2 * GIB, False, "splice = false", id="2GiB-copied", marks=pytest.mark.long),
        pytest.param(2 * GIB, True, "", id="2GiB-chunked", marks=pytest.mark.long),
    ],
)


@SHAPES
async def test_up(tmp_path: Path, total: int, chunked: bool, server: str) -> None:
    with BulkUpstream() as upstream:
        wishes = Wishes(upstream.url, storage=total, server=server)
        async with deployed(tmp_path, wishes) as house:
            (gateway,) = house.gateways
            acme = await house.customer("acme")
            status = await asyncio.to_thread(put, gateway.port, acme.key, total, chunked=chunked)
            assert status == 201
            assert upstream.received == [(total, await asyncio.to_thread(digest_of, total))]
            assert await house.standing(acme) == (total, 0)
            assert gateway.memory_peak < MEMORY_MAX


@SHAPES
async def test_down(tmp_path: Path, total: int, chunked: bool, server: str) -> None:
    with BulkUpstream() as upstream:
        wishes = Wishes(upstream.url, egress=total, server=server)
        async with deployed(tmp_path, wishes) as house:
            (gateway,) = house.gateways
            acme = await house.customer("acme")
            name = f"chunked-{total}" if chunked else str(total)
            status, size, digest = await asyncio.to_thread(get, gateway.port, acme.key, name)
            assert (status, size) == (200, total)
            assert digest == await asyncio.to_thread(digest_of, total)
            await house.settled(acme)
            assert await house.standing(acme, "egress_bytes") == (total, 0)
            assert gateway.memory_peak < MEMORY_MAX
