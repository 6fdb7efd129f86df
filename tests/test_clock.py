"""Turns: workers of one machine divide the rounds of a duty among them without a word."""

from itertools import pairwise

import pytest

from gateway import clock
from gateway.clock import ALONE, Turns


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
