"""What an answer tells of subjects."""

import json
from typing import Any

import pytest

from gateway.admission.learning import SUBJECTS_MAX, told
from gateway.catalog.routes import Learn

ONE = Learn("target", "target.id", {"name": "target.name", "archived": "target.state.archived"})
LIST = Learn("target", "id", {"name": "name", "type": "type"}, listed="targets")


def said(document: Any, rule: Learn) -> Any:
    return told(json.dumps(document).encode(), rule)


def test_an_answer_about_one() -> None:
    one = {"target": {"id": "t1", "name": "Ann's", "state": {"archived": False}}}
    assert said(one, ONE) == {"t1": {"name": "Ann's", "archived": False}}


def test_an_answer_with_a_list() -> None:
    many = {"targets": [{"id": "t1", "name": "a", "type": "x"}, {"id": 2, "name": 5}, {"id": "t3"}]}
    assert said(many, LIST) == {"t1": {"name": "a", "type": "x"}, "2": {"name": "5"}, "t3": {}}


def test_so_many_of_a_list_and_no_more() -> None:
    many = {"targets": [{"id": str(n)} for n in range(SUBJECTS_MAX + 5)]}
    assert len(said(many, LIST)) == SUBJECTS_MAX


@pytest.mark.parametrize(
    "name", [None, "", True, 1.5, [], {}, "a\nb", "a" * 257, "\u202e", 10**30, "\ud800"]
)
def test_who_has_no_name_that_could_be_is_left_out(name: object) -> None:
    assert said({"targets": [{"id": name, "name": "a"}, {"id": "t2"}]}, LIST) == {"t2": {}}


@pytest.mark.parametrize("fact", [None, 1.5, [], {}, "a\nb", "a" * 257, 10**30])
def test_what_cannot_be_kept_is_left_out(fact: object) -> None:
    assert said({"targets": [{"id": "t1", "name": fact, "type": "x"}]}, LIST) == {
        "t1": {"type": "x"}
    }


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b"5", b"null", b'{"targets": 5}', b"\xff", b"[" * 100_000]
)
def test_what_was_not_expected_tells_nothing(answer: bytes) -> None:
    assert told(answer, LIST) == {}
    assert told(answer, ONE) == {}
