"""How many cores there are to use, with and without a limit on the time they are used."""

import os
from pathlib import Path

import pytest

from gateway.cores import cores

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ("max 100000", ALLOWED),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("100001 100000", min(2, ALLOWED)),
        ("6400000 100000", min(64, ALLOWED)),
        ("", ALLOWED),
    ],
)
def test_a_limit_on_time_is_a_limit_on_cores(tmp_path: Path, limit: str, found: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit + "\n")
    assert cores(file) == found


def test_without_such_a_limit_it_is_what_the_process_may_run_on(tmp_path: Path) -> None:
    assert cores(tmp_path / "cpu.max") == ALLOWED
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores(tmp_path / "cpu.max") == 1
    finally:
        os.sched_setaffinity(0, before)
