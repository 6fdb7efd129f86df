"""Idempotency-Key: carried out once, answered every time, charged once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway.ledger.store import Store
from gateway.records.api_keys import ApiKeys, KeyPolicy
from tests.cable import Cable
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.test_store_trouble import cabled, pending_gone
from tests.upstreams import Answer, Close, Repeat, Request, Wait

TOLD = Answer(
    201,
    [(b"Content-Type", b"application/json"), (b"Location", b"/x/1"), (b"X-Other", b"y")],
    b'{"id": 1}',
)


async def named(
    rig: Rig, name: str, body: bytes = b"x" * 100, path: str = "a", key: str = ""
) -> tuple[int, dict[str, str], bytes]:
    headers = {"X-API-Key": key or rig.key, "Idempotency-Key": name}
    async with rig.session.put(f"{rig.url}/files/{path}", data=body, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.read()


async def test_a_repeat_gets_the_first_answer_and_is_not_charged(rig: Rig) -> None:
    """failure row 59"""
    first = await named(rig, '"one"')
    again = await named(rig, "one")
    assert (first[0], first[2]) == (again[0], again[2]) == (201, b'{"size": 100}')
    assert again[1]["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first[1]
    assert len(rig.upstream.requests) == 1
    assert await rig.standing() == (100, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_headers_that_matter_are_kept(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Request(), TOLD]) as rig:
        await named(rig, "one")
        status, headers, body = await named(rig, "one")
        assert (status, headers["Location"], body) == (201, "/x/1", b'{"id": 1}')
        assert headers["Content-Type"] == "application/json"
        assert "X-Other" not in headers


async def test_another_request_of_the_same_name_is_422(rig: Rig) -> None:
    """failure row 59"""
    await named(rig, "one")
    for other in (
        await named(rig, "one", b"y" * 100),
        await named(rig, "one", b"x" * 101),
        await named(rig, "one", path="b"),
    ):
        assert other[0] == 422
    assert len(rig.upstream.requests) == 1
    assert await rig.standing() == (100, 0)


async def test_fifty_at_once_are_carried_out_once(fake: Store, tmp_path: Path) -> None:
    """failure row 59"""
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), TOLD]) as rig:

        async def late() -> None:
            await rig.upstream.until(lambda: bool(rig.upstream.requests))
            go_on.set()

        *answers, _ = await asyncio.gather(*(named(rig, "one") for _ in range(50)), late())
        statuses = sorted(answer[0] for answer in answers if answer is not None)
        assert statuses.count(201) >= 1
        assert set(statuses) == {201, 409}
        assert len(rig.upstream.requests) == 1
        assert await rig.standing("uploads") == (1, 0)


async def test_a_denial_stays_a_denial(rig: Rig) -> None:
    big = b"x" * 600_000
    assert (await named(rig, "fits", big, "a"))[0] == 201
    assert (await named(rig, "late", big, "b"))[0] == 403
    assert await rig.delete("a") == 204
    again = await named(rig, "late", big, "b")
    assert (again[0], again[1]["Idempotency-Replayed"]) == (403, "true")
    assert (await named(rig, "anew", big, "b"))[0] == 201


async def test_failures_are_carried_out_anew(fake: Store, tmp_path: Path) -> None:
    script = [Repeat([Request(), Answer(503), Request(), Answer(429), Request(), TOLD])]
    async with running(fake, tmp_path, script) as rig:
        assert [(await named(rig, "one"))[0] for _ in range(4)] == [503, 429, 201, 201]
        assert len(rig.upstream.requests) == 3
        assert await rig.standing("uploads") == (1, 0)


async def test_a_name_belongs_to_its_account(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Repeat([Request(), TOLD])]) as rig:
        from gateway.records.accounts import Accounts  # noqa: PLC0415

        await Accounts(fake.client).create(rig.new_account("rival"))
        await rig.gateway.ledger.open_books("rival")
        _, other = await ApiKeys(fake.client).create("rival", KeyPolicy())
        await named(rig, "one")
        assert "Idempotency-Replayed" not in (await named(rig, "one", key=other))[1]
        assert len(rig.upstream.requests) == 2


async def test_a_large_answer_is_repeated_without_its_body(fake: Store, tmp_path: Path) -> None:
    large = Answer(200, body=b"z" * 100_000)
    async with running(fake, tmp_path, [Request(), large]) as rig:
        assert (await named(rig, "one"))[2] == b"z" * 100_000
        assert (await named(rig, "one"))[::2] == (200, b"")


async def test_what_has_no_charge_is_repeated_as_well(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Request(), Answer(200, body=b"done")]) as rig:
        for _ in range(2):
            headers = rig.headers | {"Idempotency-Key": "one"}
            async with rig.session.post(f"{rig.url}/pass/x", headers=headers) as answer:
                assert await answer.read() == b"done"
        assert len(rig.upstream.requests) == 1


async def test_a_bad_name_is_refused(rig: Rig) -> None:
    for name in ('"', "", "x" * 256, "a b", 'a"b'):
        assert (await named(rig, name))[0] == 400
    assert rig.upstream.connections == 0


async def test_an_upload_that_broke_off_is_carried_out_anew(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Repeat([Request(), TOLD]), Close()]) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\nIdempotency-Key: one\r\n"
            f"Content-Length: 100\r\n\r\nxxx".encode()
        )
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        writer.transport.abort()
        await rig.settled()
        async with asyncio.timeout(5):
            while (await named(rig, "one"))[0] != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await rig.standing("uploads") == (1, 0)


@contextlib.asynccontextmanager
async def two_gateways(
    store: Store, directory: Path, *script: Any
) -> AsyncIterator[tuple[Rig, Cable, Rig]]:
    """The first gateway's settlements can be cut off."""
    broken, _, settlement = cabled(store)
    (directory / "one").mkdir()
    (directory / "two").mkdir()
    async with (
        running(broken, directory / "one", *script, wishes=Wishes()) as one,
        running(store, directory / "two", *script, wishes=Wishes()) as two,
    ):
        yield one, settlement, two


async def test_a_gateway_that_stored_and_did_not_charge_is_healed_by_the_repeat(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 7"""
    async with two_gateways(fake, tmp_path, [Request(), TOLD]) as (one, settlement, two):
        settlement.cut = True
        assert (await named(one, "one"))[0] == 201
        assert await two.standing() == (0, 100)
        status, headers, _ = await named(two, "one")
        assert (status, headers["Idempotency-Replayed"]) == (201, "true")
        assert await two.standing() == (100, 0)
        assert two.upstream.connections == 0
        settlement.cut = False
        await pending_gone(one)
        assert await two.standing() == (100, 0)
        assert await two.standing("uploads") == (1, 0)
