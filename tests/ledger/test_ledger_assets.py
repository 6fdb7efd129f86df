"""Assets and adjustments, told as stories, on every store."""

from dataclasses import replace
from typing import Any

from gateway.catalog.plans import Plan
from gateway.ledger.charges import charged
from gateway.ledger.outcomes import Line
from tests.ledger.stage import Stage


async def test_an_asset_gives_back_once_what_it_was_charged(stage: Stage) -> None:
    """failure row 60: whatever the client says, and however often it is deleted."""
    await stage.open(storage=100, egress=1_000)
    await stage.tell(
        """
        reserve A storage=60                    -> granted 0+60/100
        commit A storage=45 egress=45 as x.bin  -> committed 45+0/100, 45+0/1000
        remove unknown.bin                      -> nothing
        remove x.bin                            -> adjusted storage=-45
        remove x.bin                            -> nothing
        quota storage                           -> 0+0/100 peak 45
        quota egress                            -> 45+0/1000
        """
    )


async def test_overwriting_an_asset_leaves_only_the_difference(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60            -> granted 0+60/100
        commit A storage=60 files=1 as x -> committed 60+0/100, 1+0/∞
        reserve B storage=40            -> granted 60+40/100
        commit B storage=40 files=1 as x -> committed 40+0/100, 1+0/∞
        commit B storage=40 files=1 as x -> committed 40+0/100, 1+0/∞ again
        reserve C storage=30            -> granted 40+30/100
        commit C storage=30 as x        -> committed 30+0/100
        quota files                     -> 0+0/∞ peak 1
        remove x                        -> adjusted storage=-30
        quota storage                   -> 0+0/100 peak 60
        """
    )


async def test_an_asset_is_given_back_to_the_counters_it_was_charged_to(stage: Stage) -> None:
    """failure row 50: an asset stored under an API key, overwritten and removed under others."""
    plan = Plan("test", key_limits={"storage": 100})
    await stage.ledger.open_books("acme")
    key1 = replace(stage.terms, plan=plan, key_id="key1", subject=("creator", "ann"))
    key2 = replace(stage.terms, plan=plan, key_id="key2")
    stage.terms = key1
    await stage.tell(
        """
        reserve A storage=60        -> granted 0+60/∞, 0+60/100, 0+60/∞
        commit A storage=60 as x    -> committed 60+0/∞, 60+0/100, 60+0/∞
        """
    )
    stage.terms = key2
    await stage.tell(
        """
        reserve B storage=10        -> granted 60+10/∞, 0+10/100
        commit B storage=10 as x    -> committed 10+0/∞, 10+0/100
        """
    )
    stage.terms = key1
    await stage.tell("quota storage -> 10+0/∞ peak 60, 0+0/100 peak 60, 0+0/∞ peak 60")
    stage.terms = replace(stage.terms, plan=Plan("other"), key_id=None, subject=None)
    await stage.tell("remove x -> adjusted storage=-10")
    stage.terms = key2
    await stage.tell("quota storage -> 0+0/∞ peak 60, 0+0/100 peak 10")


async def test_usage_stays_with_the_account_and_scopes_that_reserved(stage: Stage) -> None:
    """failure row 50: a key that is rotated meanwhile frees what its predecessor holds."""
    plan = Plan("test", limits={"storage": 100}, key_limits={"storage": 100})
    stage.terms = replace(stage.terms, plan=plan, key_id="old")
    await stage.ledger.open_books("acme")
    await stage.tell("reserve A storage=60 -> granted 0+60/100, 0+60/100")
    stage.terms = replace(stage.terms, key_id="new")
    await stage.tell("commit A storage=50 -> committed 50+0/100, 50+0/100")
    stage.terms = replace(stage.terms, key_id="old")
    await stage.tell("quota storage -> 50+0/100 peak 50, 0+0/100 peak 0")


async def test_a_delete_racing_an_upload_of_the_same_name(stage: Stage) -> None:
    """failure row 60"""
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60        -> granted 0+60/100
        remove x                    -> nothing
        commit A storage=60 as x    -> committed 60+0/100
        reserve B storage=40        -> granted 60+40/100
        remove x                    -> adjusted storage=-60
        commit B storage=40 as x    -> committed 40+0/100
        remove x                    -> adjusted storage=-40
        """
    )


async def test_a_late_commit_charges_no_room_for_what_was_removed_since(stage: Stage) -> None:
    """The store was away for one gateway alone: what was uploaded through it was charged when it
    had been deleted through another, which had found nothing to give back."""
    await stage.open(storage=100, egress=1_000)
    await stage.tell(
        """
        reserve A storage=60 egress=60              -> granted 0+60/100, 0+60/1000
        reserve B storage=30                        -> granted 0+90/100
        tick 5s
        remove x                                    -> nothing
        tick 2s
        commit A storage=60 egress=60 as x of 3s    -> committed 0+30/100, 60+0/1000
        commit A storage=60 egress=60 as x of 4s    -> committed 0+30/100, 60+0/1000 again
        remove x                                    -> nothing
        commit B storage=30 as x of 1s              -> committed 0+0/100
        reserve C storage=20                        -> granted 0+20/100
        tick 1s
        commit C storage=20 as x of 500ms           -> committed 20+0/100
        remove x                                    -> adjusted storage=-20
        """
    )


async def test_a_late_commit_does_not_undo_what_was_stored_since(stage: Stage) -> None:
    await stage.open(storage=100, egress=1_000)
    await stage.tell(
        """
        reserve A storage=60        -> granted 0+60/100
        reserve B storage=40        -> granted 0+100/100
        tick 5s
        commit B storage=40 as x    -> committed 40+60/100
        tick 5s
        commit A storage=60 as x of 6s  -> committed 40+0/100
        reserve C storage=60        -> granted 40+60/100
        commit C storage=60 as x of 2s  -> committed 60+0/100
        remove x                    -> adjusted storage=-60
        """
    )


async def test_a_late_removal_takes_nothing_that_was_stored_since(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60        -> granted 0+60/100
        commit A storage=60 as x    -> committed 60+0/100
        tick 5s
        remove x of 6s              -> nothing
        remove x of 4s              -> adjusted storage=-60
        reserve B storage=10        -> granted 0+10/100
        commit B storage=10 as x of 5s  -> committed 0+0/100
        reserve C storage=10        -> granted 0+10/100
        commit C storage=10 as x of 3s  -> committed 10+0/100
        quota storage               -> 10+0/100 peak 60
        """
    )


async def test_a_removal_is_remembered_for_an_hour(stage: Stage) -> None:
    await stage.open(storage=100)
    redis: Any = stage.store.client
    await stage.tell(
        """
        reserve A storage=60 lease 3h   -> granted 0+60/100
        reserve B storage=40 lease 3h   -> granted 0+100/100
        remove x                        -> nothing
        tick 59m
        commit A storage=60 as x of 1h  -> committed 0+40/100
        tick 2m
        quota storage                   -> 0+40/100 peak 0
        commit B storage=40 as x of 2h  -> committed 40+0/100
        """
    )
    assert not await redis.hexists("qg:{acme}:reservations", "removed x")
    assert await stage.findings() == []


async def test_a_removal_forgets_no_reservation_of_that_name(stage: Stage) -> None:
    """Who chooses ids may choose that of a tombstone."""
    await stage.open(storage=100)
    lines = [Line.exact("storage", 60)]
    await stage.ledger.reserve(stage.terms, "removed x", lines, lease_ms=10_000)
    await stage.tell(
        """
        remove x        -> nothing
        quota storage   -> 0+60/100 peak 0
        tick 11s
        quota storage   -> 0+0/100 peak 0
        """
    )
    assert await stage.findings() == []


async def test_an_asset_of_before_rows_told_when_it_was_stored(stage: Stage) -> None:
    """Books outlive the version that wrote them."""
    await stage.open(storage=100)
    await stage.tell("adjust J storage=60 -> adjusted storage=60")
    redis: Any = stage.store.client
    await redis.hset("qg:{acme}:assets", "x", "a/storage=60,")
    assert await charged(stage.store.client, "acme", "x") == {"storage": 60}
    await stage.tell(
        """
        reserve A storage=10            -> granted 60+10/100
        commit A storage=10 as x of 5s  -> committed 10+0/100
        remove x                        -> adjusted storage=-10
        """
    )


async def test_an_empty_asset_counts(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=0 files=1         -> granted 0+0/100, 0+1/∞
        commit A storage=0 files=1 as x     -> committed 0+0/100, 1+0/∞
        remove x                            -> adjusted storage=0 files=-1
        """
    )


async def test_adjustments_move_used_once_and_never_below_zero(stage: Stage) -> None:
    await stage.open(storage=100, egress=50)
    await stage.tell(
        """
        adjust J storage=30             -> adjusted storage=30
        adjust J storage=30             -> adjusted storage=30 again
        adjust J storage=31             -> refused content-mismatch
        adjust K storage=-31            -> refused invalid-amount
        adjust K storage=-30 egress=-1  -> refused invalid-amount
        quota storage                   -> 30+0/100 peak 30
        adjust K storage=-30            -> adjusted storage=-30
        reserve K storage=1             -> refused content-mismatch
        commit K storage=1              -> refused reservation-settled
        adjust L storage=500            -> adjusted storage=500
        quota storage                   -> 500+0/100 peak 500
        """
    )
    await stage.do("reserve A slots=1")
    assert await stage.do("adjust A storage=1") == "refused content-mismatch (open)"
