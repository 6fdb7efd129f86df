"""kill -9 in the middle of resumable uploads: another gateway, or the next one, goes on with them.

What a gateway was creating is free soon; what had been created stays reserved, until it is whole.
"""

from pathlib import Path

import aiohttp

from gateway.proxy.uploads.asker import CLAIM_MS
from gateway.proxy.uploads.books import ASK_MS
from gateway.tasks import TaskSet
from tests.journeys.tus_client import ROUTES, TusClient
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, deployed
from tests.tus_upstream import TusServer
from tests.upstreams import Hang, Request, ScriptedUpstream

LEASES = 'lease = "3s"\nheartbeat = "1s"'
FREE_WITHIN_S = 7.0
ASKED_WITHIN_S = (ASK_MS + CLAIM_MS) / 1_000 + 10.0
"""A gateway that took an upload on and found the store slow leaves it to whoever takes it on next:
when its claim has run out, and a round has begun."""
SIZE = 1_000


def client(
    session: aiohttp.ClientSession, gateway: GatewayProcess, customer: Customer
) -> TusClient:
    return TusClient(session, gateway.url, customer.key)


def wishes(upstream: ScriptedUpstream) -> Wishes:
    return Wishes(upstream.url, server=LEASES, routes=ROUTES)


async def test_in_the_middle_of_a_creation(tmp_path: Path) -> None:
    """failure row 2 (an upload)"""
    tasks = TaskSet()
    async with (
        ScriptedUpstream([Request(), Hang()], [TusServer()]) as upstream,
        deployed(tmp_path, wishes(upstream), gateways=2) as house,
        aiohttp.ClientSession() as session,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme", storage=SIZE)
        creation = tasks.start(client(session, doomed, acme).create(SIZE), name="create")
        await upstream.until(lambda: bool(upstream.requests))
        assert await house.standing(acme) == (0, SIZE)
        doomed.kill()
        await until(creation.done, "the client has noticed")
        assert isinstance(creation.exception(), aiohttp.ClientError)

        async def free() -> bool:
            return await house.standing(acme) == (0, 0)

        await until(free, "nothing is held", within_s=FREE_WITHIN_S)
        tus = client(session, other, acme)
        path = await tus.created(SIZE)
        assert (await tus.patch(path, 0, b"x" * SIZE)).status == 204
        assert await house.standing(acme) == (SIZE, 0)


async def test_in_the_middle_of_its_bytes(tmp_path: Path) -> None:
    """failure row 3 (an upload)"""
    async with (
        ScriptedUpstream([TusServer()]) as upstream,
        deployed(tmp_path, wishes(upstream), gateways=2) as house,
        aiohttp.ClientSession() as session,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme", storage=SIZE)
        path = await client(session, doomed, acme).created(SIZE)
        _, writer = await client(session, doomed, acme).raw_patch(path, 0, SIZE, b"x" * 400)
        await upstream.until(lambda: upstream.requests[-1].body_bytes == 400)
        doomed.kill()
        writer.close()
        await upstream.until(lambda: upstream.open == 0)
        tus = client(session, other, acme)
        assert await house.standing(acme) == (0, SIZE)
        assert (await tus.head(path)).offset == 400
        assert (await tus.patch(path, 400, b"y" * (SIZE - 400))).status == 204
        assert await house.standing(acme) == (SIZE, 0)


async def test_after_its_last_byte(tmp_path: Path) -> None:
    """failure rows 4, 5 (an upload)"""
    server, tasks = TusServer(), TaskSet()
    async with (
        ScriptedUpstream([server]) as upstream,
        deployed(tmp_path, wishes(upstream), gateways=2) as house,
        aiohttp.ClientSession() as session,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme", storage=SIZE)
        path = await client(session, doomed, acme).created(SIZE)
        server.mute, server.hangs = b"PATCH", True
        patch = tasks.start(client(session, doomed, acme).patch(path, 0, b"x" * SIZE), name="patch")
        await upstream.until(
            lambda: upstream.requests[-1].method == b"PATCH" and upstream.requests[-1].ended
        )
        doomed.kill()
        await until(patch.done, "the client has noticed")
        assert isinstance(patch.exception(), aiohttp.ClientError)
        assert await house.standing(acme) == (0, SIZE)
        assert (await client(session, other, acme).head(path)).offset == SIZE
        assert await house.standing(acme) == (SIZE, 0)
        await doomed.start()
        assert (await client(session, doomed, acme).head(path)).offset == SIZE
        assert await house.standing(acme) == (SIZE, 0)


async def test_after_its_last_byte_and_its_client_never_comes_back(tmp_path: Path) -> None:
    """failure rows 4, 5 (an upload): another gateway asks the upstream by itself."""
    server, tasks = TusServer(), TaskSet()
    async with (
        ScriptedUpstream(*[[server]] * 8) as upstream,
        deployed(tmp_path, wishes(upstream), gateways=2) as house,
        aiohttp.ClientSession() as session,
    ):
        doomed, _ = house.gateways
        acme = await house.customer("acme", storage=SIZE)
        path = await client(session, doomed, acme).created(SIZE)
        server.mute, server.hangs = b"PATCH", True
        patch = tasks.start(client(session, doomed, acme).patch(path, 0, b"x" * SIZE), name="patch")
        await upstream.until(
            lambda: upstream.requests[-1].method == b"PATCH" and upstream.requests[-1].ended
        )
        doomed.kill()
        await until(patch.done, "the client has noticed")
        assert isinstance(patch.exception(), aiohttp.ClientError)

        async def charged() -> bool:
            return await house.standing(acme) == (SIZE, 0)

        await until(charged, "the upload is charged", within_s=ASKED_WITHIN_S)
        assert upstream.requests[-1].method == b"HEAD"
