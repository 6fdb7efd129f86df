"""Deletes: an asset's bytes come back once, by what was committed, on level meters only."""

import asyncio
from pathlib import Path

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running
from tests.upstreams import Answer, Repeat, Request


async def test_a_delete_gives_the_bytes_back_and_keeps_the_count(rig: Rig) -> None:
    await rig.put("a.bin", b"x" * 5000)
    assert await rig.delete("a.bin") == 204
    assert await rig.standing() == (0, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_a_delete_twice_gives_back_once(rig: Rig) -> None:
    """failure row 60"""
    await rig.put("a.bin", b"x" * 5000)
    await rig.put("b.bin", b"x" * 100)
    assert await rig.delete("a.bin") == 204
    assert await rig.delete("a.bin") == 404
    assert await rig.standing() == (100, 0)


async def test_fifty_deletes_at_once_give_back_once(fake: Store, tmp_path: Path) -> None:
    """failure row 60"""
    always = [Repeat([Request(), Answer(204)])]
    async with running(fake, tmp_path, always) as rig:
        await rig.put("a.bin", b"x" * 5000)
        await rig.put("b.bin", b"x" * 100)
        assert await asyncio.gather(*(rig.delete("a.bin") for _ in range(50))) == [204] * 50
        assert await rig.standing() == (100, 0)


async def test_a_delete_of_what_was_never_stored_changes_nothing(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 60"""
    async with running(fake, tmp_path, [Repeat([Request(), Answer(204)])]) as rig:
        await rig.put("a.bin", b"x" * 5000)
        assert await rig.delete("other.bin") == 204
        assert await rig.standing() == (5000, 0)


async def test_a_delete_that_the_upstream_refuses_gives_nothing_back(
    fake: Store, tmp_path: Path
) -> None:
    script = [Request(), Answer(201), Request(), Answer(403)]
    async with running(fake, tmp_path, script) as rig:
        await rig.put("a.bin", b"x" * 5000)
        assert await rig.delete("a.bin") == 403
        assert await rig.standing() == (5000, 0)


async def test_storing_anew_under_a_name_charges_the_difference_only(rig: Rig) -> None:
    await rig.put("a.bin", b"x" * 5000)
    await rig.put("a.bin", b"x" * 2000)
    assert await rig.standing() == (2000, 0)
    assert await rig.standing("uploads") == (2, 0)
    assert await rig.delete("a.bin") == 204
    assert await rig.standing() == (0, 0)


async def test_another_spelling_of_a_name_is_the_same_asset(rig: Rig) -> None:
    await rig.put("a%7Eb.bin", b"x" * 5000)
    rig.upstream.stored[b"/files/a~b.bin"] = b""
    async with rig.session.delete(f"{rig.url}/files/a~b.bin", headers=rig.headers) as answer:
        assert answer.status == 204
    assert await rig.standing() == (0, 0)


async def test_the_size_of_a_delete_is_not_the_clients_to_say(rig: Rig) -> None:
    await rig.put("a.bin", b"x" * 100)
    async with rig.session.delete(
        f"{rig.url}/files/a.bin", headers=rig.headers, data=b"y" * 900
    ) as answer:
        assert answer.status == 204
    assert await rig.standing() == (0, 0)
