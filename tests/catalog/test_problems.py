"""Problems: collected, placed, put in order, and each with a remedy."""

import pytest

from gateway.catalog.problems import Place, Problems, suggestion, written
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((), "the file"),
        (("routes", 2, "reserve", "storage_bytes"), "routes[2].reserve.storage_bytes"),
        (("plans", "10 GB", "limits"), 'plans."10 GB".limits'),
        (("plans", "pro-1"), "plans.pro-1"),
        (("plans", "é"), 'plans."é"'),
    ],
)
def test_a_place_is_written_as_in_toml(place: Place, text: str) -> None:
    assert written(place) == text


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("polcy", ["path", "policy"], 'did you mean "policy"? Known: path, policy'),
        ("POLICY", ["path", "policy"], 'did you mean "policy"? Known: path, policy'),
        ("colour", ["path", "policy"], "known: path, policy"),
        ("colour", [], "none is defined"),
        ("kez1", [f"key{n}" for n in range(20)], 'did you mean "key1"?'),
    ],
)
def test_a_remedy_names_the_nearest_and_what_there_is(
    name: str, known: list[str], remedy: str
) -> None:
    assert suggestion(name, known) == remedy


def test_problems_come_in_the_order_of_their_lines() -> None:
    lines: dict[Place, int] = {("b",): 2, ("a",): 1}

    def line_of(place: Place) -> int | None:
        return lines.get(place)

    problems = Problems(line_of)
    problems.add(("none",), "p", "r")
    problems.add(("b",), "p", "r")
    problems.add(("a",), "p", "r")
    assert [problem.place for problem in problems.in_order()] == ["a", "b", "none"]
    assert len(problems) == 3


def test_no_problem_raises_nothing() -> None:
    problems = Problems()
    problems.raise_if_any()
    problems.add((), "is wrong", "make it right")
    with pytest.raises(ConfigError, match="the file: is wrong; make it right"):
        problems.raise_if_any()
