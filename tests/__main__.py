"""The test command: style, types, then every test; `--long` adds those that take minutes.

Tests that failed are run once more, and both runs are shown.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

CHECKS = (
    ("ruff", ["ruff", "check", "gateway", "tests"]),
    ("format", ["ruff", "format", "--check", "gateway", "tests"]),
    ("mypy", ["mypy"]),
)


def run(name: str, command: list[str]) -> bool:
    print(f"== {name}", flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
    print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s")
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also run the tests marked `long`")
    options, rest = parser.parse_known_args()
    marks = [] if options.long else ["-m", "not long"]
    checks = [run(name, command) for name, command in CHECKS]
    tests = run("pytest", ["pytest", "-q", "--durations=10", *marks, *rest])
    if not tests:
        # Many tests are about time, and a busy machine can be late once: what fails twice is
        # broken. What failed once stands above, to be looked into all the same.
        tests = run("pytest, what failed, once more", ["pytest", "-q", "--last-failed", *marks])
    return 0 if all(checks) and tests else 1


if __name__ == "__main__":
    sys.exit(main())
