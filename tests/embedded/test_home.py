"""The directory of the gateway's own Redis: private, and with a socket that the kernel can take."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.embedded.home import SOCKET_PATH_MAX, Home, settle
from gateway.errors import ConfigError


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Short, unlike pytest's own."""
    with TemporaryDirectory(prefix="qg-") as name:
        yield Path(name) / "state"


@pytest.fixture
def deep(state_dir: Path) -> Iterator[Home]:
    home = settle(state_dir / ("d" * 100))
    yield home
    home.clear_socket_place()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_for_this_user_alone(state_dir: Path) -> None:
    home = settle(state_dir)
    assert home.directory == state_dir / "redis"
    assert mode(state_dir) == mode(home.directory) == 0o700


def test_a_directory_that_others_could_write_is_made_private(state_dir: Path) -> None:
    settle(state_dir).directory.chmod(0o777)
    assert mode(settle(state_dir).directory) == 0o700


def test_a_state_dir_that_cannot_be_is_told(state_dir: Path) -> None:
    state_dir.write_text("a file")
    with pytest.raises(ConfigError, match=rf"state_dir: cannot be used: .*{state_dir}.*; name a"):
        settle(state_dir)


def test_a_relative_state_dir_stays_where_it_was(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(state_dir.parent)
    home = settle(Path("state"))
    monkeypatch.chdir("/")
    assert home.directory.is_dir()


def test_the_socket_is_in_the_directory_where_it_fits(state_dir: Path) -> None:
    home = settle(state_dir)
    assert home.socket == home.make_socket_place() == home.directory / "redis.sock"
    home.clear_socket_place()
    assert list(home.directory.iterdir()) == []


def test_a_long_path_gets_a_short_place_that_all_find(deep: Home) -> None:
    assert deep.socket is None
    socket = deep.make_socket_place()
    assert len(os.fsencode(socket)) <= SOCKET_PATH_MAX
    assert mode(socket.parent) == 0o700
    assert Home(deep.directory).socket == deep.make_socket_place() == socket


def test_nothing_is_left_of_the_short_place(deep: Home) -> None:
    socket = deep.make_socket_place()
    socket.touch()
    deep.clear_socket_place()
    assert not socket.parent.exists()
    assert deep.socket is None
    assert list(deep.directory.iterdir()) == []


def test_a_short_place_that_was_cleaned_away_is_made_anew(deep: Home) -> None:
    first = deep.make_socket_place()
    first.parent.rmdir()
    assert deep.socket is None
    second = deep.make_socket_place()
    assert second.parent.is_dir()
    assert deep.socket == second


def test_a_short_place_that_others_can_write_is_not_used(deep: Home) -> None:
    socket = deep.make_socket_place()
    socket.parent.chmod(0o777)
    try:
        assert deep.socket is None
    finally:
        socket.parent.chmod(0o700)


def test_where_even_the_short_place_is_long_a_shorter_state_dir_is_asked_for(
    deep: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(ConfigError, match="too long for a unix socket"):
        deep.make_socket_place()
    assert list(long.iterdir()) == []


def test_books_are_for_the_version_that_wrote_them_or_later(state_dir: Path) -> None:
    """failure row 25"""
    home = settle(state_dir)
    assert home.oldest() == (6, 2)
    home.written_by("7.2.5")
    assert home.oldest() == (7, 2)
    home.written_by("6.2.14")
    assert home.oldest() == (6, 2)
    (home.directory / "appendonlydir").mkdir()
    assert home.oldest() == (7, 0)
    (home.directory / "version").write_text("nonsense")
    assert home.oldest() == (7, 0)


def test_the_end_of_the_log_is_told(state_dir: Path) -> None:
    home = settle(state_dir)
    assert home.log_tail() == "it has no log"
    home.log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert home.log_tail() == "line 995 / line 996 / line 997 / line 998 / line 999"


def test_several_may_say_at_once_which_version_it_was(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, replace = settle(state_dir), Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        says = "import sys, pathlib; from gateway.embedded.home import settle;"
        says += "settle(pathlib.Path(sys.argv[1])).written_by('7.0.15')"
        subprocess.run([sys.executable, "-c", says, state_dir], check=True)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    home.written_by("7.2.5")
    assert home.oldest() == (7, 2)
    assert [path.name for path in home.directory.glob("version*")] == ["version"]
