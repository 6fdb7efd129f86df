"""Homes for embedded servers; a server that a test leaves behind fails the test."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.embedded.choosing import Binary
from gateway.embedded.home import Home
from gateway.embedded.locks import Lock
from tests import redis_server
from tests.stores import BINARIES, newest


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """With a short path, unlike pytest's own. No server may be left in it, or deeper."""
    with TemporaryDirectory(prefix="qg-state-") as name:
        yield Path(name)
        left = [home for home in map(Home, homes(Path(name))) if not end(home)]
    assert not left, "a server was left running"


def homes(directory: Path) -> list[Path]:
    return [lock.parent for lock in directory.rglob("server.lock")]


def end(home: Home) -> bool:
    """Whether the server had ended, as it should; now it has."""
    lock = Lock(home.server)
    if not lock.take():
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(home.pid.read_text()), signal.SIGKILL)
        return False
    lock.free()
    return True


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.name)
def binary(request: pytest.FixtureRequest) -> Binary:
    return chosen(request.param)


@pytest.fixture(name="newest")
def newest_binary() -> Binary:
    return chosen(newest())


def chosen(found: redis_server.Binary) -> Binary:
    major, minor, patch = found.numbers
    return Binary(found.path, found.product.title(), (major, minor, patch))
