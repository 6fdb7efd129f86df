"""kill -9 at each point of a request's way: what another gateway, or the next one, makes of it.

The product has no hooks for this. Each point is one that can be seen from outside: by what Redis
holds, what the upstream has got, or what the client was told.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.keys import keys_of
from tests.fault_proxy import FaultProxy
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import Customer, House, deployed
from tests.upstreams import Answer, Hang, Request, ScriptedUpstream, Store, Wait

LEASES = 'lease = "3s"\nheartbeat = "1s"'
FREE_WITHIN_S = 7.0
SIZE = 1_000


@contextlib.contextmanager
def unaccepting() -> Iterator[str]:
    """The URL of an upstream that neither takes connections nor refuses them."""
    with socket.socket() as listening, contextlib.ExitStack() as clients:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):  # Until its queue is full.
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(address)
        yield f"http://127.0.0.1:{address[1]}"


def states(house: House, customer: Customer) -> list[str]:
    """The letters of the states of all reservations that Redis has on record."""
    records = house.redis.run("HVALS", keys_of(customer.id).reservations)
    assert isinstance(records, list)
    return sorted(record.decode()[0] for record in records)


async def test_before_the_reservation(tmp_path: Path) -> None:
    """failure row 1"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=2) as house,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme")
        upload = house.upload(doomed, acme, "a", SIZE)
        doomed.signal(signal.SIGSTOP)  # The kernel takes the request; nobody reads it.
        await upload.begin(SIZE)
        doomed.kill()
        assert await upload.reply() is None
        assert states(house, acme) == []
        assert upstream.connections == 0
        again = await house.upload(other, acme, "a", SIZE).begin(SIZE)
        reply = await again.reply()
        assert reply is not None
        assert reply.status == 201
        assert await house.standing(acme) == (SIZE, 0)


async def test_after_the_reservation(tmp_path: Path) -> None:
    """failure row 2"""
    with unaccepting() as url:
        async with deployed(tmp_path, Wishes(url, server=LEASES), gateways=2) as house:
            doomed, _ = house.gateways
            acme = await house.customer("acme", storage=SIZE)
            upload = await house.upload(doomed, acme, "a", SIZE).begin(SIZE)
            await until(lambda: house.open_leases(acme) == 1, "it is reserved")
            doomed.kill()
            assert await upload.reply() is None
            assert await house.standing(acme) == (0, SIZE)
            await until(lambda: not house.open_leases(acme), "free", within_s=FREE_WITHIN_S)
            assert await house.standing(acme) == (0, 0)
            assert states(house, acme) == ["E"]


@pytest.mark.parametrize("answered", [False, True], ids=["unanswered", "answered"])
async def test_after_the_last_byte(tmp_path: Path, answered: bool) -> None:
    """failure row 4; failure row 5: nobody is left who knows whether the upstream has stored it.
    It stays reserved as long as its lease, and then is on record as expired, not as released."""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201)], [Store()]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=LEASES), gateways=2) as house,
    ):
        doomed, other = house.gateways
        acme = await house.customer("acme", storage=SIZE)
        upload = await house.upload(doomed, acme, "a", SIZE).begin(SIZE)
        await upstream.until(lambda: bool(upstream.requests) and upstream.requests[0].ended)
        doomed.signal(signal.SIGSTOP)
        if answered:
            go_on.set()
            await upstream.until(lambda: upstream.bytes_out > 0)
        doomed.kill()
        assert await upload.reply() is None
        line = house.kept(other, acme)
        assert (await line.ask("PUT", "/files/b", b"b")).status == 403
        await until(lambda: not house.open_leases(acme), "free", within_s=FREE_WITHIN_S)
        assert states(house, acme) == ["E"]
        assert await other.metric("expired_leases_total") == 1
        # The client, who was not told, sends it again: that is charged, once.
        assert (await line.ask("PUT", "/files/a", b"u" * SIZE)).status == 201
        assert await house.standing(acme) == (SIZE, 0)


@pytest.mark.parametrize("ending", ["killed", "told to stop"])
async def test_after_the_answer_while_redis_is_away(tmp_path: Path, ending: str) -> None:
    """failure row 6: what the client was told is charged, by the next process on those files."""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Request(), Wait(go_on), Answer(201)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=LEASES)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme", storage=10 * SIZE)
        uploads = [await house.upload(gateway, acme, f"{n}", SIZE).begin(SIZE) for n in range(5)]
        await upstream.until(lambda: sum(r.ended for r in upstream.requests) == len(uploads))
        house.redis.kill()
        go_on.set()
        replies = [await upload.reply() for upload in uploads]
        assert [reply and reply.status for reply in replies] == [201] * len(uploads)
        house.foreseen.append("settlements were left")
        if ending == "killed":
            gateway.kill()
        else:
            assert await gateway.stop() == 0
        house.redis.start()
        await gateway.start()
        await until(lambda: "".join(states(house, acme)) == "C" * 5, "all are charged")
        assert await house.standing(acme) == (5 * SIZE, 0)
        await gateway.stop()
        await gateway.start()  # Nothing is charged again.
        assert await gateway.metric("settlements_total") == 0
        assert await house.standing(acme) == (5 * SIZE, 0)


async def test_after_the_commit(tmp_path: Path) -> None:
    """failure row 7: the client was not told, sends the same again, and is charged once."""
    go_on = asyncio.Event()
    async with (
        ScriptedUpstream([Store()], [Request(), Wait(go_on), Answer(201)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
        FaultProxy(str(house.redis.socket)) as proxy,
    ):
        other = house.gateways[0]
        doomed = await house.gateway(other.wishes.but(redis=proxy.redis_url))
        acme = await house.customer("acme", storage=3 * SIZE)
        # Once as usual, so that Redis knows the scripts.
        assert (await house.kept(other, acme).ask("PUT", "/files/b", b"b")).status == 201
        upload = await house.upload(doomed, acme, "a", SIZE).begin(SIZE)
        await upstream.until(lambda: len(upstream.requests) == 2 and upstream.requests[1].ended)
        proxy.delay_s = 60.0  # Redis does what it is asked to, and its answers do not arrive.
        go_on.set()
        await until(lambda: states(house, acme) == ["C", "C"], "it is charged")
        doomed.kill()
        assert await upload.reply() is None
        assert await house.standing(acme) == (SIZE + 1, 0)
        again = await house.upload(other, acme, "a", SIZE).begin(SIZE)
        reply = await again.reply()
        assert reply is not None
        assert reply.status == 201
        assert await house.standing(acme) == (SIZE + 1, 0)
        # With an asset of that name on the books, its new bytes replace the old.
        assert await house.standing(acme, "uploads") == (3, 0)


async def test_all_gateways_at_once(tmp_path: Path) -> None:
    """failure row 8: the first answer of the next one is right."""
    async with (
        ScriptedUpstream([Request(), Hang()]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=LEASES), gateways=2) as house,
    ):
        acme = await house.customer("acme", storage=4 * SIZE)
        for number, gateway in enumerate(house.gateways * 2):
            await house.upload(gateway, acme, f"{number}", SIZE).begin(SIZE // 2)
        await until(lambda: house.open_leases(acme) == 4, "all are reserved")
        for gateway in house.gateways:
            gateway.kill()
        ends = house.redis.run("ZRANGE", keys_of(acme.id).leases, -1, -1, "WITHSCORES")
        assert isinstance(ends, list)
        await until(lambda: _now_ms(house) > int(ends[1]), "the last lease has ended")
        assert house.open_leases(acme) == 4
        await house.gateways[0].start()
        quota = (await house.gateways[0].quota(acme.key))["storage_bytes"]
        assert (quota["used"], quota["reserved"]) == (0, 0)


def _now_ms(house: House) -> int:
    now = house.redis.run("TIME")
    assert isinstance(now, tuple)
    return int(now[0]) * 1000 + int(now[1]) // 1000
