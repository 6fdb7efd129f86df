"""Sizing: what a deployment needs, out of processor times."""

from pathlib import Path

import pytest

from tests.benchmarks import sizing
from tests.benchmarks.sizing import Crowd, Hot, Sizing

GIB = 1024**3
FOUND = Sizing(
    "slide rule",
    [Crowd(1, 1_000, 0.5, [0.05, 0.02, 0.03]), Crowd(2, 3_000, 1.0, [0.1, 0.1, 0.1])],
    [
        Hot(500, 0.05, 9_000.0, 1_000, 0.001, 0.1),
        Hot(500, 0.025, 12_000.0, 500, 0.001, 0.1),
        Hot(500, 0.1, 8_000.0, 500, 0.002, 0.025),
    ],
    account_bytes=GIB / 1_000_000,
    used_account_bytes=2 * GIB / 1_000_000,
    record_bytes=1024**2 / 30_000,
)


def test_requests_per_core_are_medians_over_the_runs() -> None:
    assert FOUND.per_gateway_core == 2_500.0  # of 2,000 and 3,000
    assert FOUND.per_redis_core == 10_000.0
    assert FOUND.balance == 1.25  # of 1.5 and 1
    assert FOUND.hot_by_cpu == 10_000.0
    assert FOUND.hot_saturated == 9_000.0
    assert FOUND.block_share == pytest.approx(0.02)  # of 1, 2 and 2 per cent
    assert FOUND.blocked_per_gateway_core == 10_000.0  # of 10,000, 5,000 and 20,000


def test_the_readme_is_told_what_a_deployment_needs() -> None:
    table = sizing.table(FOUND)
    assert "| gateway cores that one Redis core feeds | 4.0 |" in table
    assert "| Redis memory per million accounts | 1.00 GiB |" in table
    assert "| Redis memory for what 1,000 requests/s did in the last 30 s | 1.0 MiB |" in table


def test_sizing_is_read_as_it_was_written(tmp_path: Path) -> None:
    sizing.write(FOUND, tmp_path / "sizing.json")
    assert sizing.read(tmp_path / "sizing.json") == FOUND
