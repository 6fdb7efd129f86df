"""Assets and adjustments, told as stories, on every store."""

from dataclasses import replace

from gateway.catalog.plans import Plan
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
