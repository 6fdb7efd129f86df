"""The store's clock as it is known here; and Turns: workers of one machine divide the rounds of a
duty among them without a word."""

from itertools import pairwise

import pytest

from gateway import clock
from gateway.clock import ALONE, StoreClock, Turns

HOUR_NS = 3_600_000_000_000


def test_the_store_s_time_does_not_step_with_this_machine_s_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """failure row 47"""
    store = StoreClock()
    before_ms, wall_ns = store.now_ms(), clock.wall_ms() * 1_000_000
    for step_ns in (HOUR_NS, -HOUR_NS):
        stepped_ns = wall_ns + step_ns
        monkeypatch.setattr("time.time_ns", lambda stepped_ns=stepped_ns: stepped_ns)
        assert 0 <= store.now_ms() - before_ms < 10_000
    store.learn(5_000)
    assert 5_000 <= store.now_ms() < 15_000


def test_one_alone_has_every_round() -> None:
    assert ALONE.wait_s(2.0) == 2.0


@pytest.mark.parametrize("count", [2, 3, 32])
def test_together_they_have_as_many_rounds_as_one(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Each wakes once a cycle, at an instant of its own, evenly between the others."""
    round_s, started_s = 2.0, 1_000.3
    monkeypatch.setattr(clock, "monotonic_s", lambda: started_s)
    wakes = sorted(started_s + Turns(index, count).wait_s(round_s) for index in range(count))
    assert 0 < wakes[0] - started_s <= round_s + 1e-6
    gaps = [after - before for before, after in pairwise(wakes)]
    assert gaps == pytest.approx([round_s] * (count - 1))


def test_after_a_round_the_next_is_a_cycle_away(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(1, 3)
    now_s = [50.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])
    now_s[0] += turns.wait_s(2.0)
    assert turns.wait_s(2.0) == pytest.approx(6.0)
