"""Commands on open reservations, and the log of what was done by hand."""

import pytest

from gateway.admin import reservation_commands as commands
from gateway.admin.command import ExitCode
from gateway.admin.record import Hand
from gateway.records.doubts import Doubt, Doubts
from tests.admin.house import House
from tests.admin.test_ledger_commands import refused, reserve


async def test_open_reservations_are_listed_with_their_leases(house: House) -> None:
    await house.open_account()
    await reserve(house, "up-2", 20, lease_ms=60_000)
    await reserve(house, "up-1", 60, lease_ms=30_000)
    listed = await commands.list_open(house.desk, "acme")
    assert [(each.id, each.route, each.lines) for each in listed.reservations] == [
        ("up-1", "upload", {"a/storage_bytes": 60}),
        ("up-2", "upload", {"a/storage_bytes": 20}),
    ]
    assert all(0 <= each.age_s < 60 for each in listed.reservations)
    assert len((await commands.list_open(house.desk, "acme", 1)).reservations) == 1


async def test_a_release_by_hand_is_on_the_record(house: House) -> None:
    await house.open_account()
    await reserve(house, "up-1", 60)
    done = await commands.release(
        house.desk, "acme", "up-1", Hand("ann", "client is gone for good")
    )
    assert (done.expired, done.replayed) == (False, False)
    assert (await commands.list_open(house.desk, "acme")).reservations == ()
    (entry,) = (await commands.log(house.desk)).entries
    assert (entry.actor, entry.verb, entry.account, entry.target) == (
        "ann", "reservation release", "acme", "up-1",
    )  # fmt: skip
    assert entry.reason == "client is gone for good"


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines"])
async def test_without_a_reason_nothing_is_done(house: House, reason: str) -> None:
    await house.open_account()
    await reserve(house, "up-1", 60)
    release = commands.release(house.desk, "acme", "up-1", Hand("ann", reason))
    assert (await refused(release))[1] == ExitCode.USAGE
    assert len((await commands.list_open(house.desk, "acme")).reservations) == 1


async def test_how_release_says_no(house: House) -> None:
    await house.open_account()
    unknown = commands.release(house.desk, "acme", "nothing", Hand("ann", "why"))
    assert await refused(unknown) == ("unknown-reservation", ExitCode.NOT_FOUND)
    nobody = commands.release(house.desk, "nobody", "up-1", Hand("ann", "why"))
    assert (await refused(nobody))[1] == ExitCode.NOT_FOUND


async def test_what_is_in_doubt_is_listed(house: House) -> None:
    assert (await commands.in_doubt(house.desk)).doubts == ()
    doubt = Doubt("acme", "r-1", "upload", {}, {"storage_bytes": 5}, None, None, None)
    await Doubts(house.store.client).open(doubt, lease_ms=60_000, look_after_ms=0)
    (found,) = (await commands.in_doubt(house.desk)).doubts
    assert (found.account, found.reservation, found.route, found.lines) == (
        "acme", "r-1", "upload", {"storage_bytes": 5},
    )  # fmt: skip
