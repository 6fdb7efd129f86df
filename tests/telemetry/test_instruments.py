"""Instruments count right and are exposed as Prometheus reads them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.telemetry.instruments import Count, Family, Level, Name, Spread, T


def family(name: Name, make: Callable[[], T]) -> tuple[Family[T], CollectorRegistry]:
    registry = CollectorRegistry()
    return Family(name, make, registry), registry


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (Name("things_total", "Things."), "counter"),
        (Name("things", "Things."), "gauge"),
        (Name("things_seconds", "Things.", buckets=(1.0,)), "histogram"),
    ],
)
def test_the_kind_follows_from_name_and_buckets(name: Name, kind: str) -> None:
    assert name.kind == kind


def test_a_count_goes_up() -> None:
    counts, registry = family(Name("things_total", "Things.", ("kind",)), Count)
    counts.of("a").add()
    counts.of("a").add(1 << 40)
    counts.of("b").value += 2
    assert registry.get_sample_value("things_total", {"kind": "a"}) == 1 + (1 << 40)
    assert registry.get_sample_value("things_total", {"kind": "b"}) == 2


def test_a_level_is_set_or_read_from_its_source() -> None:
    levels, registry = family(Name("things", "Things."), Level)
    level = levels.of()
    level.set(5)
    level.add(-2)
    level.add()
    assert registry.get_sample_value("things") == 4
    level.read_from(lambda: 7)
    assert registry.get_sample_value("things") == 7


def test_the_number_of_labels_is_our_own_affair() -> None:
    counts, _ = family(Name("things_total", "Things.", ("kind",)), Count)
    with pytest.raises(AssertionError):
        counts.of("a", "b")


@given(st.lists(st.floats(0, 5) | st.sampled_from([0.1, 0.5, 1.0])))
def test_a_spread_counts_as_prometheus_client_does(observed: list[float]) -> None:
    bounds = (0.1, 0.5, 1.0)
    spreads, registry = family(Name("lag_seconds", "Lag.", buckets=bounds), lambda: Spread(bounds))
    reference = CollectorRegistry()
    theirs = Histogram("lag_seconds", "Lag.", buckets=bounds, registry=reference)
    spread = spreads.of()
    for value in observed:
        spread.observe(value)
        theirs.observe(value)
    for sample in ("lag_seconds_count", "lag_seconds_sum"):
        assert registry.get_sample_value(sample) == reference.get_sample_value(sample)
    for bound in ("0.1", "0.5", "1.0", "+Inf"):
        labels = {"le": bound}
        assert registry.get_sample_value(
            "lag_seconds_bucket", labels
        ) == reference.get_sample_value("lag_seconds_bucket", labels)


def test_a_family_without_series_is_announced() -> None:
    _, registry = family(Name("things_total", "Things.", ("kind",)), Count)
    assert (
        generate_latest(registry) == b"# HELP things_total Things.\n# TYPE things_total counter\n"
    )
