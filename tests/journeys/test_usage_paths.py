"""Usage pages and routes whose path names the account: its id or an alias, and no other's."""

import json
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from tests.journeys.rig import Rig, Wishes, running

PATHS = """
[[routes]]
name = "of-account"
methods = ["PUT"]
path = "/accounts/{account}/files/{name}"
upstream = "files"
policy = "upload"
account = "path"
reserve = { storage_bytes = "body" }

[[usage]]
path = "/accounts/{account}/quota"
dialect = "native"
page = "quota"

[[usage]]
path = "/bearers"
dialect = "native"
page = "quota"
auth = ["bearer"]
"""
WISHES = Wishes(extra=PATHS)


async def quota(rig: Rig, path: str, **headers: str) -> tuple[int, str]:
    """Status, and the account or the code of the error."""
    async with rig.session.get(f"{rig.url}{path}", headers=headers or rig.headers) as answer:
        page = json.loads(await answer.read())
        return answer.status, page.get("account") or page["code"]


async def test_the_account_of_a_path_is_that_of_the_key(store: Store, tmp_path: Path) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        accounts = Accounts(store.client)
        assert isinstance(await accounts.create(rig.new_account("other")), Account)
        assert isinstance(await accounts.add_alias("acme", "023e105f4ecef8ad"), Account)
        assert await quota(rig, "/accounts/acme/quota") == (200, "acme")
        assert await quota(rig, "/accounts/023e105f4ecef8ad/quota") == (200, "acme")
        for name in ("other", "nobody"):
            assert await quota(rig, f"/accounts/{name}/quota") == (404, "other-account")


async def test_a_route_charges_the_account_of_its_path_under_every_name(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        accounts, keys = Accounts(store.client), ApiKeys(store.client)
        assert isinstance(await accounts.create(rig.new_account("other")), Account)
        _, others = await keys.create("other", KeyPolicy())
        assert isinstance(await accounts.add_alias("acme", "a1"), Account)
        for name, key, status in (
            ("acme", rig.key, 201),
            ("a1", rig.key, 201),
            ("other", rig.key, 404),
            ("a1", others, 404),
            ("nobody", rig.key, 404),
        ):
            async with rig.session.put(
                f"{rig.url}/accounts/{name}/files/x", data=b"12345", headers={"X-API-Key": key}
            ) as answer:
                assert answer.status == status
        assert await rig.standing() == (10, 0)


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
async def test_a_page_takes_the_kinds_of_key_that_it_lists(
    store: Store, tmp_path: Path, header: str
) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        value = rig.key if header == "X-API-Key" else f"Bearer {rig.key}"
        expected = (200, "acme") if header == "Authorization" else (401, "no-api-key")
        assert await quota(rig, "/bearers", **{header: value}) == expected
