"""Shapes: what each reads, what it refuses, and the same said as JSON Schema."""

from enum import StrEnum
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from gateway.catalog.problems import Problems
from gateway.catalog.shapes import (
    WRONG,
    Amount,
    Anything,
    Choice,
    Either,
    Flag,
    Key,
    ListOf,
    MapOf,
    Shape,
    Table,
    Text,
    Whole,
    Written,
    duration,
    size,
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


NAME = Text("a name", r"^[a-z]+$")
SECRET = Written(str, "a secret", r"^.*$", secret=True)
POINT = Table((Key("x", Whole(0, 9), "across", required=True), Key("y", Flag(), "y", into="up")))


def read(shape: Shape, value: object) -> tuple[Any, list[str]]:
    problems = Problems()
    return shape.read(value, (), problems), [str(problem) for problem in problems.in_order()]


@pytest.mark.parametrize(
    ("shape", "value", "found"),
    [
        (NAME, "abc", "abc"),
        (Anything(), [1], [1]),
        (size(), "1KiB", 1024),
        (size(), 5, 5),
        (duration(), "250ms", 0.25),
        (duration(), 5, 5.0),
        (Amount(), "5s", "5s"),
        (Amount(unlimited=True), "unlimited", "unlimited"),
        (Choice(Colour), "red", Colour.RED),
        (Flag(), False, False),
        (Whole(1, 5), 5, 5),
        (ListOf(Whole(1, 5), "a list"), [1, 2], (1, 2)),
        (ListOf(NAME, "a list", unique=False), ["a", "a"], ("a", "a")),
        (MapOf(NAME, Whole(0, 9), "a table"), {"a": 1}, {"a": 1}),
        (Either(Choice(Colour), POINT), "blue", Colour.BLUE),
        (Either(Choice(Colour), POINT), {"x": 1}, {"x": 1}),
        (POINT, {"x": 1, "y": True}, {"x": 1, "up": True}),
        (SECRET, "canary", "canary"),
    ],
)
def test_what_fits_is_read_and_valid(shape: Shape, value: object, found: object) -> None:
    assert read(shape, value) == (found, [])
    assert jsonschema.Draft202012Validator(shape.schema()).is_valid(value)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (NAME, "a b"), (NAME, 5), (NAME, None), (size(), True), (size(), -1),
        (size(), 1.5), (size(), []), (duration(), 1.5), (duration(), "soon"), (Amount(), 1.5),
        (Amount(), True), (Choice(Colour), "green"), (Choice(Colour), 1), (Flag(), "true"),
        (Flag(), 1), (Whole(1, 5), 6), (Whole(1, 5), 0), (Whole(1, 5), True), (Whole(1, 5), "1"),
        (ListOf(NAME, "a list"), "a"), (ListOf(NAME, "a list"), [1]),
        (ListOf(NAME, "a list", least=1), []), (MapOf(NAME, Flag(), "a table"), []),
        (Either(Choice(Colour), POINT), 5), (Either(Choice(Colour), POINT), {"z": 1}),
        (POINT, "x"), (SECRET, 5),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_and_not_valid(shape: Shape, value: object) -> None:
    _, told = read(shape, value)
    assert told
    assert not jsonschema.Draft202012Validator(shape.schema()).is_valid(value)


def test_a_range_in_a_string_only_the_loader_knows() -> None:
    assert read(size(least=5, most=6), "7B") == (
        WRONG,
        ['the file: "7B" is out of range; write a size from 5B to 6B'],
    )
    assert read(duration(least_ms=5_000, most_ms=60_000), 1) == (
        WRONG,
        ["the file: 1 is out of range; write a duration from 5s to 1m"],
    )


def test_a_list_with_something_twice_is_told_where() -> None:
    _, told = read(ListOf(NAME, "a list"), ["a", "b", "a"])
    assert told == ['[2]: "a" comes twice; remove one']


def test_a_list_with_one_wrong_item_is_wrong() -> None:
    assert read(ListOf(NAME, "a list"), ["a", 1])[0] is WRONG


def test_a_map_leaves_out_what_is_wrong() -> None:
    found, told = read(MapOf(NAME, Flag(), "a table"), {"a": True, "b": 1, "C": True})
    assert found == {"a": True}
    assert len(told) == 2


def test_a_table_is_complete_with_all_that_it_needs() -> None:
    found, told = read(POINT, {"y": True, "z": 1, "yy": 2})
    assert found == {"up": True}
    assert told == [
        "z: is not a known key; known: x, y",
        'yy: is not a known key; did you mean "y"? Known: x, y',
        "the file: has no x; add x: across",
    ]
    assert not POINT.complete(found)
    assert POINT.complete({"x": 1})


def test_a_line_break_at_the_end_is_part_of_a_text() -> None:
    """Python's `$` also matches before it, that of ECMA 262 does not."""
    assert read(NAME, "abc\n")[0] is WRONG


def test_a_secret_is_not_quoted() -> None:
    _, told = read(SECRET, {"canary": 1})
    assert told == ["the file: the secret does not fit here; write a secret"]
