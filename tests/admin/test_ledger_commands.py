"""Commands on the ledger."""

from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.admin import ledger_commands as commands
from gateway.admin.command import CommandError, ExitCode
from gateway.admin.record import Hand
from gateway.admission.terms import terms_of
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Line
from tests.admin.house import House


async def refused(command: Awaitable[Any]) -> tuple[str, ExitCode]:
    with pytest.raises(CommandError) as raised:
        await command
    return raised.value.code, raised.value.exit_code


async def terms(house: House) -> Terms:
    found = terms_of(await house.desk.account("acme"), house.catalog)
    assert found is not None
    return found


async def reserve(house: House, name: str, amount: int, lease_ms: int = 60_000) -> None:
    line = Line.exact("storage_bytes", amount)
    await house.ledger.reserve(await terms(house), name, [line], lease_ms=lease_ms, note="upload")


async def test_usage_shows_quotas_and_what_holds_the_space(house: House) -> None:
    await house.open_account()
    await reserve(house, "up-1", 60)
    view = await commands.usage(house.desk, "acme")
    assert (view.account, view.plan, view.open_reservations) == ("acme", "free", 1)
    storage = view.quotas[0]
    assert (storage.used, storage.reserved, storage.remaining, storage.scope) == (
        0, 60, 40, "account",
    )  # fmt: skip
    (holder,) = view.holders
    assert (holder.id, holder.note, holder.lines) == ("up-1", "upload", {"a/storage_bytes": 60})


async def test_an_adjustment_moves_what_is_used_once(house: House) -> None:
    await house.open_account()
    desk, why = house.desk, "imported from the old system"
    changes = {"storage_bytes": "+60B", "uploads": "3"}
    first = await commands.adjust(desk, "acme", changes, Hand("ann", why), adjustment_id="import-1")
    again = await commands.adjust(desk, "acme", changes, Hand("ann", why), adjustment_id="import-1")
    assert (first.deltas, first.replayed) == ({"storage_bytes": 60, "uploads": 3}, False)
    assert again.replayed
    down = await commands.adjust(desk, "acme", {"storage_bytes": "-10B"}, Hand("ann", why))
    assert down.deltas == {"storage_bytes": -10}
    assert [q.used for q in (await commands.usage(desk, "acme")).quotas] == [50, 3]


async def test_how_adjust_says_no(house: House) -> None:
    """I2: never below zero, and never clamped."""
    await house.open_account()
    desk = house.desk
    cases: list[tuple[dict[str, str], str, str | None, ExitCode]] = [
        ({"storage_bytes": "-1B"}, "why", None, ExitCode.REFUSED),
        ({}, "why", None, ExitCode.USAGE),
        ({"storage_bytes": "1B"}, " ", None, ExitCode.USAGE),
        ({"storage_bytes": "--1B"}, "why", None, ExitCode.USAGE),
        ({"storage_bytes": "1B"}, "why", "a b", ExitCode.USAGE),
        ({"gone": "1"}, "why", None, ExitCode.NOT_FOUND),
    ]
    for changes, why, name, code in cases:
        command = commands.adjust(desk, "acme", changes, Hand("ann", why), adjustment_id=name)
        assert (await refused(command))[1] == code
    assert (await commands.usage(desk, "acme")).quotas[0].used == 0
    unknown = commands.adjust(desk, "nobody", {"uploads": "1"}, Hand("ann", "why"))
    assert (await refused(unknown))[1] == ExitCode.NOT_FOUND


async def test_the_same_adjustment_id_with_other_content_is_refused(house: House) -> None:
    """failure row 59"""
    await house.open_account()
    desk = house.desk
    await commands.adjust(desk, "acme", {"uploads": "1"}, Hand("ann", "why"), adjustment_id="a1")
    other = commands.adjust(desk, "acme", {"uploads": "2"}, Hand("ann", "why"), adjustment_id="a1")
    assert await refused(other) == ("content-mismatch", ExitCode.REFUSED)


async def test_expire_ends_what_is_due(house: House) -> None:
    await house.open_account()
    await reserve(house, "up-1", 10)
    await reserve(house, "up-2", 10, lease_ms=1)
    while not (await commands.expire(house.desk, "acme")).ended:
        pass
    assert (await commands.usage(house.desk, "acme")).open_reservations == 1
    assert (await refused(commands.expire(house.desk, "nobody")))[0] == "unknown-account"


async def test_an_account_on_a_plan_that_is_gone_is_told_so(house: House) -> None:
    await house.open_account()
    await house.accounts.set_plan("acme", "gone", 7)
    assert await refused(commands.usage(house.desk, "acme")) == ("unknown-plan", ExitCode.USAGE)
