"""Idempotency-Key over gateways that are killed: who asks again is answered, and charged once."""

import asyncio
import random
import signal
from collections import Counter
from functools import partial
from pathlib import Path

from gateway.ledger.keys import keys_of
from tests.processes.clients import Reply, head, read_reply
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import Answer, Repeat, Request, ScriptedUpstream, Wait

LEASES = 'lease = "3s"\nheartbeat = "1s"'
SIZE = 1_000
NAMES = 150


async def put(gateway: GatewayProcess, customer: Customer, name: str) -> Reply | None:
    """The answer to /files/`name` under that name; None when the gateway broke off without one."""
    lines = (f"Content-Length: {SIZE}", f"Idempotency-Key: {name}", "Connection: close")
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            try:
                writer.write(head("PUT", f"/files/{name}", customer.key, *lines) + b"n" * SIZE)
                return await read_reply(reader)
            finally:
                writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError):
        return None


def charged(house: House, customer: Customer) -> set[str]:
    """The names of everything that is on the books."""
    found = house.redis.run("HKEYS", keys_of(customer.id).assets)
    assert isinstance(found, list)
    return {asset.decode().removeprefix("files/") for asset in found}


async def test_a_client_that_was_charged_and_not_answered_is_answered_elsewhere(
    tmp_path: Path,
) -> None:
    """failure row 7"""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201, body=b"stored")]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=LEASES), gateways=2) as house,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme")
        lines = (f"Content-Length: {SIZE}", "Idempotency-Key: one")
        _, writer = await asyncio.open_connection("127.0.0.1", doomed.port)
        writer.write(head("PUT", "/files/one", acme.key, *lines) + b"n" * SIZE)
        await upstream.until(lambda: bool(upstream.requests) and upstream.requests[0].ended)
        busy = await put(other, acme, "one")
        assert busy is not None
        assert busy.status == 409
        go_on.set()
        await until(lambda: charged(house, acme) == {"one"}, "it is charged")
        doomed.kill()
        writer.close()
        again = await put(other, acme, "one")
        assert again is not None
        assert (again.status, again.body) == (201, b"stored")
        assert again.headers["idempotency-replayed"] == "true"
        assert await house.standing(acme) == (SIZE, 0)
        assert await house.standing(acme, "uploads") == (1, 0)
        assert len(upstream.requests) == 1


async def test_a_stopped_gateway_that_goes_on_charges_nothing_twice(tmp_path: Path) -> None:
    """failure row 7"""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201, body=b"stored")]) as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=2) as house,
    ):
        halted, other = house.gateways
        acme = await house.customer("acme")
        async with asyncio.TaskGroup() as group:
            first = group.create_task(put(halted, acme, "one"))
            await upstream.until(lambda: bool(upstream.requests) and upstream.requests[0].ended)
            halted.signal(signal.SIGSTOP)
            go_on.set()
            await upstream.until(lambda: upstream.bytes_out > 0)
            busy = await put(other, acme, "one")
            assert busy is not None
            assert busy.status == 409
            halted.signal(signal.SIGCONT)
        reply = await first
        assert reply is not None
        assert reply.status == 201
        again = await put(other, acme, "one")
        assert again is not None
        assert again.body == b"stored"
        assert await house.standing(acme, "uploads") == (1, 0)


async def test_names_asked_for_three_times_while_gateways_die(tmp_path: Path) -> None:
    """failure row 7; failure row 59: each is carried out once, and charged if it was answered."""
    chance = random.Random(59)
    names = [f"n{number}" for number in range(NAMES)]
    answered: dict[str, bytes] = {}
    statuses: Counter[int | None] = Counter()
    always = [Repeat([Request(), Answer(201, body=b"stored")])]
    async with (
        ScriptedUpstream(always) as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=LEASES), gateways=3) as house,
    ):
        acme = await house.customer("acme")

        def enough(count: int) -> bool:
            return len(answered) >= count

        async def insist(name: str) -> None:
            """Until it is answered; a name that a dead gateway holds is given up for now."""
            for _ in range(12):
                alive = [gateway for gateway in house.gateways if gateway.alive]
                reply = await put(chance.choice(alive), acme, name)
                statuses[None if reply is None else reply.status] += 1
                if reply is not None and reply.status == 201:
                    assert answered.setdefault(name, reply.body) == reply.body == b"stored"
                    return
                assert reply is None or reply.status == 409
                await asyncio.sleep(0.1)

        async def work(mine: list[str]) -> None:
            for name in mine:
                async with asyncio.TaskGroup() as group:
                    for _ in range(3):
                        group.create_task(insist(name))

        async with asyncio.TaskGroup() as group:
            for start in range(10):
                group.create_task(work(names[start::10]))
            for doomed, share in zip(house.gateways, (4, 2), strict=False):
                await until(partial(enough, NAMES // share), "so many are answered", within_s=60)
                doomed.kill()
        await house.settled(acme)
        on_books = charged(house, acme)
        assert len(answered) >= NAMES - 30, statuses
        assert set(answered) <= on_books
        assert await house.standing(acme) == (SIZE * len(on_books), 0)
        assert await house.standing(acme, "uploads") == (len(on_books), 0)
        carried = Counter(request.target for request in upstream.requests)
        assert carried.most_common(1)[0][1] == 1
        assert statuses[409] > 0
