"""The verbs of the ledger, told as stories, on every store."""

from dataclasses import replace

import pytest

from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan, RateLimit
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.outcomes import Granted, Line, RateLimited
from tests.ledger.stage import Stage, ms_of


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


async def test_a_lease_that_ends_gives_its_room_back_without_any_reaper(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        tick 29s
        reserve B storage=60    -> denied 60 of 0+60/100
        tick 1s
        reserve B storage=60    -> granted 0+60/100
        release A               -> expired
        grow A storage=61       -> refused reservation-settled (expired)
        """
    )


async def test_growing_ends_due_leases_too(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        tick 20s
        reserve B storage=40    -> granted 0+100/100
        tick 10s
        grow B storage=100      -> granted 0+100/100
        """
    )


async def test_a_denial_is_given_only_when_no_due_lease_is_left(stage: Stage) -> None:
    await stage.open(storage=1_200)
    for number in range(1_200):
        await stage.do(f"reserve {number} storage=1 lease 1s")
    await stage.tell(
        """
        reserve A storage=1     -> denied 1 of 0+1200/1200
        tick 1s
        reserve A storage=1200  -> granted 0+1200/1200
        """
    )


async def test_from_its_lease_end_on_a_reservation_counts_as_expired_whoever_looks(
    stage: Stage,
) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=10    -> granted 0+10/100
        reserve B storage=10    -> granted 0+20/100
        reserve C storage=10    -> granted 0+30/100
        tick 30s
        reserve A storage=10    -> granted 0+30/100 (expired) again
        grow A storage=20       -> refused reservation-settled (expired)
        extend A 10s            -> gone A
        release A               -> expired
        commit B storage=10     -> committed late 10+10/100
        holders                 ->
        expire                  -> expired 1
        """
    )


async def test_a_late_commit_charges_once_and_is_flagged(stage: Stage) -> None:
    """failure row 54: the bytes exist, so they count, even over the limit."""
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        tick 31s
        expire                  -> expired 1
        reserve B storage=100   -> granted 0+100/100
        commit A storage=60     -> committed late 60+100/100
        commit A storage=60     -> committed late 60+100/100 again
        commit B storage=100    -> committed 160+0/100 over storage=60
        tick 2m
        expire                  -> expired 0
        commit A storage=60     -> refused unknown-reservation
        quota storage           -> 160+0/100 peak 160
        """
    )


async def test_a_lease_is_extended_from_now_on(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        tick 29s
        extend A Z 30s          -> gone Z
        tick 29s
        expire                  -> expired 0
        tick 1s
        expire                  -> expired 1
        extend A 30s            -> gone A
        """
    )


async def test_expiring_goes_in_batches_and_tells_of_more(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=1
        reserve B storage=1
        reserve C storage=1
        tick 30s
        reserve D storage=1     -> granted 0+1/100
        expire 2                -> expired 0
        """
    )
    for name in ("E", "F", "G"):
        await stage.do(f"reserve {name} storage=1")
    await stage.tell(
        """
        tick 30s
        expire 2                -> expired 2 more
        expire 2                -> expired 2
        quota storage           -> 0+0/100 peak 0
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


async def test_records_are_forgotten_after_their_time(stage: Stage) -> None:
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60            -> granted 0+60/100
        reserve B storage=10 keep 24h   -> granted 0+70/100
        reserve C storage=10            -> granted 0+80/100
        release A                       -> released
        release B                       -> released
        tick 2m
        reserve D storage=1             -> granted 0+1/100
        reserve A storage=60            -> granted 0+61/100
        reserve B storage=10            -> granted 0+61/100 (released) again
        reserve C storage=10            -> granted 0+61/100 (expired) again
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


async def test_a_cumulative_meter_starts_anew_in_each_period_and_reserved_does_not(
    stage: Stage,
) -> None:
    """failure row 46: a commit lands in the period in which it happens."""
    rules = {"egress": PeriodRule(PeriodKind.MONTH), "storage": PeriodRule(PeriodKind.MONTH)}
    stage.plan(Plan("test", periods=rules))
    await stage.open(egress=100)
    await stage.tell(
        """
        at 2026-01-31T23:59:00Z
        reserve A egress=60 lease 1h    -> granted 0+60/100
        reserve B egress=40 lease 1h    -> granted 0+100/100
        commit A egress=60              -> committed 60+40/100
        at 2026-02-01T00:00:00Z
        quota egress                    -> 0+40/100
        reserve C egress=60 lease 1h    -> granted 0+100/100
        commit B egress=40              -> committed 40+60/100
        commit C egress=10              -> committed 50+0/100
        quota egress                    -> 50+0/100
        """
    )


async def test_a_peak_belongs_to_its_period_and_starts_at_the_level_held(stage: Stage) -> None:
    stage.plan(Plan("test", periods={"storage": PeriodRule(PeriodKind.DAY, "Europe/Berlin")}))
    await stage.open(storage=100)
    await stage.tell(
        """
        adjust J1 storage=70    -> adjusted storage=70
        adjust J2 storage=-30   -> adjusted storage=-30
        quota storage           -> 40+0/100 peak 70
        at 2026-01-01T22:59:59Z
        quota storage           -> 40+0/100 peak 70
        at 2026-01-01T23:00:00Z
        quota storage           -> 40+0/100 peak 40
        adjust J3 storage=-10   -> adjusted storage=-10
        quota storage           -> 30+0/100 peak 40
        adjust J4 storage=20    -> adjusted storage=20
        quota storage           -> 50+0/100 peak 50
        """
    )


@pytest.mark.parametrize(
    ("rule", "anchor", "before", "after"),
    [
        (PeriodRule(PeriodKind.HOUR), "2026-01-01T00:00:00Z", "12:59:59.999", "13:00:00"),
        (PeriodRule(PeriodKind.DAY), "2026-01-01T00:00:00Z", "23:59:59.999", "23:59:60"),
        (PeriodRule(PeriodKind.ANCHOR), "2025-12-01T18:30:00Z", "18:29:59.999", "18:30:00"),
    ],
    ids=["hour", "day", "anchor"],
)
async def test_the_store_s_clock_decides_the_period(
    stage: Stage, rule: PeriodRule, anchor: str, before: str, after: str
) -> None:
    """failure row 47: the gateway's own clock has no say, only what time the script is told."""
    start = ms_of("2026-01-01T00:00:00Z")

    def instant(text: str) -> int:
        hours, minutes, seconds = text.split(":")
        return start + round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)

    stage.terms = replace(stage.terms, anchor_ms=ms_of(anchor))
    stage.plan(Plan("test", periods={"egress": rule}))
    await stage.open(egress=10)
    stage.store_ms = instant(before)
    await stage.tell("reserve A egress=10 -> granted 0+10/10")
    await stage.tell("commit A egress=10 -> committed 10+0/10")
    await stage.tell("reserve B egress=1 -> denied 1 of 10+0/10")
    stage.store_ms = instant(after)
    await stage.tell("reserve B egress=1 -> granted 0+1/10")


async def test_a_clock_that_steps_back_neither_revives_leases_nor_returns_to_a_period(
    stage: Stage,
) -> None:
    """failure row 48: the books go by the latest time that they have seen."""
    stage.plan(Plan("test", periods={"egress": PeriodRule(PeriodKind.DAY)}))
    await stage.open(storage=100, egress=10)
    await stage.tell(
        """
        at 2026-01-02T00:30:00Z
        reserve A storage=60 lease 10m      -> granted 0+60/100
        reserve B egress=10                 -> granted 0+10/10
        commit B egress=10                  -> committed 10+0/10
        at 2026-01-01T23:30:00Z
        quota egress                        -> 10+0/10
        reserve C storage=40 lease 10m      -> granted 0+100/100
        reserve D storage=1                 -> denied 1 of 0+100/100
        extend C 20m                        -> extended
        at 2026-01-02T00:40:00Z
        reserve D storage=60                -> granted 0+100/100
        at 2026-01-02T00:50:00Z
        reserve E storage=41                -> granted 0+41/100
        """
    )


async def test_a_clock_that_jumps_ahead_ends_leases_that_are_charged_late_all_the_same(
    stage: Stage,
) -> None:
    """failure row 48"""
    await stage.open(storage=100)
    await stage.tell(
        """
        reserve A storage=60    -> granted 0+60/100
        tick 1h
        expire                  -> expired 1
        tick -1h
        reserve B storage=60    -> granted 0+60/100
        commit A storage=60     -> committed late 60+60/100
        commit B storage=60     -> committed 120+0/100 over storage=20
        """
    )


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
