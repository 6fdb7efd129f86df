"""The decision API answers as the ledger does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.account_commands import set_limit, suspend
from gateway.admin.api import create_admin_app
from gateway.errors import DRAINING, STORE_LOST, Error
from gateway.records.api_keys import KeyPolicy
from tests.admin.house import TOKEN, House
from tests.records.waiting import until


class Caller:
    """Someone who has the token."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        response: ClientResponse = await self._client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert response.headers["X-Request-Id"]
        return response.status, await response.json(content_type=None)

    async def reserve(self, amount: int = 60, **more: object) -> tuple[int, Any]:
        body = {"account": "acme", "lines": {"storage_bytes": amount}, **more}
        return await self.call("POST", "/v1/reservations", body)

    async def on(self, name: str, verb: str, **body: object) -> tuple[int, Any]:
        return await self.call(
            "POST", f"/v1/reservations/{name}/{verb}", {"account": "acme", **body}
        )

    async def standing(self, meter: str = "storage_bytes") -> tuple[int, int]:
        _, page = await self.call("GET", "/v1/accounts/acme/quota")
        (quota,) = [q for q in page["quotas"] if q["meter"] == meter]
        return quota["used"], quota["reserved"]


@pytest.fixture
async def caller(house: House) -> AsyncIterator[Caller]:
    await house.open_account()
    server = TestServer(create_admin_app(house.deps()))
    async with TestClient(server) as client:
        yield Caller(client)


async def test_reserve_commit_and_see_it(caller: Caller) -> None:
    status, granted = await caller.reserve(60)
    assert status == 201
    assert (granted["state"], granted["amounts"]) == ("open", {"storage_bytes": 60})
    assert (granted["account"], granted["key_id"]) == ("acme", None)
    assert await caller.standing() == (0, 60)
    status, settled = await caller.on(granted["id"], "commit", actual={"storage_bytes": 45})
    assert (status, settled["state"], settled["late"]) == (200, "committed", False)
    assert await caller.standing() == (45, 0)


async def test_release_gives_everything_back(caller: Caller) -> None:
    _, granted = await caller.reserve(60)
    status, released = await caller.on(granted["id"], "release", reason="client-gone")
    assert (status, released["state"]) == (200, "released")
    assert await caller.standing() == (0, 0)


async def test_grow_and_extend(caller: Caller) -> None:
    _, granted = await caller.reserve(10)
    status, grown = await caller.on(granted["id"], "grow", lines={"storage_bytes": 90})
    assert (status, grown["amounts"]) == (200, {"storage_bytes": 90})
    status, denied = await caller.on(granted["id"], "grow", lines={"storage_bytes": 101})
    assert (status, denied["code"]) == (403, "quota-exceeded")
    assert await caller.standing() == (0, 90)
    assert await caller.on(granted["id"], "extend", lease_s=3_600) == (
        200,
        {"id": granted["id"], "state": "open", "lease_s": 3_600},
    )


async def test_as_much_as_there_is_room_for(caller: Caller) -> None:
    lines = {"storage_bytes": {"least": 1, "most": 1_000}}
    _, granted = await caller.reserve(lines=lines)
    assert granted["amounts"] == {"storage_bytes": 100}


async def test_a_denial_says_what_binds(caller: Caller) -> None:
    status, denied = await caller.reserve(101)
    assert status == 403
    members = {name: denied[name] for name in ("meter", "limit", "used", "reserved", "requested")}
    assert members == {
        "meter": "storage_bytes", "limit": 100, "used": 0, "reserved": 0, "requested": 101,
    }  # fmt: skip


async def test_a_repeat_replays_the_first_answer(caller: Caller) -> None:
    """failure row 59: same id, same content."""
    first = await caller.reserve(60, id="up-1")
    again = await caller.reserve(60, id="up-1")
    assert (first[0], again[0]) == (201, 201)
    assert (first[1]["replayed"], again[1]["replayed"]) == (False, True)
    assert await caller.standing() == (0, 60)
    for replayed in (False, True):
        status, settled = await caller.on("up-1", "commit", actual={"storage_bytes": 60})
        assert (status, settled["replayed"]) == (200, replayed)
    assert await caller.standing() == (60, 0)
    status, late = await caller.reserve(60, id="up-1")
    assert (status, late["state"], late["replayed"]) == (201, "committed", True)


async def test_concurrent_repeats_take_effect_once(caller: Caller) -> None:
    """failure row 59"""
    answers = await asyncio.gather(*(caller.reserve(60, id="up-1") for _ in range(20)))
    assert {status for status, _ in answers} == {201}
    assert await caller.standing() == (0, 60)


async def test_the_same_id_with_other_content_is_refused(caller: Caller) -> None:
    """failure row 59: other parameters are 422."""
    await caller.reserve(60, id="up-1")
    status, refused = await caller.reserve(61, id="up-1")
    assert (status, refused["code"]) == (422, "content-mismatch")
    await caller.on("up-1", "commit", actual={"storage_bytes": 60})
    status, refused = await caller.on("up-1", "commit", actual={"storage_bytes": 1})
    assert (status, refused["code"]) == (422, "content-mismatch")


async def test_a_denied_id_stays_denied(caller: Caller) -> None:
    _, holder = await caller.reserve(60)
    assert (await caller.reserve(60, id="up-1"))[0] == 403
    await caller.on(holder["id"], "release")
    assert (await caller.reserve(60, id="up-1"))[0] == 403
    assert (await caller.reserve(60))[0] == 201


async def test_settled_otherwise_is_a_conflict(caller: Caller) -> None:
    _, granted = await caller.reserve(60)
    await caller.on(granted["id"], "release")
    for verb, body in (
        ("commit", {"actual": {"storage_bytes": 1}}),
        ("grow", {"lines": {"storage_bytes": 70}}),
        ("extend", {}),
    ):
        status, refused = await caller.on(granted["id"], verb, **body)
        assert (status, refused["code"]) == (409, "reservation-settled"), verb
    assert await caller.standing() == (0, 0)


async def test_an_unknown_reservation_is_not_found(caller: Caller, house: House) -> None:
    """failure row 56: nor is another account's; nothing of it is disclosed, nothing changes."""
    await house.open_account("other")
    _, granted = await caller.reserve(60)
    for name, account in (("nothing", "acme"), (granted["id"], "other")):
        status, refused = await caller.on(
            name, "commit", account=account, actual={"storage_bytes": 1}
        )
        assert (status, refused["code"]) == (404, "unknown-reservation")
        assert (await caller.on(name, "release", account=account))[0] == 404
    assert await caller.standing() == (0, 60)


async def test_no_verb_knows_an_unknown_account(caller: Caller) -> None:
    for verb in ("grow", "extend", "commit", "release"):
        status, refused = await caller.on("up-1", verb, account="nobody")
        assert (status, refused["code"]) == (404, "unknown-account")
    assert (await caller.call("DELETE", "/v1/accounts/nobody/assets/a"))[0] == 404


async def test_a_body_that_does_not_arrive_is_not_waited_for(house: House) -> None:
    """failure row 32"""
    deps = house.deps()
    hasty = replace(deps, decisions=replace(deps.decisions, body_timeout_s=0.05))
    async with TestServer(create_admin_app(hasty)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Content-Type: application/json\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n{"
        )
        assert b"400 Bad Request" in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_an_unknown_account_is_not_found(caller: Caller) -> None:
    for account in ("nobody", "no}body", ""):
        status, refused = await caller.reserve(1, account=account)
        assert (status, refused["code"]) == (404, "unknown-account")
    assert (await caller.call("GET", "/v1/accounts/nobody/quota"))[0] == 404


async def test_a_key_is_charged_under_its_own_limit(caller: Caller, house: House) -> None:
    key, secret = await house.keys.create("acme", KeyPolicy("ci", {"storage_bytes": 50}))
    body = {"api_key": secret, "lines": {"storage_bytes": 40}, "id": "up-1"}
    status, granted = await caller.call("POST", "/v1/reservations", body)
    assert (status, granted["account"], granted["key_id"]) == (201, "acme", key.id)
    status, denied = await caller.call("POST", "/v1/reservations", {**body, "id": "up-2"})
    assert (status, denied["scope"]) == (403, "api key")
    # What was begun is finished, though the key is revoked meanwhile, and in the key's own scope.
    await house.keys.revoke("acme", key.id)
    status, settled = await caller.on("up-1", "commit", key_id=key.id, actual={"storage_bytes": 40})
    assert status == 200
    used = {quota["scope"]: quota["used"] for quota in settled["quotas"]}
    assert used == {"account": 40, "api key": 40}


async def test_a_revoked_key_reserves_nothing_and_finishes_what_it_began(
    caller: Caller, house: House
) -> None:
    """failure row 49"""
    key, secret = await house.keys.create("acme", KeyPolicy())
    body = {"api_key": secret, "lines": {"storage_bytes": 40}, "id": "up-1"}
    assert (await caller.call("POST", "/v1/reservations", body))[0] == 201
    await house.keys.revoke("acme", key.id)
    await until(lambda: len(house.identities) == 0)
    status, refused = await caller.call("POST", "/v1/reservations", {**body, "id": "up-2"})
    assert (status, refused["code"]) == (401, "unauthenticated")
    ending = {"api_key": secret, "actual": {"storage_bytes": 40}}
    status, settled = await caller.call("POST", "/v1/reservations/up-1/commit", ending)
    assert (status, settled["state"]) == (200, "committed")


async def test_an_invalid_key_is_nobodys(caller: Caller) -> None:
    for secret in ("qg_wrong", "never-heard-of-this-one"):
        for verb, needed in (("", "lines"), ("/up-1/commit", "actual")):
            status, refused = await caller.call(
                "POST", f"/v1/reservations{verb}", {"api_key": secret, needed: {}}
            )
            assert (status, refused["code"]) == (401, "unauthenticated")
    status, _ = await caller.reserve(1, key_id="nokey")
    assert status == 401


async def test_a_suspended_account_reserves_nothing_and_settles_what_it_has(
    caller: Caller, house: House
) -> None:
    _, granted = await caller.reserve(60)
    await suspend(house.desk, "acme")
    await until(lambda: len(house.identities) == 0)
    status, refused = await caller.reserve(1)
    assert (status, refused["code"]) == (403, "account-suspended")
    assert (await caller.on(granted["id"], "commit", actual={"storage_bytes": 60}))[0] == 200


async def test_a_lowered_limit_binds_the_next_reservation(caller: Caller, house: House) -> None:
    """failure row 51"""
    _, granted = await caller.reserve(60)
    await caller.on(granted["id"], "commit", actual={"storage_bytes": 60})
    await set_limit(house.desk, "acme", "storage_bytes", "10")
    await until(lambda: len(house.identities) == 0)
    status, denied = await caller.reserve(1)
    assert (status, denied["limit"], denied["remaining"]) == (403, 10, 0)


async def test_a_commit_above_what_was_reserved_is_charged_and_flagged(caller: Caller) -> None:
    """failure row 44"""
    _, granted = await caller.reserve(60)
    status, settled = await caller.on(granted["id"], "commit", actual={"storage_bytes": 130})
    assert (status, settled["overage"]) == (200, {"storage_bytes": 30})


async def test_an_asset_is_taken_off_the_books_once(caller: Caller) -> None:
    """failure row 60"""
    _, granted = await caller.reserve(60)
    await caller.on(granted["id"], "commit", actual={"storage_bytes": 60}, asset="files/a b")
    path = "/v1/accounts/acme/assets/files/a%20b"
    assert await caller.call("DELETE", path) == (
        200,
        {"asset": "files/a b", "deltas": {"storage_bytes": -60}},
    )
    assert (await caller.call("DELETE", path))[1]["deltas"] == {}
    assert await caller.standing() == (0, 0)


async def test_the_rate_limit_is_said_with_retry_after(caller: Caller, house: House) -> None:
    await house.open_account("hasty", "slow")
    answers = [await caller.reserve(1, account="hasty") for _ in range(3)]
    assert [status for status, _ in answers] == [201, 201, 429]
    assert answers[0][1]["rate"]["remaining"] == 1


@pytest.mark.parametrize("closed", [DRAINING, STORE_LOST])
async def test_while_closed_nothing_is_reserved_and_everything_is_settled(
    closed: Error, caller: Caller, house: House
) -> None:
    _, granted = await caller.reserve(60)
    house.closed = closed
    status, refused = await caller.reserve(1)
    assert (status, refused["code"]) == (503, closed.code)
    assert (await caller.on(granted["id"], "release"))[0] == 200


async def test_an_account_whose_books_are_gone_is_not_served(caller: Caller, house: House) -> None:
    """failure row 25: empty is never taken for unused."""
    await house.store.client.delete("qg:{acme}:books")
    status, refused = await caller.reserve(1)
    assert (status, refused["code"]) == (503, "store-lost")


async def test_an_account_on_an_unknown_plan_is_our_fault(caller: Caller, house: House) -> None:
    await house.accounts.set_plan("acme", "gone", 7)
    assert (await caller.reserve(1))[0] == 500


async def test_what_a_subject_uses_is_counted_for_it(caller: Caller) -> None:
    subject = {"kind": "creator", "id": "ann"}
    status, granted = await caller.reserve(60, subject=subject)
    assert status == 201
    ending = {"actual": {"storage_bytes": 60}, "subject": subject}
    assert (await caller.on(granted["id"], "commit", **ending))[0] == 200


WRONG_AMOUNTS: tuple[object, ...] = (
    -1,
    1.0,
    1e3,
    True,
    None,
    "5",
    " 5 ",
    "0x10",
    "nan",
    2**53,
    2**63,
    [1],
    {},
)


@pytest.mark.parametrize("amount", WRONG_AMOUNTS, ids=repr)
async def test_what_is_no_amount_is_refused_before_the_ledger(
    amount: object, caller: Caller
) -> None:
    """failure row 62"""
    status, refused = await caller.reserve(lines={"storage_bytes": amount})
    assert (status, refused["code"]) in ((400, "invalid-amount"), (400, "bad-request"))
    assert await caller.standing() == (0, 0)


@pytest.mark.parametrize("amount", [0, 2**53 - 1])
async def test_the_least_and_the_most_amount_are_amounts(amount: int, caller: Caller) -> None:
    """failure row 62"""
    assert (await caller.reserve(amount))[0] == (201 if amount == 0 else 403)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"lines": {}}, "bad-request"),
        ({"account": "acme"}, "bad-request"),
        ({"account": "acme", "api_key": "x", "lines": {}}, "bad-request"),
        ({"api_key": "x", "key_id": "y", "lines": {}}, "bad-request"),
        ({"api_key": 1, "lines": {}}, "bad-request"),
        ({"account": 1, "lines": {}}, "bad-request"),
        ({"account": "acme", "lines": []}, "bad-request"),
        ({"account": "acme", "lines": {}, "line": {}}, "bad-request"),
        ({"account": "acme", "lines": {"bytes": 1}}, "unknown-meter"),
        ({"account": "acme", "lines": {"uploads": {"least": 2, "most": 1}}}, "invalid-amount"),
        ({"account": "acme", "lines": {"uploads": {"least": 2}}}, "bad-request"),
        ({"account": "acme", "lines": {str(n): 1 for n in range(33)}}, "bad-request"),
        ({"account": "acme", "lines": {}, "lease_s": 0}, "bad-request"),
        ({"account": "acme", "lines": {}, "lease_s": 604_801}, "bad-request"),
        ({"account": "acme", "lines": {}, "lease_s": 1.5}, "bad-request"),
        ({"account": "acme", "lines": {}, "lease_s": True}, "bad-request"),
        ({"account": "acme", "lines": {}, "note": "a\nb"}, "bad-request"),
        ({"account": "acme", "lines": {}, "note": "x" * 201}, "bad-request"),
        ({"account": "acme", "lines": {}, "id": "a b"}, "bad-request"),
        ({"account": "acme", "lines": {}, "id": ""}, "bad-request"),
        ({"account": "acme", "lines": {}, "id": "x" * 256}, "bad-request"),
        ({"account": "acme", "lines": {}, "subject": {"kind": "creator"}}, "bad-request"),
        ({"account": "acme", "lines": {}, "subject": "ann"}, "bad-request"),
        *(
            ({"account": "acme", "lines": {}, "subject": {"kind": kind, "id": name}}, "bad-request")
            for kind, name in (
                *(("Creator", "a"), ("a:b", "a"), ("creator", "a" * 257)),
                *(("creator", "a\n"), ("creator", "\u202e")),
            )
        ),
        ([], "bad-request"),
    ],
    ids=str,
)
async def test_what_cannot_be_meant_is_refused(body: object, code: str, caller: Caller) -> None:
    status, refused = await caller.call("POST", "/v1/reservations", body)
    assert (status, refused["code"]) == (400, code)


async def test_the_longest_ids_and_assets(caller: Caller) -> None:
    name, asset = "x" * 255, "files/" + "ä" * 2_042
    assert (await caller.reserve(60, id=name))[0] == 201
    body = {"actual": {"storage_bytes": 60}, "asset": asset}
    assert (await caller.on(name, "commit", **body))[0] == 200
    assert (await caller.on(name, "commit", **body, reason="x"))[0] == 400
    assert (await caller.on("x" * 256, "release"))[0] == 400


async def test_more_meters_than_any_request_has_are_refused(caller: Caller) -> None:
    """failure row 63"""
    many = {f"m{number}": 1 for number in range(33)}
    assert (await caller.on("up-1", "commit", actual=many))[0] == 400


async def test_an_account_in_the_query_is_as_good_as_one_in_the_body(caller: Caller) -> None:
    path = "/v1/reservations?account=acme"
    status, granted = await caller.call("POST", path, {"lines": {"storage_bytes": 60}})
    assert status == 201
    path = f"/v1/reservations/{granted['id']}/release"
    assert (await caller.call("POST", f"{path}?account=acme&account=acme"))[0] == 400
    assert (await caller.call("POST", f"{path}?account=acme", {"account": "acme"}))[0] == 400
    assert (await caller.call("POST", f"{path}?account=acme"))[0] == 200
