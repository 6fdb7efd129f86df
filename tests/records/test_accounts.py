"""Accounts: created once, changed whole, listed in order."""

import asyncio

import pytest

from gateway.records.accounts import (
    ALIASES,
    Account,
    Accounts,
    AccountStatus,
    Exists,
    NewAccount,
    Taken,
    account_key,
    is_account_id,
    is_alias,
)
from gateway.records.rows import RedisClient


@pytest.fixture
def accounts(client: RedisClient) -> Accounts:
    return Accounts(client)


async def created(accounts: Accounts, account_id: str = "acme", plan: str = "free") -> Account:
    account = await accounts.create(NewAccount(account_id, plan, name="Acme Ltd"))
    assert isinstance(account, Account)
    return account


async def test_a_new_account_is_active_and_counts_months_from_its_creation(
    accounts: Accounts,
) -> None:
    account = await created(accounts)
    assert account.status is AccountStatus.ACTIVE
    assert account.anchor_ms == account.created_ms > 1_600_000_000_000
    assert await accounts.get("acme") == account


async def test_an_account_keeps_its_anchor_and_limits(accounts: Accounts) -> None:
    limits = {"storage_bytes": 100, "egress_bytes": None}
    new = NewAccount("acme", "free", anchor_ms=1_700_000_000_000, limits=limits)
    account = await accounts.create(new)
    assert isinstance(account, Account)
    assert (account.anchor_ms, account.limits) == (1_700_000_000_000, limits)
    assert await accounts.create(new) == account


async def test_creating_the_same_again_answers_the_same(accounts: Accounts) -> None:
    first = await created(accounts)
    assert await created(accounts) == first


async def test_creating_it_otherwise_is_refused_and_changes_nothing(accounts: Accounts) -> None:
    first = await created(accounts)
    assert await accounts.create(NewAccount("acme", "pro")) == Exists(first)
    assert await accounts.get("acme") == first


async def test_a_creation_that_broke_off_is_finished_by_asking_again(
    accounts: Accounts, client: RedisClient
) -> None:
    first = await created(accounts)
    await client.delete("qg:accounts")
    assert await created(accounts) == first
    page = await accounts.list()
    assert page is not None
    assert page.accounts == (first,)


async def test_concurrent_creations_make_one_account(accounts: Accounts) -> None:
    plans = ["free", "pro"] * 10
    answers = await asyncio.gather(*(accounts.create(NewAccount("acme", plan)) for plan in plans))
    won = [answer for answer in answers if isinstance(answer, Account)]
    assert len(won) == 10
    assert len(set(account.plan for account in won)) == 1


async def test_plan_and_limits_change(accounts: Accounts) -> None:
    await created(accounts)
    await accounts.set_plan("acme", "pro", 7)
    await accounts.set_limit("acme", "storage_bytes", 0)
    changed = await accounts.set_limit("acme", "jobs", None)
    assert changed is not None
    assert (changed.plan, changed.limits) == ("pro", {"storage_bytes": 0, "jobs": None})
    assert await accounts.get("acme") == changed
    cleared = await accounts.clear_limit("acme", "jobs")
    assert cleared is not None
    assert cleared.limits == {"storage_bytes": 0}


async def test_suspend_and_resume(accounts: Accounts) -> None:
    account = await created(accounts)
    suspended = await accounts.suspend("acme")
    assert suspended is not None
    assert suspended.suspended
    assert await accounts.resume("acme") == account


async def test_changes_of_an_unknown_account_make_no_row(
    accounts: Accounts, client: RedisClient
) -> None:
    assert await accounts.set_plan("acme", "pro", 7) is None
    assert await accounts.set_limit("acme", "jobs", 1) is None
    assert await accounts.suspend("acme") is None
    assert not await client.exists(account_key("acme"))


async def test_accounts_are_listed_in_pages(accounts: Accounts) -> None:
    expected = [(await created(accounts, f"a{number}")).id for number in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await accounts.list(cursor, 3)
        assert page is not None
        seen += [account.id for account in page.accounts]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(expected)
    assert len(page.accounts) == 1


async def test_an_unknown_cursor_is_said_to_be_one(accounts: Accounts) -> None:
    assert await accounts.list("nobody") is None


@pytest.mark.parametrize("account_id", ["acme", "A.b-c_9", "x" * 64])
def test_account_ids(account_id: str) -> None:
    assert is_account_id(account_id)


@pytest.mark.parametrize(
    "account_id", ["", "x" * 65, "a b", "a}:x", "a{", "a/b", "ä", "a\n", "a:b", "٣"]
)
async def test_what_is_no_account_id_never_reaches_the_store(
    account_id: str, accounts: Accounts
) -> None:
    assert not is_account_id(account_id)
    assert await accounts.get(account_id) is None
    assert await accounts.set_plan(account_id, "pro", 7) is None
    with pytest.raises(ValueError, match="not an account id"):
        await accounts.create(NewAccount(account_id, "free"))


async def test_an_alias_is_another_name_of_one_account(accounts: Accounts) -> None:
    await created(accounts)
    account = await accounts.add_alias("acme", "023e105f4ecef8ad9ca31a8372d0c353")
    assert isinstance(account, Account)
    assert account.aliases == ("023e105f4ecef8ad9ca31a8372d0c353",)
    assert account.answers_to("acme")
    assert account.answers_to("023e105f4ecef8ad9ca31a8372d0c353")
    assert not account.answers_to("other")
    assert await accounts.find("023e105f4ecef8ad9ca31a8372d0c353") == account
    assert await accounts.find("acme") == account
    assert await accounts.add_alias("acme", "023e105f4ecef8ad9ca31a8372d0c353") == account


async def test_an_alias_names_one_account_only_and_no_other_accounts_id(
    accounts: Accounts,
) -> None:
    await created(accounts)
    await created(accounts, "other")
    assert isinstance(await accounts.add_alias("acme", "a1"), Account)
    assert await accounts.add_alias("other", "a1") == Taken()
    assert await accounts.add_alias("acme", "other") == Taken()
    assert await accounts.add_alias("nobody", "a2") is None
    freed = await accounts.remove_alias("acme", "a1")
    assert freed is not None
    assert freed.aliases == ()
    assert await accounts.find("a1") is None
    assert isinstance(await accounts.add_alias("other", "a1"), Account)


async def test_no_account_is_created_by_a_name_that_is_anothers_alias(accounts: Accounts) -> None:
    await created(accounts)
    account = await accounts.add_alias("acme", "a1")
    assert isinstance(account, Account)
    assert await accounts.create(NewAccount("a1", "free")) == Exists(account)
    assert await accounts.get("a1") is None
    assert await accounts.find("a1") == account


async def test_an_alias_that_was_only_half_given_is_none_until_it_is_given_again(
    accounts: Accounts, client: RedisClient
) -> None:
    account = await created(accounts)
    await client.hset(ALIASES, "a1", "acme")
    assert await accounts.find("a1") is None
    assert account.aliases == ()
    assert isinstance(await accounts.add_alias("acme", "a1"), Account)
    assert await accounts.find("a1") is not None


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a" * 65, "\x00", "é"])
def test_an_alias_is_one_segment_of_a_path(name: str) -> None:
    assert not is_alias(name)
