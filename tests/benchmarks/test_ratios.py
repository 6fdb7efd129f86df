"""Ratios: medians of what each round says."""

import pytest

from tests.benchmarks.made import SMALL, run
from tests.benchmarks.measure import BY_NAME
from tests.benchmarks.ratios import middle, ratio, spread, turns

CPU, RPS, REDIS = (BY_NAME[name] for name in ("cpu_us", "rps", "redis_us"))


def test_a_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians() -> None:
    found = ratio(CPU, SMALL.runs["gateway"], SMALL.runs["nginx+lua"])
    assert found == pytest.approx(2.0)  # of 2, 1 and 3
    assert middle(CPU, SMALL.runs["nginx+lua"]) / middle(CPU, SMALL.runs["gateway"]) == 2.0


def test_more_is_better_where_much_is_wanted() -> None:
    fast, slow = [run(requests=2_000)], [run(requests=1_000)]
    assert ratio(RPS, fast, slow) == 2.0
    assert ratio(CPU, fast, slow) == 2.0


def test_what_is_not_used_is_not_compared() -> None:
    assert ratio(REDIS, [run(redis_cpu_s=0)], [run()]) is None
    assert ratio(REDIS, [run()], [run(redis_cpu_s=0)]) is None
    assert ratio(REDIS, [], []) is None


def test_rounds_that_are_not_pairs_are_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio(CPU, [run()], [run(), run()])


def test_a_run_is_disturbed_when_others_had_most_of_its_core() -> None:
    assert not run(cpu_s=0.5, core_busy_s=1.0, took_s=1.0).disturbed
    assert run(cpu_s=0.3, core_busy_s=1.0, took_s=1.0).disturbed


def test_a_spread_is_from_the_least_to_the_most() -> None:
    assert spread(CPU, SMALL.runs["nginx+lua"]) == pytest.approx((100.0, 300.0))


def test_each_other_round_goes_the_other_way() -> None:
    assert turns(["a", "b"], 3) == [["a", "b"], ["b", "a"], ["a", "b"]]
