"""A store that goes away at every moment: closed at admission, and nothing lost at settlement."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.proxy import settler
from tests.cable import Cable
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Request, Wait


def cabled(store: Store) -> tuple[Store, Cable, Cable]:
    admission, settlement = Cable(store.admission), Cable(store.settlement)
    return replace(store, admission=admission, settlement=settlement), admission, settlement


async def pending_gone(rig: Rig) -> None:
    async with asyncio.timeout(10):
        while rig.gateway.metrics.pending_settlements.now():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_without_the_store_nothing_is_admitted(fake: Store, tmp_path: Path) -> None:
    """failure row 13"""
    store, admission, _ = cabled(fake)
    async with running(store, tmp_path) as rig:
        admission.cut = True
        async with rig.session.put(
            f"{rig.url}/files/a", data=b"x" * 100, headers=rig.headers
        ) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]
        assert rig.upstream.connections == 0
        admission.cut = False
        assert (await rig.put("a", b"x" * 100))[0] == 201


async def test_an_open_plan_lets_a_bounded_amount_through_and_charges_it_later(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 13"""
    store, admission, settlement = cabled(fake)
    wishes = Wishes(plan='on_store_failure = { open = "250B" }')
    async with running(store, tmp_path, wishes=wishes) as rig:
        admission.cut = settlement.cut = True
        assert (await rig.put("a", b"x" * 100))[0] == 201
        assert (await rig.put("b", b"x" * 100))[0] == 201
        assert (await rig.put("c", b"x" * 100))[0] == 503
        admission.cut = settlement.cut = False
        await pending_gone(rig)
        assert await rig.standing() == (200, 0)
        assert await rig.standing("uploads") == (2, 0)


async def test_what_was_let_through_is_charged_also_when_only_the_reply_of_its_reserve_was_lost(
    fake: Store, tmp_path: Path
) -> None:
    """failure rows 13, 16"""
    store, admission, _ = cabled(fake)
    wishes = Wishes(plan='on_store_failure = { open = "250B" }')
    async with running(store, tmp_path, wishes=wishes) as rig:
        admission.lose_replies = 2
        assert (await rig.put("a", b"x" * 100))[0] == 201
        await pending_gone(rig)
        assert await rig.standing() == (100, 0)
        assert await rig.standing("uploads") == (1, 0)


async def test_a_settlement_the_store_cannot_take_is_taken_later(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 14"""
    store, _, settlement = cabled(fake)
    go_on = asyncio.Event()
    async with running(store, tmp_path, [Request(), Wait(go_on), Answer(201)]) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 4\r\n\r\nbody".encode()
        )
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        settlement.cut = True
        go_on.set()
        assert b" 201 " in await reader.readline()
        writer.close()
        assert rig.gateway.metrics.pending_settlements.now() == 1
        settlement.cut = False
        await pending_gone(rig)
        assert await rig.standing() == (4, 0)


async def test_a_lost_reply_of_each_call_changes_nothing(fake: Store, tmp_path: Path) -> None:
    """failure row 16"""
    store, admission, settlement = cabled(fake)
    async with running(store, tmp_path) as rig:
        admission.lose_replies = 1
        assert (await rig.put("a", b"x" * 100))[0] == 201
        settlement.lose_replies = 1
        assert (await rig.put("b", b"x" * 100))[0] == 201
        await pending_gone(rig)
        assert await rig.standing() == (200, 0)
        assert await rig.standing("uploads") == (2, 0)
        settlement.lose_replies = 1
        assert await rig.delete("a") == 204
        await pending_gone(rig)
        assert await rig.standing() == (100, 0)


async def test_what_was_charged_unheard_is_not_charged_again_when_it_is_forgotten(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 16: the gateway is cut off from the store, with a commit under way, for longer
    than its record is kept; others use the account meanwhile."""
    monkeypatch.setattr(settler, "FORGOTTEN_MS", 50)
    store, _, settlement = cabled(fake)
    async with running(store, tmp_path) as rig:
        assert (await rig.put("warm", b""))[0] == 201
        settlement.breaks, settlement.lose_replies = True, 1
        assert (await rig.put("a", b"x" * 100))[0] == 201
        await fake.client.delete(*(f"qg:{{acme}}:{key}" for key in ("reservations", "forget")))
        await asyncio.sleep(0.05)
        settlement.cut = False
        await pending_gone(rig)
        assert await rig.standing() == (100, 0)
        assert await rig.standing("uploads") == (2, 0)


async def test_what_was_reserved_and_lost_with_the_store_is_charged(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 54: a store that came back without its last second."""
    store, _, settlement = cabled(fake)
    async with running(store, tmp_path) as rig:
        assert (await rig.put("warm", b""))[0] == 201
        settlement.breaks, settlement.lose_replies = True, 1
        before = await fake.client.dump("qg:{acme}:books")
        assert (await rig.put("a", b"x" * 100))[0] == 201
        await fake.client.delete(*[key async for key in fake.client.scan_iter("qg:{acme}:*")])
        assert before is not None
        await fake.client.restore("qg:{acme}:books", 0, before)
        settlement.cut = False
        await pending_gone(rig)
        assert await rig.standing() == (100, 0)
        assert await rig.standing("uploads") == (2, 0)


async def test_an_upload_costs_two_round_trips(fake: Store, tmp_path: Path) -> None:
    store, admission, settlement = cabled(fake)
    async with running(store, tmp_path) as rig:
        await rig.put("warm", b"x")
        admission.calls.clear()
        settlement.calls.clear()
        await rig.put("a", b"x" * 100)
        assert (admission.calls, settlement.calls) == (["reserve"], ["commit"])


async def test_emptied_books_are_never_taken_for_nothing_used(fake: Store, tmp_path: Path) -> None:
    """failure row 25"""
    async with running(fake, tmp_path, audited=False) as rig:
        assert (await rig.put("a", b"x" * 100))[0] == 201
        await fake.client.delete("qg:{acme}:books")
        status, problem = await rig.put("b", b"x" * 100)
        assert (status, problem["code"]) == (503, "store-lost")
        assert len(rig.upstream.requests) == 1
