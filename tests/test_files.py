"""Files and variables that a configuration points to."""

from pathlib import Path

import pytest

from gateway import settings
from gateway.catalog.problems import OutsideKind
from gateway.catalog.secrets import secrets_in
from gateway.catalog.sizes import Unreadable
from gateway.files import outside
from tests.catalog.documents import SMALL

CONFIGURATION = f"""{SMALL}
[plans.free]

[jobs.work]
upstream = "files"
completed = ["done"]
status_headers = {{ Authorization = {{ env = "QG_TEST_AUTHORIZATION" }} }}
callback = {{ secret = {{ file = "callback" }} }}
"""


def test_a_file_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for written in ("a secret ", "a secret \n", "a secret \r\n"):
        path.write_bytes(written.encode())
        assert outside(OutsideKind.FILE, str(path)) == "a secret "


@pytest.mark.parametrize("written", ["", "\n", "\r\n"])
def test_an_empty_file_holds_nothing(tmp_path: Path, written: str) -> None:
    path = tmp_path / "secret"
    path.write_text(written)
    found = outside(OutsideKind.FILE, str(path))
    assert found == Unreadable("the file is empty", "write the secret into it")


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300)):
        found = outside(OutsideKind.FILE, str(path))
        assert isinstance(found, Unreadable)
        assert found.problem.startswith("cannot be read: ")


def test_an_endless_file_is_not_read_to_its_end() -> None:
    found = outside(OutsideKind.FILE, "/dev/zero")
    assert isinstance(found, str)
    assert len(found) == 65_536


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QG_TEST", "a secret")
    assert outside(OutsideKind.ENV, "QG_TEST") == "a secret"
    monkeypatch.setenv("QG_TEST", "")
    assert outside(OutsideKind.ENV, "QG_TEST") == Unreadable(
        "the variable is not set", "set it, or name another"
    )


def test_secrets_of_a_configuration_are_read_anew_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QG_TEST_AUTHORIZATION", "Bearer one")
    Path("gateway.toml").write_text(CONFIGURATION)
    for secret in ("0123456789abcdef", "fedcba9876543210"):
        Path("callback").write_text(f"{secret}\n")
        catalog = settings.read(Path("gateway.toml")).catalog
        assert sorted(secrets_in(catalog)) == sorted(["Bearer one", secret])
