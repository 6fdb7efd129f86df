"""A gateway is stopped for longer than a lease, in the middle of an upload, and goes on."""

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import deployed
from tests.upstreams import ScriptedUpstream


@dataclass(frozen=True, slots=True)
class Timing:
    """The settings, and within how many seconds the room must be free."""

    server: str
    free_within_s: float


SHORT = Timing('lease = "3s"\nheartbeat = "1s"', 8)
USUAL = Timing("", 15)


@pytest.mark.parametrize(
    "timing",
    [
        pytest.param(SHORT, id="short-lease"),
        pytest.param(USUAL, id="usual-lease", marks=pytest.mark.long),
    ],
)
async def test_its_room_goes_to_others_and_its_late_commit_is_charged_once(
    tmp_path: Path, timing: Timing
) -> None:
    """failure row 12"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=timing.server), gateways=2) as house,
    ):
        paused, other = house.gateways
        acme = await house.customer("acme", storage=1_000)
        upload = await house.upload(paused, acme, "late", 1_000).begin(500)
        await upstream.until(lambda: bool(upstream.requests))
        await until(lambda: house.redis.run("ZCARD", "qg:busy"), "others know of the account")
        paused.signal(signal.SIGSTOP)
        await until(
            lambda: not house.open_leases(acme), "it is reclaimed", within_s=timing.free_within_s
        )
        line = house.kept(other, acme)
        assert (await line.ask("PUT", "/files/other", b"o" * 1_000)).status == 201
        await upload.send(500)
        paused.signal(signal.SIGCONT)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        # Both are stored, so both are charged, also over the limit.
        assert set(upstream.stored) == {b"/files/late", b"/files/other"}
        assert await house.standing(acme) == (2_000, 0)
        assert await paused.metric("settlements_total", late="true") == 1
        assert await paused.metric("overage_total", meter="storage_bytes") == 1
        assert (await line.ask("PUT", "/files/more", b"m")).status == 403
        assert (await line.ask("DELETE", "/files/late")).status == 204
        assert await house.standing(acme) == (1_000, 0)


async def test_a_body_that_cannot_grow_any_more_may_be_tried_again(tmp_path: Path) -> None:
    """failure row 12"""
    step = 65_536
    async with (
        ScriptedUpstream() as upstream,
        deployed(
            tmp_path,
            Wishes(upstream.url, server=SHORT.server, upload=f"grow_step = {step}"),
            gateways=2,
        ) as house,
    ):
        paused, _ = house.gateways
        acme = await house.customer("acme")
        upload = await house.upload(paused, acme, "a", 4 * step, chunked=True).begin(step // 2)
        await upstream.until(lambda: upstream.bytes_in > step // 2)
        paused.signal(signal.SIGSTOP)
        await until(
            lambda: not house.open_leases(acme), "it is reclaimed", within_s=SHORT.free_within_s
        )
        await upload.send(2 * step)
        paused.signal(signal.SIGCONT)
        reply = await upload.reply()
        assert reply is not None
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        await upstream.until(lambda: upstream.resets == 1)
        assert await house.standing(acme) == (0, 0)
        again = await house.upload(paused, acme, "a", 4 * step, chunked=True).begin(4 * step)
        reply = await again.reply()
        assert reply is not None
        assert reply.status == 201
        assert await house.standing(acme) == (4 * step, 0)


async def test_a_pause_shorter_than_a_lease_is_not_noticed(tmp_path: Path) -> None:
    """failure row 12"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, server=SHORT.server), gateways=2) as house,
    ):
        paused, other = house.gateways
        acme = await house.customer("acme", storage=1_000)
        upload = await house.upload(paused, acme, "a", 1_000).begin(500)
        await upstream.until(lambda: bool(upstream.requests))
        paused.signal(signal.SIGSTOP)
        line = house.kept(other, acme)
        assert (await line.ask("PUT", "/files/other", b"o")).status == 403
        paused.signal(signal.SIGCONT)
        await upload.send(500)
        reply = await upload.reply()
        assert reply is not None
        assert reply.status == 201
        assert await paused.metric("settlements_total", late="true") == 0
