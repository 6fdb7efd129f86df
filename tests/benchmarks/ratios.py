"""Ratios between peers: the median of what each round says, never of figures far apart in time.

A ratio here says how many times as good as the reference a peer is: reference / peer for what
should be little (time, memory), peer / reference for what should be much. Above 1 is better.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.benchmarks.measure import Metric, Run

Rounds = Mapping[str, Sequence[Run]]
"""Peer → its run in each round."""


def ratio(metric: Metric, peer: Sequence[Run], reference: Sequence[Run]) -> float | None:
    """None where there is nothing to compare: a metric that is zero for one of them."""
    values = []
    for mine, theirs in zip(peer, reference, strict=True):
        a, b = metric.of(mine), metric.of(theirs)
        if a <= 0 or b <= 0:
            return None
        values.append(b / a if metric.less_is_better else a / b)
    return median(values) if values else None


def middle(metric: Metric, runs: Sequence[Run]) -> float:
    return median(metric.of(run) for run in runs)


def spread(metric: Metric, runs: Sequence[Run]) -> tuple[float, float]:
    values = [metric.of(run) for run in runs]
    return min(values), max(values)


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """The order of each round; each other one is reversed, so that what drifts hits all alike."""
    forward = list(names)
    return [forward if number % 2 == 0 else forward[::-1] for number in range(rounds)]
