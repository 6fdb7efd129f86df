"""Joining: what the workers of a gateway have counted, as one.

Counters and histograms are summed; what a level is together says its name (`Joined`), and for those
of the process it is the sum, too, but for when it began. Counts of a worker that has ended are kept
in the sum, so that none ever goes back.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.telemetry.instruments import Joined, Name

Exposition = tuple[bytes, str]
"""What a scrape is answered with: body and content type."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """One family of series: (name of the sample, labels) → value."""

    name: str
    help: str
    kind: str
    samples: Mapping[tuple[str, Labels], float]


Tally = tuple[Counted, ...]
"""Everything a process has counted, at one instant."""

EARLIEST = "process_start_time_seconds"


def tally(registry: CollectorRegistry) -> Tally:
    return tuple(
        Counted(
            metric.name,
            metric.documentation,
            metric.type,
            {
                (sample.name, tuple(sample.labels.items())): sample.value
                for sample in metric.samples
            },
        )
        for metric in registry.collect()
    )


def lasting(counted: Tally) -> Tally:
    """What remains true when the process has ended: all but levels."""
    return tuple(one for one in counted if one.kind != "gauge")


def joined(tallies: Iterable[Tally], names: Iterable[Name], prefix: str) -> Tally:
    """All of them as one. `names` say what levels are together."""
    rules = {prefix + name.name: name.joined for name in names} | {EARLIEST: Joined.LEAST}
    families: dict[str, Counted] = {}
    sums: dict[str, dict[tuple[str, Labels], float]] = {}
    for counted in (one for each in tallies for one in each):
        families.setdefault(counted.name, counted)
        into = sums.setdefault(counted.name, {})
        rule = rules.get(counted.name, Joined.SUM) if counted.kind == "gauge" else Joined.SUM
        for key, value in counted.samples.items():
            into[key] = _together(rule, into[key], value) if key in into else value
    return tuple(
        Counted(name, first.help, first.kind, sums[name]) for name, first in families.items()
    )


def _together(rule: Joined, one: float, other: float) -> float:
    match rule:
        case Joined.SUM:
            return one + other
        case Joined.LEAST:
            return min(one, other)
        case Joined.MOST:
            return max(one, other)


class Collecting(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _Said:
    def __init__(self, counted: Tally) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        for one in self._counted:
            metric = Metric(one.name, one.help, one.kind)
            for (name, labels), value in one.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def exposition(of: Collecting) -> Exposition:
    return generate_latest(of), CONTENT_TYPE_PLAIN_0_0_4


def exposition_of(counted: Tally) -> Exposition:
    return exposition(_Said(counted))
