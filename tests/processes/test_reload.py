"""SIGHUP: a new configuration, catalog and certificate, without losing a request."""

import asyncio
import itertools
import signal
import ssl
from functools import partial
from pathlib import Path

from gateway.tasks import TaskSet
from tests.certificates import Authority
from tests.processes.clients import hammer
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess, until
from tests.processes.harness import deployed
from tests.upstreams import ScriptedUpstream

RELOADS = 100
RELOADED = "configuration reloaded"
REFUSED = "configuration refused, the old one stays"


async def told(gateway: GatewayProcess, words: str) -> None:
    """SIGHUP, and wait until it says what came of it."""
    before = gateway.said(words)
    gateway.signal(signal.SIGHUP)
    await until(lambda: gateway.said(words) > before, words)


async def _accepted(gateway: GatewayProcess, count: int) -> bool:
    return await gateway.metric("config_reloads_total", result="accepted") == count


async def test_a_hundred_reloads_lose_no_request(tmp_path: Path) -> None:
    """failure row 10"""
    size, fit = 64, 3_000
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server="access_log = false")) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme", storage=size * fit)
        over = asyncio.Event()
        numbers = itertools.takewhile(lambda _: not over.is_set(), itertools.count())
        targets = (f"/files/{number}" for number in numbers)
        tasks = TaskSet()
        race = tasks.start(
            hammer([gateway.port], acme.key, targets, b"r" * size, lines=32), name="race"
        )
        for number in range(1, RELOADS + 1):
            # Another upstream to the pools each time: the old one's connections are given up.
            gateway.configure(gateway.wishes.but(connect_timeout=f"{5 + number % 2}s"))
            gateway.signal(signal.SIGHUP)
            await until(partial(_accepted, gateway, number), f"{number} reloads")
        over.set()
        statuses = await race
        assert statuses[201] == min(fit, statuses.total())
        assert statuses[403] == statuses.total() - statuses[201]
        assert statuses.total() > 1_000
        await house.settled(acme)
        assert await house.standing(acme) == (statuses[201] * size, 0)


async def test_a_bad_file_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    """failure row 10"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        house.foreseen.append(REFUSED)
        line = house.kept(gateway, acme)
        upload = await house.upload(gateway, acme, "under-way", 1_000).begin(500)
        await upstream.until(lambda: bool(upstream.requests))
        for text in ("[meters.x]\nkind = 'sideways'\n", "not TOML", ""):
            gateway.spoil(text)
            await told(gateway, REFUSED)
            assert (await line.ask("PUT", "/files/a", b"x")).status == 201
        gateway.config_path.unlink()
        await told(gateway, REFUSED)
        assert line.opened == 1
        assert await gateway.metric("config_reloads_total", result="refused") == 4
        await upload.send(500)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        gateway.configure(gateway.wishes)
        await told(gateway, RELOADED)


async def test_requests_under_way_keep_what_they_began_with(tmp_path: Path) -> None:
    """failure row 10"""
    async with (
        ScriptedUpstream() as old,
        ScriptedUpstream() as new,
        deployed(tmp_path, Wishes(old.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        upload = await house.upload(gateway, acme, "under-way", 1_000).begin(500)
        await old.until(lambda: bool(old.requests))
        gateway.configure(gateway.wishes.but(upstream=new.url, storage=1_200))
        await told(gateway, RELOADED)
        line = house.kept(gateway, acme)
        assert (await line.ask("PUT", "/files/too-much", b"n" * 201)).status == 403
        assert (await line.ask("PUT", "/files/fits", b"n" * 200)).status == 201
        await upload.send(500)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        assert list(old.stored) == [b"/files/under-way"]
        assert list(new.stored) == [b"/files/fits"]
        assert await house.standing(acme) == (1_200, 0)


async def test_a_new_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    """failure row 10"""
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    files = f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"'
    trust = ssl.create_default_context(cafile=authority.ca_file)
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=files)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trust)
        first = shown(writer)
        authority.issue("localhost", "127.0.0.1")  # into the same files
        await told(gateway, RELOADED)
        _, other = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trust)
        assert shown(other) != first
        # The old connection goes on.
        writer.write(f"GET /v1/quota HTTP/1.1\r\nHost: t\r\nX-API-Key: {acme.key}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        pair.key.write_text("no key")
        house.foreseen.append(REFUSED)
        await told(gateway, REFUSED)
        assert (await gateway.quota(acme.key, context=trust))["storage_bytes"]["used"] == 0
        for each in (writer, other):
            each.close()
            await each.wait_closed()


def shown(writer: asyncio.StreamWriter) -> bytes:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(certificate, bytes)
    return certificate
