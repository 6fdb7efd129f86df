"""Leases, periods and clocks, told as stories, on every store."""

from dataclasses import replace

import pytest

from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan
from tests.ledger.stage import Stage, ms_of


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


async def test_a_snapshot_is_taken_when_no_due_lease_is_left(stage: Stage) -> None:
    await stage.open(storage=100)
    for number in range(70):
        await stage.do(f"reserve {number} storage=1 lease 1s")
    await stage.tell("quota storage -> 0+70/100 peak 0")
    await stage.tell("tick 1s")
    await stage.tell("quota storage -> 0+0/100 peak 0")


async def test_many_leases_are_extended_and_expired_in_several_steps(stage: Stage) -> None:
    await stage.open()
    names = [f"r{number}" for number in range(2_300)]
    for name in names:
        await stage.do(f"reserve {name} storage=1")
    gone = await stage.ledger.extend("acme", [*names, "none"], 60_000)
    assert gone == ("none",)
    await stage.tell(
        """
        tick 59s
        expire 5000     -> expired 0
        tick 1s
        expire 5000     -> expired 100 more
        quota storage   -> 0+0/∞ peak 0
        """
    )
