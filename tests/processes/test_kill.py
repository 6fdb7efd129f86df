"""A gateway dies in the middle of many uploads: others give back what it held, and soon.

The leases are those of a gateway that was told nothing else: 10 s, extended every 3.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from gateway.tasks import TaskSet
from tests.processes.clients import Upload
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import ScriptedUpstream

FREE_WITHIN_S = 15.0
UPLOADS = 25
SIZE = 10_000


@contextlib.asynccontextmanager
async def half_sent(
    upstream: ScriptedUpstream, house: House, customers: Sequence[Customer]
) -> AsyncIterator[list[Upload]]:
    """`UPLOADS` of each customer, half of every body at the upstream, and going on."""
    uploads = [
        house.upload(house.gateways[0], customer, f"{customer.id}-{number}", SIZE)
        for customer in customers
        for number in range(UPLOADS)
    ]
    tasks = TaskSet()
    try:
        for upload in uploads:
            await upload.begin(SIZE // 2)
            tasks.start(_go_on(upload), name="a paced upload")
        await upstream.until(
            lambda: (
                len(upstream.requests) == len(uploads)
                and all(request.body_bytes >= SIZE // 2 for request in upstream.requests)
            )
        )
        yield uploads
    finally:
        await tasks.stop()


async def _go_on(upload: Upload) -> None:
    with contextlib.suppress(ConnectionError):
        await upload.pace(10, 0.05)


async def test_what_a_killed_gateway_held_is_free_soon(tmp_path: Path) -> None:
    """failure row 3; failure row 2"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=2) as house,
    ):
        doomed, other = house.gateways
        asking = await house.customer("asking")
        quiet = await house.customer("quiet")
        async with half_sent(upstream, house, (asking, quiet)) as uploads:
            # Long enough for heartbeats: it dies with leases that it has extended.
            await until(lambda: all(upload.sent > SIZE * 0.55 for upload in uploads), "half way")
            quota = (await other.quota(asking.key))["storage_bytes"]
            assert (quota["used"], quota["reserved"]) == (0, UPLOADS * SIZE)
            doomed.kill()
            assert await house.findings(asking) == []
            died = time.monotonic()

            async def asked() -> bool:
                return not (await other.quota(asking.key))["storage_bytes"]["reserved"]

            def reaped() -> bool:
                # Looked at in Redis itself: no gateway is asked about this account.
                return house.open_leases(quiet) == 0

            async with asyncio.TaskGroup() as both:
                both.create_task(until(asked, "free for those who ask"))
                both.create_task(until(reaped, "free by the reaper alone"))
            assert time.monotonic() - died < FREE_WITHIN_S
            assert [await upload.reply() for upload in uploads] == [None] * len(uploads)
        for customer in (asking, quiet):
            assert await house.standing(customer) == (0, 0)
        assert upstream.stored == {}
