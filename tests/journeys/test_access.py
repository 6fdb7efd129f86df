"""Who may do what: keys that come and go while requests run, suspended accounts, isolation."""

import asyncio
from pathlib import Path

from gateway.ledger.store import Store
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from tests.journeys.rig import ACCOUNT, Rig, running
from tests.upstreams import Answer, Request


async def begin_upload(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Half of an upload has reached the upstream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(
        f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
        f"Content-Length: 1000\r\n\r\n".encode()
        + b"x" * 500
    )
    await rig.upstream.until(
        lambda: bool(rig.upstream.requests) and rig.upstream.requests[0].body_bytes == 500
    )
    return reader, writer


async def only_key(rig: Rig) -> str:
    (key,) = await ApiKeys(rig.store.client).list(ACCOUNT)
    return key.id


async def test_a_key_revoked_mid_upload_finishes_what_it_began(fake: Store, tmp_path: Path) -> None:
    """failure row 49"""
    async with running(fake, tmp_path) as rig:
        reader, writer = await begin_upload(rig)
        await ApiKeys(fake.client).revoke(ACCOUNT, await only_key(rig))
        writer.write(b"x" * 500)
        assert b" 201 " in await reader.readline()
        writer.close()
        assert await rig.standing() == (1000, 0)
        assert (await rig.put("b", b"x"))[0] == 401


async def test_a_key_revoked_now_aborts_and_releases(fake: Store, tmp_path: Path) -> None:
    """failure row 49"""
    async with running(fake, tmp_path) as rig:
        reader, writer = await begin_upload(rig)
        await ApiKeys(fake.client).revoke(ACCOUNT, await only_key(rig), cut=True)
        assert b" 401 " in await reader.readline()
        writer.close()
        await rig.settled()
        assert await rig.standing() == (0, 0)


async def test_a_rotated_key_leaves_usage_where_it_was(fake: Store, tmp_path: Path) -> None:
    """failure row 50"""
    async with running(fake, tmp_path) as rig:
        reader, writer = await begin_upload(rig)
        rotated = await ApiKeys(fake.client).rotate(ACCOUNT, await only_key(rig))
        assert rotated is not None
        writer.write(b"x" * 500)
        assert b" 201 " in await reader.readline()
        writer.close()
        assert (await rig.put("b", b"x"))[0] == 401
        rig.key = rotated[1]
        assert (await rig.put("b", b"x"))[0] == 201
        assert await rig.standing() == (1001, 0)


async def test_a_suspended_account_is_refused_by_a_running_gateway(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path) as rig:
        assert (await rig.put("a", b"x"))[0] == 201
        await Accounts(fake.client).suspend(ACCOUNT)
        status, problem = await rig.put("b", b"x")
        assert (status, problem["code"]) == (403, "account-suspended")
        await Accounts(fake.client).resume(ACCOUNT)
        assert (await rig.put("b", b"x"))[0] == 201


async def test_a_lowered_limit_keeps_what_is_stored_and_refuses_more(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 51"""
    async with running(fake, tmp_path) as rig:
        await rig.put("a", b"x" * 1000)
        await Accounts(fake.client).set_limit(ACCOUNT, "storage_bytes", 500)
        status, problem = await rig.put("b", b"x")
        assert (status, problem["limit"], problem["remaining"]) == (403, 500, 0)
        assert await rig.delete("a") == 204
        assert (await rig.put("b", b"x"))[0] == 201


async def test_guessing_is_slowed_down(fake: Store, tmp_path: Path) -> None:
    """failure row 64"""
    async with running(fake, tmp_path) as rig:
        statuses = []
        for _ in range(30):
            async with rig.session.get(
                f"{rig.url}/pass/x", headers={"X-API-Key": "qg_" + "A" * 38}
            ) as answer:
                statuses.append(answer.status)
        assert statuses[0] == 401
        assert statuses[-1] == 429


async def test_usage_pages_tell_what_is_enforced(rig: Rig) -> None:
    await rig.put("a", b"x" * 1000)
    async with rig.session.get(f"{rig.url}/v1/quota", headers=rig.headers) as answer:
        page = await answer.json()
    quotas = {quota["meter"]: quota for quota in page["quotas"]}
    assert quotas["storage_bytes"]["used"] == 1000
    assert quotas["storage_bytes"]["remaining"] == 999_000
    assert quotas["storage_bytes"]["peak"] == 1000
    assert quotas["uploads"]["resets_at"] is not None
    async with rig.session.get(
        f"{rig.url}/v1/quota/explain?meter=storage_bytes&amount=999001", headers=rig.headers
    ) as answer:
        assert (await answer.json())["would_admit"] is False
    async with rig.session.get(f"{rig.url}/v1/quota") as answer:
        assert answer.status == 401


async def test_a_key_reaches_its_own_account_only(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Request(), Answer(200)]) as rig:
        created = await Accounts(fake.client).create(rig.new_account("rival"))
        await rig.gateway.ledger.open_books("rival")
        _, other = await ApiKeys(fake.client).create("rival", KeyPolicy())
        assert created is not None
        await rig.put("a", b"x" * 100)
        async with rig.session.get(f"{rig.url}/v1/quota", headers={"X-API-Key": other}) as answer:
            page = await answer.json()
        assert page["account"] == "rival"
        assert [quota["used"] for quota in page["quotas"]] == [0, 0, 0]


async def test_no_key_in_any_log_line(rig: Rig) -> None:
    """failure row 68"""
    await rig.put("a", b"x")
    await rig.session.get(f"{rig.url}/pass/x?key={rig.key}", headers=rig.headers)
    await rig.session.get(f"{rig.url}/{rig.key}", headers={"Authorization": f"Bearer {rig.key}"})
    body, _ = rig.gateway.metrics.exposition()
    assert rig.key.encode() not in rig.log_bytes()
    assert rig.key.encode() not in body
    assert b"acme" not in body
