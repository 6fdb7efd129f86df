"""Bodies of 2 GiB pass through, unchanged, and leave the gateway as small as it was."""

import asyncio
from pathlib import Path

import pytest

from tests.processes.bulk import BulkUpstream, digest_of, get, put
from tests.processes.configuration import Wishes
from tests.processes.harness import deployed

TOTAL = 2 * 1024**3
MEMORY_MAX = 120 * 1024**2

LENGTH_OR_CHUNKS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


@LENGTH_OR_CHUNKS
async def test_2_gib_up(tmp_path: Path, chunked: bool) -> None:
    with BulkUpstream() as upstream:
        wishes = Wishes(upstream.url, storage=TOTAL)
        async with deployed(tmp_path, wishes) as house:
            (gateway,) = house.gateways
            acme = await house.customer("acme")
            status = await asyncio.to_thread(put, gateway.port, acme.key, TOTAL, chunked=chunked)
            assert status == 201
            assert upstream.received == [(TOTAL, await asyncio.to_thread(digest_of, TOTAL))]
            assert await house.standing(acme) == (TOTAL, 0)
            assert gateway.memory_peak < MEMORY_MAX


@LENGTH_OR_CHUNKS
async def test_2_gib_down(tmp_path: Path, chunked: bool) -> None:
    with BulkUpstream() as upstream:
        wishes = Wishes(upstream.url, egress=TOTAL)
        async with deployed(tmp_path, wishes) as house:
            (gateway,) = house.gateways
            acme = await house.customer("acme")
            name = f"chunked-{TOTAL}" if chunked else str(TOTAL)
            status, size, digest = await asyncio.to_thread(get, gateway.port, acme.key, name)
            assert (status, size) == (200, TOTAL)
            assert digest == await asyncio.to_thread(digest_of, TOTAL)
            assert await house.standing(acme, "egress_bytes") == (TOTAL, 0)
            assert gateway.memory_peak < MEMORY_MAX
