"""Programs beside the benchmark: ballast takes what nobody else wants; versions say no paths."""

import os
import time
from pathlib import Path

import pytest

from tests.benchmarks.machine import version_of
from tests.benchmarks.processes import ballast


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle class")
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


def test_a_version_is_told_without_where_the_program_is(tmp_path: Path) -> None:
    program = tmp_path / "envoy"
    program.write_text('#!/bin/sh\necho "$0  version: 1.2/Clean"\n')
    program.chmod(0o700)
    assert version_of(str(program)) == "version: 1.2/Clean"
