"""Commands on accounts: what they change, and how they say no."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from gateway.admin import account_commands as commands
from gateway.admin.account_commands import AccountOrder
from gateway.admin.command import CommandError, ExitCode
from gateway.admission.terms import terms_of
from gateway.catalog.catalog import Catalog
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.outcomes import Granted, Line
from tests.admin.house import House


async def refused(command: Awaitable[Any]) -> tuple[str, ExitCode]:
    with pytest.raises(CommandError) as raised:
        await command
    return raised.value.code, raised.value.exit_code


async def test_a_created_account_can_reserve(house: House) -> None:
    view = await commands.create(house.desk, AccountOrder("acme", name="Acme Ltd"))
    assert (view.id, view.plan, view.status, view.limits) == ("acme", "free", "active", {})
    account = await house.desk.account("acme")
    terms = terms_of(account, house.catalog)
    assert terms is not None
    line = Line.exact("storage_bytes", 60)
    granted = await house.ledger.reserve(terms, "up-1", [line], lease_ms=1_000)
    assert isinstance(granted, Granted)


async def test_creating_again_finishes_what_broke_off(house: House) -> None:
    order = AccountOrder("acme", "pro", limits={"storage_bytes": "1KiB"}, anchor_ms=1)
    first = await commands.create(house.desk, order)
    await house.store.client.delete("qg:{acme}:books", "qg:accounts")
    terms = terms_of(await house.desk.account("acme"), house.catalog)
    assert terms is not None
    with pytest.raises(StoreError) as lost:
        await house.ledger.snapshot(terms)
    assert lost.value.error is STORE_LOST
    assert await commands.create(house.desk, order) == first
    assert (await house.ledger.snapshot(terms)).open_count == 0
    assert (await commands.list_page(house.desk)).accounts == (first,)


async def test_an_existing_account_is_not_created_otherwise(house: House) -> None:
    await commands.create(house.desk, AccountOrder("acme"))
    order = AccountOrder("acme", "pro")
    assert await refused(commands.create(house.desk, order)) == (
        "account-exists",
        ExitCode.REFUSED,
    )


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (AccountOrder("a b"), ("usage", ExitCode.USAGE)),
        (AccountOrder("a}b"), ("usage", ExitCode.USAGE)),
        (AccountOrder("acme", "gone"), ("unknown-plan", ExitCode.NOT_FOUND)),
        (AccountOrder("acme", limits={"gone": "1"}), ("unknown-meter", ExitCode.NOT_FOUND)),
        (AccountOrder("acme", limits={"uploads": "-1"}), ("usage", ExitCode.USAGE)),
        (AccountOrder("acme", limits={"storage_bytes": "1e9"}), ("usage", ExitCode.USAGE)),
        (AccountOrder("acme", name="a\x1b[31mb"), ("usage", ExitCode.USAGE)),
    ],
    ids=str,
)
async def test_what_cannot_be_created(
    order: AccountOrder, said: tuple[str, ExitCode], house: House
) -> None:
    """failure row 62: what is no amount is refused before it is stored."""
    assert await refused(commands.create(house.desk, order)) == said
    assert await house.accounts.get("acme") is None


async def test_without_a_catalog_there_is_no_plan(house: House) -> None:
    house.catalog = Catalog()
    assert await refused(commands.create(house.desk, AccountOrder("acme"))) == (
        "usage",
        ExitCode.USAGE,
    )


async def test_plan_limits_and_status_change(house: House) -> None:
    """failure row 51"""
    await commands.create(house.desk, AccountOrder("acme"))
    desk = house.desk
    assert (await commands.set_plan(desk, "acme", "pro")).plan == "pro"
    assert (await commands.set_limit(desk, "acme", "storage_bytes", "1KiB")).limits == {
        "storage_bytes": 1_024
    }
    assert (await commands.set_limit(desk, "acme", "storage_bytes", "unlimited")).limits == {
        "storage_bytes": None
    }
    assert (await commands.set_limit(desk, "acme", "storage_bytes", "plan")).limits == {}
    assert (await commands.suspend(desk, "acme")).status == "suspended"
    assert (await commands.show(desk, "acme")).status == "suspended"
    assert (await commands.resume(desk, "acme")).status == "active"


async def test_what_does_not_exist_is_not_found(house: House) -> None:
    desk = house.desk
    for command in (
        commands.show(desk, "acme"),
        commands.set_plan(desk, "acme", "pro"),
        commands.set_limit(desk, "acme", "uploads", "1"),
        commands.suspend(desk, "acme"),
        commands.resume(desk, "acme"),
    ):
        assert await refused(command) == ("unknown-account", ExitCode.NOT_FOUND)
    assert await refused(commands.set_plan(desk, "acme", "gone")) == (
        "unknown-plan",
        ExitCode.NOT_FOUND,
    )


async def test_pages(house: House) -> None:
    for number in range(3):
        await commands.create(house.desk, AccountOrder(f"a{number}"))
    page = await commands.list_page(house.desk, count=2)
    assert len(page.accounts) == 2
    rest = await commands.list_page(house.desk, page.cursor, 2)
    assert (len(rest.accounts), rest.cursor) == (1, None)
    for cursor, count in ((None, 0), (None, 1_001), ("nobody", 1)):
        assert (await refused(commands.list_page(house.desk, cursor, count)))[1] == ExitCode.USAGE


async def test_a_limit_on_a_meter_that_is_gone_can_be_taken_away(house: House) -> None:
    await commands.create(house.desk, AccountOrder("acme", limits={"uploads": "5"}))
    house.catalog = replace(house.catalog, meters={})
    assert (await commands.set_limit(house.desk, "acme", "uploads", "plan")).limits == {}
