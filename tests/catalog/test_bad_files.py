"""Every message a broken configuration can cause: one file each in `bad/`.

A file begins with the problems that it is to cause, all of them, in the order of its lines
(`#! place (line): problem; remedy`), and says whether its mistake is beyond a JSON Schema.
"""

import re
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from gateway import settings
from gateway.errors import ConfigError

FILES = sorted((Path(__file__).parent / "bad").glob("*.toml"))
ROOT = Path(__file__).parent.parent.parent
SCHEMA = jsonschema.Draft202012Validator(settings.file_schema())


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in the files are relative to the repository."""
    monkeypatch.chdir(ROOT)
    for field in settings.Settings.model_fields:
        monkeypatch.delenv(settings.variable(field), raising=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_broken_file_causes_exactly_its_problems(path: Path) -> None:
    expected = [line[3:] for line in path.read_text().splitlines() if line.startswith("#! ")]
    with pytest.raises(ConfigError) as caught:
        settings.read(path)
    assert [str(problem) for problem in caught.value.problems] == expected
    assert str(caught.value) == "\n".join(expected)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_refuses_what_has_the_wrong_shape(path: Path) -> None:
    text = path.read_text()
    beyond = "#  No schema can see this." in text.splitlines()
    assert SCHEMA.is_valid(tomllib.loads(text)) == beyond


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_problem_names_the_line_that_its_key_is_written_on(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.read(path)
    lines = path.read_text().splitlines()
    for problem in caught.value.problems:
        if problem.line is not None:
            parts = re.findall(r'[A-Za-z0-9_-]+|"[^"]*"', re.sub(r"\[\d+\]", "", problem.place))
            assert any(part in lines[problem.line - 1] for part in parts), problem


def test_no_secret_is_ever_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """failure row 68 (in what a configuration's problems say)"""
    for path in FILES:
        with pytest.raises(ConfigError) as caught:
            settings.read(path)
        assert "canary" not in str(caught.value)
        assert "hunter2" not in str(caught.value)
