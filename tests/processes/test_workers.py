"""A gateway of several workers: one dies, all reload, all drain, and they count as one."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.tasks import TaskSet
from tests.processes.clients import Kept, hammer
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import Customer, House, deployed
from tests.processes.test_kill import FREE_WITHIN_S, SIZE, half_sent
from tests.processes.test_reload import REFUSED, RELOADED, told
from tests.telemetry.promtool import needs_promtool, promtool
from tests.upstreams import ScriptedUpstream

WORKERS = 3
KILLED = "was killed by SIGKILL"
LINES = 24
"""Connections enough that every worker has some: the kernel spreads them by their ports."""


def lives(pid: int) -> bool:
    """Whether it runs; what has ended and was not waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def count(gateway: GatewayProcess) -> float:
    return await gateway.metric("requests_total", route="upload")


# -- death ----------------------------------------------------------------------------------------


async def test_a_worker_that_is_killed_takes_no_other_with_it(tmp_path: Path) -> None:
    """failure row 3: what it held is free within the bound, and the others do not notice."""
    tasks = TaskSet()
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=WORKERS)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append(KILLED)
        acme = await house.customer("acme")
        before = gateway.workers()
        assert sorted(before) == [1, 2, 3]
        uploads = await half_sent(house, gateway, (acme,), tasks)
        await upstream.until(
            lambda: (
                sum(request.body_bytes >= SIZE // 2 for request in upstream.requests)
                == len(uploads)
            )
        )
        assert (await gateway.quota(acme.key))["storage_bytes"]["reserved"] == SIZE * len(uploads)
        counted = await gateway.metric("reservations_total", outcome="granted")
        assert counted == len(uploads)
        os.kill(before[2], signal.SIGKILL)
        died = time.monotonic()
        assert await house.findings(acme) == []
        await until(lambda: gateway.workers()[2] != before[2], "worker 2 is started again")
        assert await gateway.metric("worker_restarts_total") == 1
        assert await gateway.metric("workers") == WORKERS
        await tasks.stop()
        answered = [upload for upload in uploads if await cut_off(upload) is False]
        lost = len(uploads) - len(answered)
        assert 0 < lost < len(uploads)
        for upload in answered:
            await upload.send(SIZE)
            reply = await upload.reply()
            assert reply is not None
            assert reply.status == 201
        await until(lambda: not house.open_leases(acme), "all is free", within_s=FREE_WITHIN_S)
        assert time.monotonic() - died < FREE_WITHIN_S
        assert await house.standing(acme) == (SIZE * len(answered), 0)
        # Of what the dead one had counted nothing is lost.
        assert await gateway.metric("reservations_total", outcome="granted") == counted
        assert gateway.workers() == before | {2: gateway.workers()[2]}


async def cut_off(upload: object) -> bool:
    """Whether the connection of this upload has ended without an answer."""
    streams = upload._streams  # type: ignore[attr-defined]
    reader: asyncio.StreamReader = streams[0]
    try:
        async with asyncio.timeout(0.2):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


async def test_counts_never_go_back_while_workers_die(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=WORKERS)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append(KILLED)
        acme = await house.customer("acme")
        said = 0.0
        for number in range(1, 4):
            targets = (f"/files/{number}-{n}" for n in range(60))
            statuses = await hammer([gateway.port], acme.key, targets, b"x", lines=LINES)
            assert statuses == {201: 60}
            assert await count(gateway) == said + 60
            said += 60
            victim = gateway.workers()[number]
            os.kill(victim, signal.SIGKILL)
            seen = said
            while gateway.workers()[number] == victim:
                now = await retried(count, gateway)
                assert now >= seen
                seen = now
            assert seen == said
        assert await gateway.metric("worker_restarts_total") == 3


async def retried(ask, gateway: GatewayProcess) -> float:  # type: ignore[no-untyped-def]
    """Asked again when the worker that was asked is the one that was killed."""
    while True:
        try:
            return await ask(gateway)  # type: ignore[no-any-return]
        except aiohttp.ClientError:
            continue


async def test_a_worker_that_keeps_ending_is_started_more_and_more_rarely(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append(KILLED)
        acme = await house.customer("acme")
        for _ in range(4):
            pid = gateway.workers()[1]
            os.kill(pid, signal.SIGKILL)
            await until(partial(_another, gateway, pid), "it is started again")
        pauses = [event["message"] for event in gateway.events("ERROR")]
        assert [pause.rpartition(" in ")[2] for pause in pauses] == [
            "0.1 s",
            "0.2 s",
            "0.4 s",
            "0.8 s",
        ]
        line = house.kept(gateway, acme)
        assert (await line.ask("PUT", "/files/a", b"x")).status == 201


def _another(gateway: GatewayProcess, pid: int) -> bool:
    return gateway.workers()[1] != pid


async def test_one_worker_may_be_told_to_end(tmp_path: Path) -> None:
    """SIGTERM to one of them: it drains, and another takes its place."""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append("worker 1 ended; it is started again")
        acme = await house.customer("acme")
        uploads = [await house.upload(gateway, acme, f"u{n}", 100).begin(50) for n in range(10)]
        await upstream.until(lambda: len(upstream.requests) == 10)
        pid = gateway.workers()[1]
        os.kill(pid, signal.SIGTERM)
        for upload in uploads:
            await upload.send(50)
            reply = await upload.reply()
            assert reply is not None
            assert reply.status == 201
        await until(partial(_another, gateway, pid), "another takes its place")
        assert await count(gateway) == 10


async def test_workers_without_a_supervisor_drain_and_end(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append("the supervisor has gone")
        acme = await house.customer("acme")
        uploads = [await house.upload(gateway, acme, f"u{n}", 100).begin(50) for n in range(10)]
        await upstream.until(lambda: len(upstream.requests) == 10)
        workers = gateway.workers().values()
        gateway.kill()
        await until(lambda: gateway.said("the supervisor has gone") == 2, "they notice")
        for upload in uploads:
            await upload.send(50)
            reply = await upload.reply()
            assert reply is not None
            assert reply.status == 201
        await until(lambda: not any(map(lives, workers)), "they end")
        assert await house.standing(acme) == (1_000, 0)


async def test_without_its_nursery_a_gateway_drains_and_fails(tmp_path: Path) -> None:
    """No worker could be started again: whoever started the gateway is to start another."""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2)) as house,
    ):
        (gateway,) = house.gateways
        house.foreseen.append("the nursery has ended")
        workers = gateway.workers()
        (parent,) = {parent_of(pid) for pid in workers.values()}
        os.kill(parent, signal.SIGKILL)
        assert await gateway.end() == 1
        assert not any(map(lives, workers.values()))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


async def test_one_worker_is_the_process_itself(tmp_path: Path) -> None:
    """No supervisor, no other process, and no word of workers in its logs."""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        assert (await house.kept(gateway, acme).ask("PUT", "/files/a", b"x")).status == 201
        children = f"/proc/{gateway.pid}/task/{gateway.pid}/children"
        assert await asyncio.to_thread(Path(children).read_text) == ""
        assert await gateway.metric("workers") == 1
        await until(lambda: gateway.lines("access"), "the request is logged")
        assert not any("worker" in line for line in gateway.events() + gateway.lines("access"))


# -- counting -------------------------------------------------------------------------------------


@needs_promtool
async def test_all_workers_are_scraped_as_one(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=WORKERS)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        statuses = await hammer(
            [gateway.port], acme.key, (f"/files/{n}" for n in range(300)), b"x" * 10, lines=LINES
        )
        assert statuses == {201: 300}
        for _ in range(6):  # Whichever worker is asked.
            assert await count(gateway) == 300
        assert await gateway.metric("request_duration_seconds_count", route="upload") == 300
        assert await gateway.metric("request_body_bytes_total", route="upload") == 3_000
        assert await gateway.metric("workers") == WORKERS
        assert await gateway.metric("store_up") == 1
        _, text = await gateway.admin("/metrics")
        promtool("check", "metrics", given=text.encode())
        await until(lambda: len(gateway.lines("access")) >= 300, "the access log is written")
        share = Counter(line["worker"] for line in gateway.lines("access"))
        assert sorted(share) == [1, 2, 3]


# -- reload and drain -----------------------------------------------------------------------------


async def test_all_workers_reload_and_lose_no_request(tmp_path: Path) -> None:
    """failure row 10"""
    quiet = Wishes("", workers=WORKERS, server="access_log = false")
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, quiet.but(upstream=upstream.url, storage=50)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        house.foreseen.append(REFUSED)
        over = asyncio.Event()
        targets = (f"/files/{n}" for n in itertools.takewhile(_not(over), itertools.count()))
        tasks = TaskSet()
        race = tasks.start(
            hammer([gateway.port], acme.key, targets, b"r" * 10, lines=LINES), name="race"
        )
        for text in ("[meters.x]\nkind = 'sideways'\n", "not TOML"):
            gateway.spoil(text)
            await told(gateway, REFUSED)
            assert await new_lines_answer(house, gateway, acme) == {403: LINES}
        # Raised for all of them at once, and for those that are started later.
        gateway.configure(gateway.wishes.but(storage=10_000_000))
        await told(gateway, RELOADED)
        assert await new_lines_answer(house, gateway, acme) == {201: LINES}
        assert await gateway.metric("config_reloads_total", result="accepted") == 1
        assert await gateway.metric("config_reloads_total", result="refused") == 2
        over.set()
        statuses = await race
        assert set(statuses) == {201, 403}
        house.foreseen.append(KILLED)
        for number, pid in gateway.workers().items():
            os.kill(pid, signal.SIGKILL)
            await until(partial(_differs, gateway, number, pid), "it is started again")
        assert await new_lines_answer(house, gateway, acme) == {201: LINES}


def _differs(gateway: GatewayProcess, number: int, pid: int) -> bool:
    return gateway.workers()[number] != pid


def _not(event: asyncio.Event):  # type: ignore[no-untyped-def]
    return lambda _: not event.is_set()


_names = itertools.count()


async def new_lines_answer(
    house: House, gateway: GatewayProcess, customer: Customer
) -> Counter[int]:
    """What uploads of 60 bytes are answered with, on new connections to every worker."""
    lines = [house.kept(gateway, customer) for _ in range(LINES)]
    statuses = Counter([(await ask(line)).status for line in lines])
    for line in lines:
        line.close()
    return statuses


async def ask(line: Kept):  # type: ignore[no-untyped-def]
    return await line.ask("PUT", f"/files/new-{next(_names)}", b"x" * 60)


async def test_all_workers_drain_and_the_gateway_ends_well(tmp_path: Path) -> None:
    """failure row 9"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=WORKERS)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        uploads = [await house.upload(gateway, acme, f"u{n}", 100).begin(50) for n in range(LINES)]
        await upstream.until(lambda: len(upstream.requests) == LINES)
        pids = gateway.workers().values()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            gateway.signal(number)

        async def not_ready() -> bool:
            return not await gateway.ready()

        await until(not_ready, "it says that it stops")
        await until(partial(_refused, gateway.port), "new connections are refused")
        for upload in uploads:
            await upload.send(50)
        replies = [await upload.reply() for upload in uploads]
        assert [reply and reply.status for reply in replies] == [201] * LINES
        assert await gateway.end() == 0
        assert not any(map(lives, pids))
        assert await house.standing(acme) == (100 * LINES, 0)


async def _refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # It was let in just before.
    writer.close()
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_all_its_processes_drains_it_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A terminal sends SIGINT to every process of a gateway, and systemd SIGTERM."""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        upload = await house.upload(gateway, acme, "u", 100).begin(50)
        await upstream.until(lambda: bool(upstream.requests))
        pids = gateway.workers().values()
        everyone: Sequence[int] = [gateway.pid, parent_of(next(iter(pids))), *pids]
        for pid in everyone:
            os.kill(pid, number)
        await upload.send(50)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        assert await gateway.end() == 0


# -- where it listens -----------------------------------------------------------------------------


async def test_workers_share_a_unix_socket(tmp_path: Path) -> None:
    path = Path(f"/tmp/qg-workers-{os.getpid()}.sock")
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, workers=2, listen=f"unix:{path}")) as house,
    ):
        (gateway,) = house.gateways
        assert gateway.address == f"unix:{path}"
        acme = await house.customer("acme")

        async def put(name: str) -> int:
            connector = aiohttp.UnixConnector(str(path))
            async with (
                aiohttp.ClientSession(connector=connector, headers=acme.headers) as session,
                session.put(f"http://here/files/{name}", data=b"x") as answer,
            ):
                return answer.status

        assert [await put(str(n)) for n in range(20)] == [201] * 20
        # A worker that ends takes neither the socket nor its path with it.
        house.foreseen.append("worker 1 ended; it is started again")
        pid = gateway.workers()[1]
        os.kill(pid, signal.SIGTERM)
        await until(partial(_another, gateway, pid), "another takes its place")
        assert [await put(f"again-{n}") for n in range(20)] == [201] * 20
        assert await gateway.stop() == 0
    assert not os.path.lexists(path)  # noqa: ASYNC240
