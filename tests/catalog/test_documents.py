"""The bytes of a file become a TOML document, or one problem with its line."""

import pytest

from gateway.catalog.documents import parse
from gateway.errors import ConfigError, ConfigProblem


def test_a_document_keeps_its_text() -> None:
    document = parse(b'a = "\xc3\xa9"\n', "x.toml")
    assert document.values == {"a": "é"}
    assert document.text == 'a = "é"\n'


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"a = 1\nb", 2, "is not TOML: Expected '=' after a key in a key/value pair"),
        (b"a = 1\na = 2\n", 2, "is not TOML: Cannot overwrite a value"),
        (b'\n\na = "x', 3, "is not TOML: Unterminated string"),
        (b"a = 1\n\xff = 2\n", 2, "is not UTF-8"),
        (b"a = " + b"[" * 100_000, None, "has a number or a nesting that is too large"),
        (b"a = " + b"9" * 5_000, None, "has a number or a nesting that is too large"),
    ],
)
def test_what_cannot_be_parsed_is_one_problem(
    content: bytes, line: int | None, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(content, "x.toml")
    (found,) = caught.value.problems
    assert isinstance(found, ConfigProblem)
    assert (found.place, found.line, found.problem) == ("x.toml", line, problem)
    assert found.remedy
