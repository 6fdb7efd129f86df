"""The benchmark as it is run: every peer of this machine once, and the books come out right."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import machine, results
from tests.benchmarks.machine import ROOT

MISSING = machine.cores() is None or None in map(machine.program, ("cc", "redis-server"))
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(MISSING, reason="needs two cores, cc and redis-server"),
]


def test_every_peer_that_is_installed_does_its_work(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    names = ("small-64", "charged-64KiB", "upload-64KiB")
    words = ("--rounds", "1", "--seconds", "1", "--json", str(found))
    ran = _run("tests.benchmarks", *(f"--only={name}" for name in names), *words)
    assert ran.returncode == 0, ran.stderr
    cases = results.read(found).cases
    assert [case.failed for case in cases] == [{}, {}, {}]
    assert all("gateway" in case.runs for case in cases)


def test_a_cluster_keeps_the_books_of_several_gateways() -> None:
    ran = _run("tests.benchmarks.scale", "--rounds", "1", "--seconds", "1")
    assert ran.returncode == 0, ran.stderr
    assert "requests/s per gateway core" in ran.stdout


def _run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
