"""What is pinned stays where it was put, and ballast takes only what nobody else wants."""

import os
import time
from pathlib import Path

import pytest

from tests.benchmarks.processes import ballast

if not hasattr(os, "SCHED_IDLE"):
    pytest.skip("this system has no idle class", allow_module_level=True)


def test_ballast_uses_what_is_left_of_one_core(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    weight = ballast(core, tmp_path)
    pid = weight._process.pid
    try:
        assert os.sched_getaffinity(pid) == {core}
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
        deadline = time.monotonic() + 30
        while weight.used_ns == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert weight.used_ns > 0
    finally:
        weight.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
