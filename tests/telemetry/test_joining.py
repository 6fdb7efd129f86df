"""What several workers have counted is told as one, and promtool accepts it."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway import errors
from gateway.telemetry.joining import Tally, exposition_of, joined, lasting
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.names import NAMES, PREFIX
from tests.telemetry.promtool import needs_promtool, promtool


def worker(requests: int, *, drift: int = 0, store_up: int = 1, route: str = "upload") -> Metrics:
    metrics = Metrics(CollectorRegistry(), version="1.2.3")
    metrics.know("route", ["upload", "download"])
    metrics.workers.set(1)
    metrics.audit_drift.set(drift)
    metrics.store_up.set(store_up)
    metrics.open_leases.set(requests)
    for _ in range(requests):
        metrics.request(route, "relayed", 201, 0.002)
    return metrics


def series(counted: Tally) -> dict[tuple[str, str], float]:
    """(sample, route) -> value, as a scrape tells it."""
    body, _ = exposition_of(counted)
    return {
        (sample.name.removeprefix(PREFIX), _label(sample.labels)): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def _label(labels: dict[str, str]) -> str:
    return labels.get("route", "") + labels.get("le", "")


def test_counts_and_spreads_are_summed_and_levels_by_what_they_mean() -> None:
    workers = [worker(3), worker(4, drift=2, store_up=0), worker(5, drift=1, route="download")]
    told = series(joined((each.tally() for each in workers), NAMES, PREFIX))
    assert told["requests_total", "upload"] == 7
    assert told["requests_total", "download"] == 5
    assert told["request_duration_seconds_bucket", "upload0.001"] == 0
    assert told["request_duration_seconds_bucket", "upload0.0025"] == 7
    assert told["request_duration_seconds_bucket", "upload+Inf"] == 7
    assert told["request_duration_seconds_count", "upload"] == 7
    assert told["request_duration_seconds_sum", "upload"] == pytest.approx(0.014)
    assert told["open_leases", ""] == 12
    assert told["workers", ""] == 3
    assert told["audit_drift", ""] == 2
    assert told["store_up", ""] == 0
    assert told["build_info", ""] == 1


def test_those_of_the_process_are_of_all_processes() -> None:
    one = series(worker(0).tally())
    told = series(joined((worker(0).tally(), worker(0).tally()), NAMES, PREFIX))
    assert told["process_start_time_seconds", ""] == one["process_start_time_seconds", ""]
    assert (
        told["process_resident_memory_bytes", ""] > 1.5 * one["process_resident_memory_bytes", ""]
    )
    assert told["process_cpu_seconds_total", ""] > 1.5 * one["process_cpu_seconds_total", ""]


def test_what_a_worker_had_counted_outlives_it_and_its_levels_do_not() -> None:
    dead, living = worker(3), worker(4)
    dead.refused(errors.BAD_PATH)
    told = series(joined((lasting(dead.tally()), living.tally()), NAMES, PREFIX))
    assert told["requests_total", "upload"] == 7
    assert told["refusals_total", ""] == 1
    assert told["request_duration_seconds_count", "upload"] == 7
    assert told["open_leases", ""] == 4
    assert told["workers", ""] == 1


def test_one_worker_joined_is_told_as_it_tells_itself() -> None:
    metrics = worker(3)
    counted = metrics.tally()
    assert exposition_of(joined((counted,), NAMES, PREFIX)) == exposition_of(counted)
    body, kind = metrics.exposition()
    said, same_kind = exposition_of(counted)
    assert same_kind == kind
    ours = [line for line in said.splitlines() if b"process_" not in line]
    assert ours == [line for line in body.splitlines() if b"process_" not in line]


@needs_promtool
def test_promtool_accepts_it() -> None:
    body, _ = exposition_of(joined((worker(3).tally(), worker(4).tally()), NAMES, PREFIX))
    promtool("check", "metrics", given=body)
