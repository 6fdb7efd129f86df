"""Places: the line of every key, however it is written."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.places import finder

TEXT = '''# a comment with [brackets] and key = "value"
top = 1
a.b = 2

[plain] # comment
key = "[not.a.table]"
"quoted key" = 1
'single' = 1
dotted . "x" = 5
text = """
[not.a.table]
key = "not this one"
"""
literal = \'\'\'
other = 1\'\'\'
list = [
  1,           # first
  "]", [2, 3],
  { inner = 1, more = [
      true,
  ] },
]
inline = { one = 1, two = { three = "3" } }
after = 1979-05-27T07:32:00Z

[deep.er]
x = 1
[[rows]]
name = "a"
[rows.sub]
y = 1
[[rows]]
name = "b"
[[rows.items]]
z = 1
[[rows.items]]
z = 2
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("a",), 3),
        (("a", "b"), 3),
        (("plain",), 5),
        (("plain", "key"), 6),
        (("plain", "quoted key"), 7),
        (("plain", "single"), 8),
        (("plain", "dotted", "x"), 9),
        (("plain", "text"), 10),
        (("plain", "literal"), 14),
        (("plain", "other"), 5),
        (("plain", "list", 0), 17),
        (("plain", "list", 1), 18),
        (("plain", "list", 2, 1), 18),
        (("plain", "list", 3, "inner"), 19),
        (("plain", "list", 3, "more", 0), 20),
        (("plain", "inline", "two", "three"), 23),
        (("plain", "after"), 24),
        (("deep",), 26),
        (("deep", "er", "x"), 27),
        (("rows",), 28),
        (("rows", 0, "name"), 29),
        (("rows", 0, "sub", "y"), 31),
        (("rows", 1), 32),
        (("rows", 1, "items", 0, "z"), 35),
        (("rows", 1, "items", 1, "z"), 37),
        (("rows", 1, "items", 1, "missing"), 36),
        (("missing",), None),
    ],
)
def test_a_key_is_found_on_its_line(place: tuple[str | int, ...], line: int | None) -> None:
    tomllib.loads(TEXT)
    assert finder(TEXT)(place) == line


def test_without_a_text_there_are_no_lines() -> None:
    assert finder(None)(("top",)) is None


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "a = 1", "a = 1\r\nb = 2\r\n"])
def test_short_texts(text: str) -> None:
    assert finder(text)(("a",)) == (1 if "a = 1" in text else None)


@given(st.text(alphabet="[]{}=,.\"'#\n\\ ab1", max_size=40))
def test_any_text_comes_to_an_end(text: str) -> None:
    """Only valid TOML is ever read, but a mistake here must not hang a gateway that starts."""
    finder(text)
