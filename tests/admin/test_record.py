"""The record of what is done by hand: written before the deed, and again where the deed failed."""

import pytest

from gateway.admin import ledger_commands
from gateway.admin.command import CommandError, ExitCode
from gateway.admin.record import API, Hand, on_record
from gateway.admin.reservation_commands import log
from gateway.errors import STORE_UNAVAILABLE, StoreError
from tests.admin.house import House
from tests.admin.test_ledger_commands import refused, reserve, terms

ANN = Hand("ann", "a reason")


async def test_a_deed_is_written_down_before_it_is_done(house: House) -> None:
    async with on_record(house.desk, ANN, "a verb", "acme", "a-1", more=7):
        (entry,) = (await log(house.desk)).entries
    assert (entry.actor, entry.reason, entry.verb) == ("ann", "a reason", "a verb")
    assert (entry.account, entry.target) == ("acme", "a-1")
    assert entry.facts == {"more": 7, "via": "command line"}
    assert len((await log(house.desk)).entries) == 1


async def test_a_deed_that_failed_says_so(house: House) -> None:
    failures = (
        CommandError("not-so", "it cannot be done", ExitCode.REFUSED),
        StoreError(STORE_UNAVAILABLE, transient=True),
    )
    for failure in failures:
        with pytest.raises(type(failure)):
            async with on_record(house.desk, Hand("ann", "why", API), "a verb", "acme", "a-1"):
                raise failure
    newest_first = [entry.facts for entry in (await log(house.desk)).entries]
    assert newest_first == [
        {"via": "admin API", "failed": "store-unavailable"},
        {"via": "admin API"},
        {"via": "admin API", "failed": "not-so"},
        {"via": "admin API"},
    ]


@pytest.mark.parametrize(
    "hand", [Hand("", "why"), Hand("ann", " "), Hand("an\nn", "why"), Hand("ann", "w" * 201)]
)
async def test_nothing_is_done_for_nobody_or_for_no_reason(house: House, hand: Hand) -> None:
    await house.open_account()
    adjust = ledger_commands.adjust(house.desk, "acme", {"uploads": "1"}, hand)
    assert (await refused(adjust))[1] == ExitCode.USAGE
    assert (await log(house.desk)).entries == ()
    assert (await house.ledger.snapshot(await terms(house))).quotas[1].used == 0


async def test_an_adjustment_is_on_the_record(house: House) -> None:
    await house.open_account()
    changes = {"uploads": "3", "storage_bytes": "+5B"}
    done = await ledger_commands.adjust(house.desk, "acme", changes, ANN, adjustment_id="a-1")
    (entry,) = (await log(house.desk)).entries
    assert (entry.actor, entry.verb, entry.target) == ("ann", "ledger adjust", "a-1")
    assert entry.facts == {"deltas": done.deltas, "via": "command line"}
    below_zero = ledger_commands.adjust(house.desk, "acme", {"uploads": "-9"}, ANN)
    assert (await refused(below_zero))[1] == ExitCode.REFUSED
    failed, tried, _ = (await log(house.desk)).entries
    assert failed.target == tried.target
    assert "failed" in failed.facts


async def test_accepting_and_repairing_are_on_the_record(house: House) -> None:
    await house.open_account()
    await reserve(house, "up-1", 60)
    await house.store.client.hset("qg:{acme}:books", "a/storage_bytes", "0 0 0")
    await ledger_commands.audit(house.desk, "acme", repair=ANN)
    await ledger_commands.accept(house.desk, Hand("bob", "restored"))
    accepted, repaired = (await log(house.desk)).entries
    assert (accepted.actor, accepted.verb, accepted.reason) == ("bob", "ledger accept", "restored")
    assert (repaired.actor, repaired.verb, repaired.account) == ("ann", "ledger repair", "acme")
    assert repaired.facts["found"]
