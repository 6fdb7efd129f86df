"""Gateways die in the middle of many uploads: another gives back what they held, and soon.

The leases are those of a gateway that was told nothing else: 10 s, extended every 3.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.tasks import TaskSet
from tests.processes.clients import Upload
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import ScriptedUpstream

FREE_WITHIN_S = 15.0
UPLOADS = 25
SIZE = 10_000


async def test_what_killed_gateways_held_is_free_soon(tmp_path: Path) -> None:
    """failure row 3; failure row 2"""
    tasks = TaskSet()
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=3) as house,
    ):
        old, young, other = house.gateways
        asking, quiet = await house.customer("asking"), await house.customer("quiet")
        newcomer = await house.customer("newcomer")
        uploads = await half_sent(house, old, (asking, quiet), tasks)
        # Long enough for heartbeats: it dies with leases that it has extended.
        await until(lambda: all(upload.sent > SIZE * 0.55 for upload in uploads), "half way")
        # The other one dies before its first heartbeat.
        uploads += await half_sent(house, young, (newcomer,), tasks)
        await upstream.until(
            lambda: sum(request.body_bytes >= SIZE // 2 for request in upstream.requests) == 75
        )
        quota = (await other.quota(asking.key))["storage_bytes"]
        assert (quota["used"], quota["reserved"]) == (0, UPLOADS * SIZE)
        for doomed in (old, young):
            doomed.kill()
        died = time.monotonic()
        assert [await house.findings(customer) for customer in house.customers] == [[], [], []]

        async def asked() -> bool:
            return not (await other.quota(asking.key))["storage_bytes"]["reserved"]

        def reaped() -> bool:
            # Looked at in Redis itself: no gateway is asked about these accounts.
            return not house.open_leases(quiet) and not house.open_leases(newcomer)

        async with asyncio.TaskGroup() as both:
            both.create_task(until(asked, "free for those who ask"))
            both.create_task(until(reaped, "free by the reaper alone"))
        assert time.monotonic() - died < FREE_WITHIN_S
        await tasks.stop()
        assert [await upload.reply() for upload in uploads] == [None] * len(uploads)
        for customer in house.customers:
            assert await house.standing(customer) == (0, 0)
        assert upstream.stored == {}


async def half_sent(
    house: House, gateway: GatewayProcess, customers: Sequence[Customer], tasks: TaskSet
) -> list[Upload]:
    """`UPLOADS` of each customer, half of every body sent, and going on slowly."""
    uploads = [
        house.upload(gateway, customer, f"{customer.id}-{number}", SIZE)
        for customer in customers
        for number in range(UPLOADS)
    ]
    for upload in uploads:
        await upload.begin(SIZE // 2)
        tasks.start(_go_on(upload), name="a paced upload")
    return uploads


async def _go_on(upload: Upload) -> None:
    with contextlib.suppress(ConnectionError):
        await upload.pace(10, 0.05)
