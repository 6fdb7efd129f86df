"""Many reservations at once, of new room or of what one holds, told as stories, on every store."""

from dataclasses import replace

import pytest

from gateway.catalog.plans import Plan, RateLimit
from gateway.errors import CONTENT_MISMATCH, INVALID_AMOUNT, UNKNOWN_METER, Error
from gateway.ledger.outcomes import Batch, Line, Refused, Split
from tests.ledger.lossy import Lossy
from tests.ledger.stage import Stage, everything


async def test_a_batch_is_reserved_whole_or_not_at_all(stage: Stage) -> None:
    """A denial names the counter that binds and what the batch asks of it in all."""
    await stage.open(storage=100, files=2)
    await stage.tell(
        """
        reserve Z storage=10                                -> granted 0+10/100
        reserve_many A storage=50 | B storage=30 | C storage=20 -> denied 100 of 0+10/100 left A B C
        quota storage                                       -> 0+10/100 peak 0
        reserve_many A storage=1 files=1 | B files=1 | C files=1 -> denied 3 of 0+0/2 left A B C
        holders                                             -> Z
        reserve_many A storage=50 | B storage=30 files=1    -> granted A B 0+90/100, 0+1/2
        commit A storage=45 as x                            -> committed 45+40/100
        grow B storage=40                                   -> granted 45+50/100
        release B                                           -> released
        quota storage                                       -> 45+10/100 peak 45
        """
    )


async def test_of_a_partial_batch_all_that_fits_is_reserved_in_order(stage: Stage) -> None:
    """What is left is told apart; a smaller item behind it may still fit."""
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve_many partial A storage=50 | B storage=60 | C storage=40 | D storage=20 -> \
granted A C 0+90/100 denied 60 of 0+50/100 left B D
        holders                                         -> A C
        reserve_many partial E storage=11 | F storage=12 -> denied 11 of 0+90/100 left E F
        reserve_many partial G storage=4 | H storage=6  -> granted G H 0+100/100
        """
    )


async def test_a_repeated_batch_is_answered_as_the_first_time(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve_many A storage=50 | B storage=30    -> granted A B 0+80/100
        reserve_many A storage=50 | B storage=30    -> granted A B 0+80/100 again
        reserve_many A storage=50 | B storage=31    -> refused content-mismatch (open)
        reserve_many B storage=30 | A storage=50    -> refused content-mismatch (open)
        reserve_many A storage=50                   -> refused content-mismatch (open)
        reserve_many N storage=1 | B storage=30     -> refused content-mismatch (open)
        reserve A storage=50                        -> refused content-mismatch (open)
        commit A storage=45                         -> committed 45+30/100
        reserve_many A storage=50 | B storage=30    -> granted A(committed) B 45+30/100 again
        tick 31s
        reserve_many A storage=50 | B storage=30 -> granted A(committed) B(expired) 45+30/100 again
        reserve C storage=55                        -> granted 45+55/100
        """
    )


async def test_a_repeated_partial_batch_asks_again_for_what_was_left(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve_many partial A storage=60 | B storage=60 -> \
granted A 0+60/100 denied 60 of 0+60/100 left B
        reserve_many partial A storage=60 | B storage=60 -> \
granted A 0+60/100 denied 60 of 0+60/100 left B again
        release A                                        -> released
        reserve_many partial A storage=60 | B storage=60 -> granted A(released) B 0+60/100 again
        """
    )


async def test_each_of_a_batch_has_a_lease_of_its_own(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve_many A storage=50 | B storage=50 lease 10s -> granted A B 0+100/100
        extend A 1m                                 -> extended
        tick 10s
        reserve_many C storage=30 | D storage=30    -> denied 60 of 0+50/100 left C D
        reserve_many C storage=30 | D storage=20    -> granted C D 0+100/100
        commit B storage=50                         -> committed late 50+100/100
        extend A B C 1m                             -> gone B
        """
    )


async def test_a_batch_counts_as_one_request_and_its_repeat_as_none(stage: Stage) -> None:
    stage.rate = RateLimit(2, 1)
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve_many A storage=10 | B storage=10    -> granted A B 0+20/100
        reserve_many A storage=10 | B storage=10    -> granted A B 0+20/100 again
        reserve_many C storage=80 | D storage=10    -> denied 90 of 0+20/100 left C D
        reserve_many E storage=10                   -> limited for 500ms
        quota storage                               -> 0+20/100 peak 0
        """
    )


async def test_all_scopes_of_a_batch_are_granted_together(stage: Stage) -> None:
    plan = Plan(
        "test", limits={"storage": 100}, key_limits={"storage": 60},
        subject_limits={"creator": {"storage": 40}},
    )  # fmt: skip
    stage.terms = replace(stage.terms, plan=plan, key_id="key1", subject=("creator", "ann"))
    await stage.ledger.open_books("acme")
    await stage.tell(
        """
        reserve_many A storage=20 | B storage=21 -> denied 41 of s:creator:ann 0+0/40 left A B
        reserve_many A storage=20 | B storage=20 -> granted A B 0+40/100, 0+40/60, 0+40/40
        """
    )


async def test_a_thousand_are_reserved_at_once_after_many_leases_have_ended(stage: Stage) -> None:
    await stage.open(storage=1_000, files=1_000)
    lines = [Line.exact("storage", 1), Line.exact("files", 1)]
    first = [(f"a{number}", lines) for number in range(1_000)]
    batch = await stage.ledger.reserve_many(stage.terms, first, lease_ms=1_000)
    assert isinstance(batch, Batch)
    assert [each.id for each in batch.granted] == [name for name, _ in first]
    await stage.tell("quota storage -> 0+1000/1000 peak 0")
    await stage.tell("tick 1s")
    second = [(f"b{number}", lines) for number in range(1_000)]
    batch = await stage.ledger.reserve_many(stage.terms, second, lease_ms=1_000)
    assert isinstance(batch, Batch)
    assert (len(batch.granted), batch.left, batch.denied) == (1_000, (), None)
    again = await stage.ledger.reserve_many(stage.terms, second, lease_ms=1_000)
    assert isinstance(again, Batch)
    assert all(each.replayed for each in again.granted)


@pytest.mark.parametrize("what", ["request", "reply"])
async def test_a_batch_whose_reply_was_lost_is_asked_again(stage: Stage, what: str) -> None:
    """failure row 16"""
    lossy = Lossy(stage.store.settlement)
    await stage.open(storage=100)
    stage.ledger._scripts._admission = lossy
    lossy.lose = what
    again = " again" if what == "reply" else ""
    await stage.tell(f"reserve_many A storage=60 | B storage=40 -> granted A B 0+100/100{again}")
    assert lossy.lose == ""


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([], INVALID_AMOUNT),
        ([("A", [])], INVALID_AMOUNT),
        ([("A", [Line("storage", 1, 2)])], INVALID_AMOUNT),
        ([("A", [Line.exact("storage", -1)])], INVALID_AMOUNT),
        ([("A", [Line.exact("storage", 1)] * 2)], INVALID_AMOUNT),
        ([("A", [Line.exact("nonsense", 1)])], UNKNOWN_METER),
        ([("A", [Line.exact("storage", 1)])] * 2, CONTENT_MISMATCH),
        ([(f"a{n}", [Line.exact("storage", 1)]) for n in range(1_001)], INVALID_AMOUNT),
    ],
    ids=["none", "no lines", "a range", "negative", "twice", "unknown", "same id", "too many"],
)
async def test_what_is_no_batch_is_refused_and_changes_nothing(
    stage: Stage, items: list[tuple[str, list[Line]]], error: Error
) -> None:
    """failure row 62"""
    await stage.open(storage=100)
    before = await everything(stage.store)
    outcome = await stage.ledger.reserve_many(stage.terms, items, lease_ms=1_000)
    assert isinstance(outcome, Refused)
    assert outcome.error is error
    assert await everything(stage.store) == before


async def test_an_open_reservation_is_shared_out_and_no_counter_moves(stage: Stage) -> None:
    await stage.open(storage=100, files=9)
    await stage.tell(
        """
        reserve A storage=60 files=3                    -> granted 0+60/100, 0+3/9
        reserve Z storage=40                            -> granted 0+100/100
        split A into B storage=10 files=1 | C storage=20 -> split B C rest storage=30 files=2
        quota storage                                   -> 0+100/100 peak 0
        quota files                                     -> 0+3/9 peak 0
        commit B storage=12 files=1                     -> committed 12+90/100, 1+2/9
        release C                                       -> released
        quota storage                                   -> 12+70/100 peak 12
        split A into D storage=30 files=2               -> split D rest storage=0 files=0
        commit A files=1                                -> committed 2+2/9
        quota storage                                   -> 12+70/100 peak 12
        grow D storage=48                               -> granted 12+88/100
        release Z                                       -> released
        commit D storage=30                             -> committed 42+0/100
        """
    )


async def test_more_than_a_reservation_holds_cannot_be_shared_out(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60                        -> granted 0+60/100
        split A into B storage=40 | C storage=21    -> refused invalid-amount (open)
        split A into B storage=40 | C files=0       -> refused invalid-amount (open)
        holders                                     -> A
        split A into A storage=1                    -> refused content-mismatch
        split A into B                              -> refused invalid-amount
        split A into B nonsense=1                   -> refused unknown-meter
        split A into B storage=40 | C storage=20    -> split B C rest storage=0
        split A into D storage=0                    -> split D rest storage=0
        split A into E storage=1                    -> refused invalid-amount (open)
        quota storage                               -> 0+60/100 peak 0
        """
    )


async def test_a_repeated_split_is_answered_as_the_first_time(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60 lease 1h               -> granted 0+60/100
        reserve Z storage=1                         -> granted 0+61/100
        split A into B storage=10 | C storage=20    -> split B C rest storage=30
        split A into B storage=10 | C storage=20    -> split B C rest storage=30 again
        split A into B storage=10 | C storage=21    -> refused content-mismatch (open)
        split A into C storage=20                   -> refused content-mismatch (open)
        split A into D storage=1 | Z storage=1      -> refused content-mismatch (open)
        split Z into B storage=1                    -> refused content-mismatch (open)
        reserve A storage=60 lease 1h               -> granted 0+61/100 again
        commit B storage=10                         -> committed 10+51/100
        tick 30s
        split A into B storage=10 | C storage=20    -> \
split B(committed) C(expired) rest storage=30 again
        release A                                   -> released
        split A into B storage=10 | C storage=20    -> split B(committed) C(expired) again
        tick 2m
        split A into B storage=10 | C storage=20    -> split B(committed) C(expired) again
        expire                                      -> expired 2
        split A into B storage=10 | C storage=20    -> refused unknown-reservation
        """
    )


async def test_only_an_open_reservation_can_be_split(stage: Stage) -> None:
    """What expired holds nothing any more: its items are reserved anew, or it is committed late."""
    await stage.open(storage=100)
    await stage.tell(
        """
        split A into B storage=1                -> refused unknown-reservation
        reserve A storage=60 lease 10s          -> granted 0+60/100
        reserve Z storage=10                    -> granted 0+70/100
        release Z                               -> released
        split Z into B storage=1                -> refused reservation-settled (released)
        tick 10s
        split A into B storage=1                -> refused reservation-settled (expired)
        reserve_many B storage=10 | C storage=20 -> granted B C 0+30/100
        commit A storage=60                     -> committed late 60+30/100
        split A into D storage=1                -> refused reservation-settled (committed)
        """
    )


async def test_the_items_of_a_split_have_leases_of_their_own(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60 lease 10s              -> granted 0+60/100
        split A into B storage=10 lease 20s         -> split B rest storage=50
        tick 10s
        expire                                      -> expired 1
        quota storage                               -> 0+10/100 peak 0
        tick 10s
        expire                                      -> expired 1
        commit B storage=10                         -> committed late 10+0/100
        """
    )


async def test_a_split_shares_out_every_scope_that_was_charged(stage: Stage) -> None:
    plan = Plan("test", limits={"storage": 100}, key_limits={"storage": 60})
    stage.terms = replace(stage.terms, plan=plan, key_id="key1")
    await stage.ledger.open_books("acme")
    await stage.tell(
        """
        reserve A storage=40                        -> granted 0+40/100, 0+40/60
        split A into B storage=10 | C storage=20    -> split B C rest storage=10
        release B                                   -> released
        quota storage                               -> 0+30/100 peak 0, 0+30/60 peak 0
        """
    )


async def test_a_reservation_is_split_into_a_thousand(stage: Stage) -> None:
    await stage.open(storage=1_000)
    await stage.tell("reserve A storage=1000 -> granted 0+1000/1000")
    items = [(f"a{number}", {"storage": 1}) for number in range(1_000)]
    for replayed in (False, True):
        split = await stage.ledger.split(stage.terms, "A", items, lease_ms=1_000)
        assert isinstance(split, Split)
        assert [each.id for each in split.items] == [name for name, _ in items]
        assert (split.rest, split.replayed) == ({"storage": 0}, replayed)
    too_many = [*items, ("b", {"storage": 0})]
    assert isinstance(await stage.ledger.split(stage.terms, "A", too_many, lease_ms=1_000), Refused)


@pytest.mark.parametrize("what", ["request", "reply"])
async def test_a_split_whose_reply_was_lost_is_asked_again(stage: Stage, what: str) -> None:
    """failure row 16"""
    lossy = Lossy(stage.store.settlement, lose=what)
    await stage.open(storage=100)
    await stage.do("reserve A storage=60")
    stage.ledger._scripts._settlement = lossy
    again = " again" if what == "reply" else ""
    await stage.tell(f"split A into B storage=40 -> split B rest storage=20{again}")
    assert lossy.lose == ""
