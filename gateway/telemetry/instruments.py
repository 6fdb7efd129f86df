"""Instruments: counts, levels and spreads that cost the data path a few dozen nanoseconds.

They belong to one thread (the event loop's), so none takes a lock; a registry of prometheus_client
reads them when it is scraped, on that same thread.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Joined(StrEnum):
    """What the levels of several workers are together."""

    SUM = "sum"
    LEAST = "least"
    MOST = "most"


@dataclass(frozen=True, slots=True)
class Name:
    """One metric as it is documented. `buckets` (upper bounds, ascending) make it a histogram."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    joined: Joined = Joined.SUM

    @property
    def kind(self) -> str:
        if self.buckets:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


class Count:
    """Only goes up."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


class Level:
    """Goes up and down, or is read from its source when it is scraped."""

    __slots__ = ("_read", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self._read: Callable[[], float] | None = None

    def add(self, amount: float = 1) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value

    def read_from(self, source: Callable[[], float]) -> None:
        """From now on `source` is asked at each scrape instead."""
        self._read = source

    def now(self) -> float:
        return self.value if self._read is None else self._read()


class Spread:
    """How many observations fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, value: float, times: int) -> None:
        """The same value so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


T = TypeVar("T", Count, Level, Spread)


class Family(Collector, Generic[T]):
    """All series of one name. `of` gives the series of some label values, made when first asked.

    Whoever calls `of` vouches that the values come from a closed set.
    """

    def __init__(self, name: Name, make: Callable[[], T], registry: CollectorRegistry) -> None:
        self._name = name
        self._make: Callable[[], T] = make
        self._series: dict[tuple[str, ...], T] = {}
        registry.register(self)

    def of(self, *values: str) -> T:
        series = self._series.get(values)
        if series is None:
            assert len(values) == len(self._name.labels), (self._name.name, values)
            series = self._series[values] = self._make()
        return series

    def collect(self) -> Iterable[Metric]:
        name, labels = self._name, self._name.labels
        counter = CounterMetricFamily(name.name, name.help, labels=labels)
        gauge = GaugeMetricFamily(name.name, name.help, labels=labels)
        histogram = HistogramMetricFamily(name.name, name.help, labels=labels)
        for values, series in self._series.items():
            match series:
                case Count():
                    counter.add_metric(values, series.value)
                case Level():
                    gauge.add_metric(values, series.now())
                case Spread():
                    histogram.add_metric(values, _cumulated(series), series.total)
        kinds = {"counter": counter, "gauge": gauge, "histogram": histogram}
        yield kinds[name.kind]


def _cumulated(spread: Spread) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(spread.counts), strict=True))
