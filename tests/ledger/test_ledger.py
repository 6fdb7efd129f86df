"""The verbs of the ledger, told as stories, on every store."""

from dataclasses import replace

import pytest

from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan, RateLimit
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.outcomes import Granted, Line, RateLimited
from tests.ledger.stage import Stage


async def test_used_and_reserved_together_stay_within_the_limit(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        reserve B storage=60    -> denied 60 of 0+60/100
        reserve C storage=40    -> granted 0+100/100
        commit A storage=45     -> committed 45+40/100
        reserve D storage=16    -> denied 16 of 45+40/100
        reserve D storage=15    -> granted 45+55/100
        release C               -> released
        quota storage           -> 45+15/100 peak 45
        """
    )


async def test_a_reservation_of_nothing_is_granted_at_the_limit_and_not_over_it(
    stage: Stage,
) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=100   -> granted 0+100/100
        reserve B storage=0     -> granted 0+100/100
        commit A storage=101    -> committed 101+0/100 over storage=1
        reserve C storage=0     -> denied 0 of 101+0/100
        """
    )


async def test_all_lines_are_granted_together_or_none_is(stage: Stage) -> None:
    await stage.open(storage=100, slots=1)
    await stage.tell(
        """
        reserve A storage=10 slots=1    -> granted 0+10/100, 0+1/1
        reserve B storage=10 slots=1    -> denied 1 of 0+1/1
        quota storage                   -> 0+10/100 peak 0
        reserve C storage=90            -> granted 0+100/100
        release A                       -> released
        quota slots                     -> 0+0/1
        """
    )


async def test_all_scopes_are_granted_together_and_the_first_that_binds_is_named(
    stage: Stage,
) -> None:
    plan = Plan(
        "test",
        limits={"storage": 100},
        key_limits={"storage": 60},
        subject_limits={"creator": {"storage": 40}},
    )
    mine = replace(stage.terms, plan=plan, key_id="key1", subject=("creator", "ann"))
    other_key = replace(mine, key_id="key2", key_limits={"storage": 90})
    bob = replace(mine, subject=("creator", "b o/b"))
    stage.terms = mine
    await stage.ledger.open_books("acme")
    await stage.tell("reserve A storage=41 -> denied 41 of s:creator:ann 0+0/40")
    await stage.tell("reserve A storage=61 -> denied 61 of k:key1 0+0/60")
    await stage.tell("reserve A storage=40 -> granted 0+40/100, 0+40/60, 0+40/40")
    stage.terms = bob
    await stage.tell("reserve B storage=21 -> denied 21 of k:key1 0+40/60")
    await stage.tell("reserve B storage=20 -> granted 0+60/100, 0+60/60, 0+20/40")
    stage.terms = replace(other_key, subject=None)
    await stage.tell("reserve C storage=41 -> denied 41 of 0+60/100")
    await stage.tell("reserve C storage=40 -> granted 0+100/100, 0+40/90")
    stage.terms = bob
    await stage.tell("commit B storage=15 -> committed 15+80/100, 15+40/60, 15+0/40")
    await stage.tell("quota storage s:creator:b%20o%2Fb -> 15+0/40 peak 15")


async def test_a_line_gets_what_there_is_between_its_least_and_its_most(stage: Stage) -> None:
    await stage.open(storage=100, egress=10)
    await stage.tell(
        """
        reserve A storage=10..70            -> granted storage=70 0+70/100
        reserve B storage=10..70            -> granted storage=30 0+100/100
        reserve C storage=0..70             -> granted storage=0 0+100/100
        reserve D storage=1..70             -> denied 1 of 0+100/100
        release A                           -> released
        reserve E storage=1..9 egress=5..50 -> granted storage=9 egress=10 0+39/100, 0+10/10
        """
    )


async def test_growing_gives_new_totals_and_a_denial_of_it_changes_nothing(stage: Stage) -> None:
    await stage.open(storage=100, egress=50)
    await stage.tell(
        """
        reserve A storage=10                -> granted 0+10/100
        grow A storage=30                   -> granted 0+30/100
        grow A storage=30                   -> granted 0+30/100
        grow A storage=20                   -> granted 0+30/100
        reserve B storage=50                -> granted 0+80/100
        grow A storage=51                   -> denied 51 of 0+80/100
        grow A storage=31 egress=51         -> denied 51 of 0+0/50
        quota storage                       -> 0+80/100 peak 0
        grow A storage=31..99 egress=7      -> granted storage=50 0+100/100, 0+7/50
        grow A storage=30..99               -> granted storage=50 0+100/100
        commit A storage=48 egress=48       -> committed 48+50/100, 48+0/50
        grow A storage=60                   -> refused reservation-settled (committed)
        grow Z storage=60                   -> refused unknown-reservation
        """
    )


async def test_a_reservation_keeps_what_it_holds_when_the_limit_sinks_below(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        limit storage=50
        grow A storage=60       -> granted 0+60/50
        grow A storage=0..90    -> granted storage=60 0+60/50
        grow A storage=61       -> denied 61 of 0+60/50
        """
    )


async def test_repeats_replay_the_first_answer_and_other_content_is_refused(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        reserve A storage=60    -> granted 0+60/100 again
        reserve A storage=61    -> refused content-mismatch (open)
        commit A storage=45     -> committed 45+0/100
        commit A storage=45     -> committed 45+0/100 again
        commit A storage=46     -> refused content-mismatch (committed)
        commit A storage=45 as x -> refused content-mismatch (committed)
        release A               -> refused reservation-settled (committed)
        reserve A storage=60    -> granted 45+0/100 (committed) again
        reserve B storage=10    -> granted 45+10/100
        release B               -> released
        release B               -> released again
        commit B storage=10     -> refused reservation-settled (released)
        reserve B storage=10    -> granted 45+0/100 (released) again
        commit Z storage=10     -> refused unknown-reservation
        release Z               -> refused unknown-reservation
        """
    )


async def test_a_replay_tells_the_overage_of_the_first_answer(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        commit A storage=130    -> committed 130+0/100 over storage=30
        adjust J storage=-100   -> adjusted storage=-100
        commit A storage=130    -> committed 30+0/100 over storage=30 again
        """
    )


async def test_a_remembered_denial_stays_one(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60                        -> granted 0+60/100
        reserve B storage=60 keep 24h remembered    -> denied 60 of 0+60/100
        reserve C storage=60                        -> denied 60 of 0+60/100
        release A                                   -> released
        reserve B storage=60 keep 24h remembered    -> denied 60 of 0+60/100 again
        reserve B storage=61 keep 24h remembered    -> refused content-mismatch (denied)
        commit B storage=60                         -> refused reservation-settled (denied)
        release B                                   -> refused reservation-settled (denied)
        reserve C storage=60                        -> granted 0+60/100
        release C                                   -> released
        tick 24h
        expire                                      -> expired 0
        reserve B storage=60 keep 24h remembered    -> granted 0+60/100
        """
    )


async def test_a_commit_charges_meters_that_were_not_reserved_and_frees_those_not_named(
    stage: Stage,
) -> None:
    await stage.open(storage=100, egress=50, slots=2)
    await stage.tell(
        """
        reserve A storage=60 slots=1    -> granted 0+60/100, 0+1/2
        commit A egress=7 slots=1       -> committed 7+0/50
        quota storage                   -> 0+0/100 peak 0
        quota slots                     -> 0+0/2
        """
    )


async def test_concurrency_is_only_ever_reserved(stage: Stage) -> None:
    await stage.open(slots=2)
    await stage.tell(
        """
        reserve A slots=1   -> granted 0+1/2
        reserve B slots=1   -> granted 0+2/2
        reserve C slots=1   -> denied 1 of 0+2/2
        commit A            -> committed
        reserve C slots=1   -> granted 0+2/2
        adjust J slots=1    -> refused invalid-amount
        """
    )


async def test_limits_may_change_under_load(stage: Stage) -> None:
    """failure row 51, failure row 52: what is stored stays, new admissions obey the limit in force,
    and deletes lower the usage again."""
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=80    -> granted 0+80/100
        commit A storage=80 as x -> committed 80+0/100
        limit storage=50
        quota storage           -> 80+0/50 peak 80
        reserve B storage=1     -> denied 1 of 80+0/50
        remove x                -> adjusted storage=-80
        reserve B storage=50    -> granted 0+50/50
        limit storage=200
        reserve C storage=150   -> granted 0+200/200
        """
    )
    stage.terms = replace(stage.terms, limits={"storage": None})
    await stage.tell("reserve D storage=1000000 -> granted 0+1000200/∞")
    stage.terms = replace(stage.terms, limits={"storage": 10})
    await stage.tell("reserve E storage=1 -> denied 1 of 0+1000200/10")


async def test_remaining_is_never_negative(stage: Stage) -> None:
    """failure row 51"""
    await stage.open(storage=100)
    await stage.do("reserve A storage=80")
    await stage.do("limit storage=50")
    quota = (await stage.ledger.snapshot(stage.terms)).quotas[0]
    assert (quota.remaining, quota.overage, quota.effective) == (0, 0, 80)
    await stage.do("commit A storage=80")
    quota = (await stage.ledger.snapshot(stage.terms)).quotas[0]
    assert (quota.remaining, quota.overage) == (0, 30)


async def test_a_rate_is_counted_first_and_for_each_api_key(stage: Stage) -> None:
    stage.rate = RateLimit(2, 1)
    await stage.open(storage=100)
    stage.terms = replace(stage.terms, key_id="key1")
    await stage.tell(
        """
        reserve A storage=10    -> granted 0+10/100
        reserve B storage=200   -> denied 200 of 0+10/100
        reserve C storage=10    -> limited for 500ms
        quota storage           -> 0+10/100 peak 0
        reserve A storage=10    -> granted 0+10/100 again
        tick 499ms
        reserve C storage=10    -> limited for 1ms
        tick 1ms
        reserve C storage=10    -> granted 0+20/100
        reserve D storage=10    -> limited for 500ms
        """
    )
    stage.terms = replace(stage.terms, key_id="key2")
    await stage.tell("reserve D storage=10 -> granted 0+30/100")


async def test_a_reserve_without_lines_counts_the_rate_alone(stage: Stage) -> None:
    await stage.open(storage=100)
    rate = RateLimit(3, 60)

    async def ask() -> Granted | RateLimited:
        outcome = await stage.ledger.reserve(stage.terms, "ping", [], lease_ms=1_000, rate=rate)
        assert isinstance(outcome, Granted | RateLimited)
        return outcome

    states = [(await ask()).rate for _ in range(4)]
    assert [(s.remaining, s.reset_after_ms, s.retry_after_ms) for s in states if s] == [
        (2, 20_000, 0),
        (1, 40_000, 0),
        (0, 60_000, 20_000),
        (0, 60_000, 20_000),
    ]
    assert isinstance(await ask(), RateLimited)
    outcome = await stage.ledger.reserve(stage.terms, "x", [], lease_ms=1_000)
    assert outcome == Granted("x", {}, ())
    assert await stage.do("holders") == ""


async def test_an_account_without_books_is_a_loss_and_not_an_empty_account(stage: Stage) -> None:
    line = Line.exact("storage", 1)
    with pytest.raises(StoreError) as caught:
        await stage.ledger.reserve(stage.terms, "A", [line], lease_ms=1_000)
    assert (caught.value.error, caught.value.transient) == (STORE_LOST, False)
    for words in (
        "reserve_many A storage=1",
        "split A into B storage=1",
        "grow A storage=1",
        "commit A storage=1",
        "release A",
        "extend A 1s",
        "expire",
        "adjust J storage=1",
        "remove x",
        "quota storage",
        "holders",
    ):
        assert await stage.do(words) == "lost"
    await stage.ledger.open_books("acme")
    await stage.ledger.open_books("acme")
    assert await stage.do("reserve A storage=1") == "granted 0+1/∞"


async def test_holders_come_with_what_they_hold_and_their_note(stage: Stage) -> None:
    await stage.open(storage=100)
    line = Line.exact("storage", 60)
    await stage.ledger.reserve(stage.terms, "A", [line], lease_ms=60_000, note="PUT /ä b-;=,")
    await stage.do("reserve B storage=1 lease 10s")
    soon, later = await stage.ledger.holders("acme")
    assert (soon.id, soon.note, soon.lease_end_ms) == ("B", "", stage.store_ms + 10_000)
    assert (later.id, later.note) == ("A", "PUT /ä b-;=,")
    assert (later.opened_ms, later.lines) == (stage.store_ms, {"a/storage": 60})
    assert [held.id for held in await stage.ledger.holders("acme", 1)] == ["B"]


async def test_a_snapshot_shows_all_counters_at_one_instant(stage: Stage) -> None:
    stage.plan(Plan("test", periods={"egress": PeriodRule(PeriodKind.HOUR)}))
    await stage.open(storage=100, egress=7)
    await stage.do("reserve A storage=60 egress=5")
    snapshot = await stage.ledger.snapshot(stage.terms)
    assert [str(quota) for quota in snapshot.quotas] == [
        "storage 0+60/100",
        "files 0+0/∞",
        "egress 0+5/7",
        "requests 0+0/∞",
        "slots 0+0/∞",
    ]
    assert (snapshot.account, snapshot.at_ms, snapshot.open_count) == ("acme", stage.store_ms, 1)
    assert snapshot.next_lease_end_ms == stage.store_ms + 30_000
    assert snapshot.quotas[2].resets_at_ms == stage.store_ms + 3_600_000
    assert snapshot.quotas[0].resets_at_ms is None
    await stage.do("tick 30s")
    snapshot = await stage.ledger.snapshot(stage.terms)
    assert (snapshot.quotas[0].reserved, snapshot.open_count) == (0, 0)
    assert snapshot.next_lease_end_ms is None


async def test_extending_nothing_asks_nothing(stage: Stage) -> None:
    await stage.open()
    assert await stage.ledger.extend("acme", [], 1_000) == ()
