"""The test command: style, types, then every test; `--long` adds those that take minutes.

Tests run in several processes, each with Redis servers of its own: most of them wait most of the
time. Tests that failed are run once more, alone, and both runs are shown.
"""

import argparse
import os
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
WORKERS = 2 * (os.cpu_count() or 1)
# Gateways are started some hundred times: none should compile its own code anew.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(name: str, command: list[str]) -> bool:
    print(f"== {name}", flush=True)
    began = time.monotonic()
    words = [sys.executable, "-m", *command]
    code = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, check=False).returncode
    print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s")
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also run the tests marked `long`")
    parser.add_argument("--workers", type=int, default=WORKERS, help="how many run at a time")
    options, rest = parser.parse_known_args()
    marks = [] if options.long else ["-m", "not long"]
    abreast = ["-n", str(options.workers), "--dist", "worksteal"]
    checks = [run(name, command) for name, command in CHECKS]
    tests = run("pytest", ["pytest", "-q", "--durations=10", *abreast, *marks, *rest])
    if not tests:
        # Many tests are about time, and a busy machine can be late once: what fails twice is
        # broken. What failed once stands above, to be looked into all the same.
        again = ["--last-failed", "--last-failed-no-failures=none"]
        tests = run("pytest, what failed, once more", ["pytest", "-q", *again, *marks])
    return 0 if all(checks) and tests else 1


if __name__ == "__main__":
    sys.exit(main())
