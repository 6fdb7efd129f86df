"""Starting a daemon: what it is told, what it is not told, and what is told when it fails."""

import os
from pathlib import Path

import pytest

from gateway.embedded.choosing import Binary
from gateway.embedded.home import Home, settle
from gateway.embedded.launching import launch
from gateway.embedded.locks import Lock
from gateway.errors import StoreError
from tests.embedded.conftest import end


@pytest.fixture
def home(state_dir: Path) -> Home:
    return settle(state_dir)


def script(directory: Path, text: str) -> Binary:
    """A server that is none."""
    path = directory / "redis-server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Binary(path, "Redis", (7, 0, 0))


def start(binary: Binary, home: Home) -> None:
    lock = Lock(home.server)
    assert lock.take()
    launch(binary, home, lock.hand_over())


def test_it_is_told_everything_and_no_secret(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 68"""
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "a-token-of-mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-key-of-mine")
    monkeypatch.setenv("TZ", "UTC")
    start(script(tmp_path, f'echo "$@" > {tmp_path}/words; env > {tmp_path}/environment'), home)
    words = (tmp_path / "words").read_text()
    assert "--port 0 " in words
    assert f"--unixsocket {home.directory}/redis.sock " in words
    assert "--appendonly yes " in words
    assert "--maxmemory-policy noeviction" in words
    environment = (tmp_path / "environment").read_text()
    assert "TZ=UTC\n" in environment
    assert "of-mine" not in environment


def test_it_runs_in_a_session_of_its_own_and_in_its_directory(home: Home, tmp_path: Path) -> None:
    tell = f"cut -d' ' -f6 /proc/$$/stat > {tmp_path}/session; pwd -P > {tmp_path}/place"
    start(script(tmp_path, tell), home)
    assert int((tmp_path / "session").read_text()) != os.getsid(0)
    assert str(home.directory) in (tmp_path / "place").read_text()


def test_why_it_refuses_is_told(home: Home, tmp_path: Path) -> None:
    failing = script(tmp_path, "echo cannot open shared object; echo no such file >&2; exit 127")
    told = r"redis-server did not start: cannot open shared object / no such file$"
    with pytest.raises(StoreError, match=told) as caught:
        start(failing, home)
    assert not caught.value.transient
    assert end(home)


def test_one_that_does_not_become_a_daemon_is_ended(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.embedded.launching.FORKED_WITHIN_S", 0.1)
    with pytest.raises(StoreError, match="does not become a daemon"):
        start(script(tmp_path, "exec tail -f /dev/null"), home)
    assert end(home)


def test_one_that_cannot_be_run_gives_the_lock_back(home: Home, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none did not start: No such file"):
        start(Binary(tmp_path / "none", "Redis", (7, 0, 0)), home)
    assert end(home)
