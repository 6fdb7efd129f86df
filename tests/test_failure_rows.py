"""Every failure mode that is handled here has a test that names it: `failure row N`."""

import re
from pathlib import Path

TESTS = Path(__file__).parent

ROWS = range(1, 69)


def named() -> set[int]:
    rows: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for listed in re.findall(r"failure rows? ([0-9, and]+)", path.read_text()):
            rows |= {int(number) for number in re.findall(r"[0-9]+", listed)}
    return rows


def test_every_row_has_a_test() -> None:
    assert sorted(set(ROWS) - named()) == []
