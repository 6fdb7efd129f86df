"""Cores: how many of them this process may use."""

import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Of a container (control groups v2): microseconds in which it may compute, and of how many."""


def cores(limit: Path = CPU_MAX) -> int:
    """Those it is allowed to run on, and no more than a limit on its time is worth."""
    allowed = len(os.sched_getaffinity(0))
    try:
        time, period = limit.read_text("ascii").split()
    except (OSError, ValueError):  # There is no such limit here.
        return allowed
    if time == "max":
        return allowed
    return max(1, min(allowed, -(-int(time) // int(period))))
