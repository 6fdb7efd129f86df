"""Frames: which counters a reservation touches, and until when that holds."""

from dataclasses import replace

import pytest

from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan
from gateway.ledger.frame import Terms, frame_at, subject_scope
from tests.ledger.stage import METERS, NOON_MS, ms_of

HOUR_MS = 3_600_000
PLAN = Plan(
    "test",
    limits={"storage": 100, "egress": 50},
    key_limits={"storage": 60},
    subject_limits={"creator": {"egress": 20}},
    periods={"egress": PeriodRule(PeriodKind.MONTH), "slots": PeriodRule(PeriodKind.HOUR)},
)
PLAIN = Terms("acme", METERS, PLAN)


def limits(terms: Terms, meter: str) -> dict[str, int | None]:
    return {counter.scope: counter.limit for counter in frame_at(terms, NOON_MS).counters[meter]}


def test_every_meter_is_counted_for_the_account() -> None:
    frame = frame_at(PLAIN, NOON_MS)
    assert list(frame.counters) == list(METERS)
    assert {name: [c.name for c in found] for name, found in frame.counters.items()} == {
        name: [f"a/{name}"] for name in METERS
    }
    assert limits(PLAIN, "storage") == {"a": 100}
    assert limits(PLAIN, "requests") == {"a": None}


def test_an_account_s_own_limits_go_before_those_of_its_plan() -> None:
    assert limits(replace(PLAIN, limits={"storage": 7}), "storage") == {"a": 7}
    assert limits(replace(PLAIN, limits={"storage": 0}), "storage") == {"a": 0}
    assert limits(replace(PLAIN, limits={"storage": None}), "storage") == {"a": None}


def test_an_api_key_is_counted_for_where_it_is_limited() -> None:
    terms = replace(PLAIN, key_id="k1", key_limits={"egress": 5})
    assert limits(terms, "storage") == {"a": 100, "k:k1": 60}
    assert limits(terms, "egress") == {"a": 50, "k:k1": 5}
    assert limits(terms, "requests") == {"a": None}
    assert limits(replace(terms, key_limits={"storage": 9}), "storage") == {"a": 100, "k:k1": 9}


def test_a_subject_is_always_counted_for_after_account_and_key() -> None:
    terms = replace(PLAIN, key_id="k1", subject=("creator", "ann"))
    assert list(limits(terms, "storage")) == ["a", "k:k1", "s:creator:ann"]
    assert limits(terms, "egress") == {"a": 50, "s:creator:ann": 20}
    assert limits(terms, "requests") == {"a": None, "s:creator:ann": None}


@pytest.mark.parametrize("identity", ["b o/b", "a=b,c;d", "ü%2F", "k:k1/storage", " ", "\n"])
def test_a_subject_s_id_cannot_pass_for_another_part_of_a_name(identity: str) -> None:
    scope = subject_scope(("creator", identity))
    assert not set(scope.removeprefix("s:creator:")) & set("/=,;: \n")
    assert subject_scope(("creator", identity + "x")) != scope


def test_a_frame_holds_for_its_hour_or_as_long_as_its_periods() -> None:
    frame = frame_at(PLAIN, NOON_MS + 1)
    assert (frame.from_ms, frame.until_ms) == (NOON_MS, NOON_MS + HOUR_MS)
    rules = {"egress": PeriodRule(PeriodKind.ANCHOR), "storage": PeriodRule(PeriodKind.DAY)}
    terms = replace(
        PLAIN, plan=replace(PLAN, periods=rules), anchor_ms=ms_of("2025-12-01T12:20:00Z")
    )
    turn_ms = ms_of("2026-02-01T12:20:00Z")
    before, after = frame_at(terms, turn_ms - 1), frame_at(terms, turn_ms)
    assert (before.from_ms, before.until_ms) == (turn_ms - 20 * 60_000, turn_ms)
    assert (after.from_ms, after.until_ms) == (turn_ms, turn_ms + 40 * 60_000)
    assert after.counters["egress"][0].period.start_ms == turn_ms
    assert before.counters["egress"][0].period.end_ms == turn_ms
    assert frame_at(terms, turn_ms + 40 * 60_000).until_ms == after.until_ms + HOUR_MS


def test_concurrency_has_no_period() -> None:
    counter = frame_at(PLAIN, NOON_MS).counters["slots"][0]
    assert (counter.period.start_ms, counter.period.end_ms) == (0, None)


def test_a_counter_without_a_limit_ends_where_amounts_do() -> None:
    counters = frame_at(replace(PLAIN, key_id="k1"), NOON_MS).counters
    assert [each.bound for each in counters["storage"]] == [100, 60]
    assert [each.bound for each in counters["requests"]] == [AMOUNT_END - 1]


def test_a_frame_in_the_words_of_the_scripts() -> None:
    frame = frame_at(replace(PLAIN, key_id="k1"), ms_of("2026-01-09T05:30:00Z"))
    words = frame.words
    january = ms_of("2026-01-01T00:00:00Z")
    assert words.stamp[:10] == b"2026010905"
    assert words.names["storage"] == (b"a/storage", b"k:k1/storage")
    assert words.floors["storage"] == (b"-0", b"-0")
    assert words.floors["egress"] == (b"%d" % january,)
    assert words.floors["requests"] == (b"0",)
    assert words.floors["slots"] == (b"-0",)
    assert words.periods == b"storage=-0,files=-0"
    assert len(words.everything) == 6
