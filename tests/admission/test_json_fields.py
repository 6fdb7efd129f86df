"""JSON of others: one reading of what is asked, and changes that touch nothing else."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.json_fields import asked, find, find_asked, kept, replaced, told
from gateway.errors import BAD_REQUEST
from tests.admission.asks import error


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b"\xff\xfe", '{"a":1}'.encode("utf-16"), b'{"a": NaN}',
        b'{"a": Infinity}', b'{"a": 1, "a": 1}', b'[{"a": {"b": 1, "b": 2}}]', b"[" * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}", b"{} {}", b'\xef\xbb\xbf{"a": 1}',
    ],
)  # fmt: skip
def test_what_has_no_single_reading_is_refused(body: bytes) -> None:
    """failure row 63: JSON as deep or as long as it likes"""
    assert error(asked(body)) is BAD_REQUEST


def test_what_is_asked_is_read() -> None:
    assert asked(b'{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}
    assert asked(b"7") == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_told_may_be_anything(body: bytes) -> None:
    assert told(body) is None


def test_of_what_is_told_twice_the_last_counts() -> None:
    assert told(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": [10, {"c": "x"}]}), ("a.b.0", 10), ("a.b.1.c", "x"), ("a.b.2", None),
        ("a.b.-1", None), ("a.b.c", None), ("a.b.²", None), ("b", None), ("a.b.0.c", None),
    ],
)  # fmt: skip
def test_members_are_found_by_their_way_from_the_top(path: str, found: Any) -> None:
    document = {"a": {"b": [10, {"c": "x"}]}}
    assert find(document, path) == found
    assert find_asked(document, path) == found


def test_names_that_differ_by_case_are_refused() -> None:
    for document in ({"Max": 1}, {"max": 1, "MAX": 2}):
        assert error(find_asked(document, "max")) is BAD_REQUEST
    assert error(find_asked({"limits": {"Max": 1}}, "limits.max")) is BAD_REQUEST
    assert find_asked({"maximum": 1}, "max") is None


@pytest.mark.parametrize(
    ("text", "path", "changed"),
    [
        ("{}", "url", '{"url":"U"}'),
        (' { } ', "url", ' {"url":"U" } '),
        ('{"a": 1.50}', "url", '{"url":"U","a": 1.50}'),
        ('{"url" : null , "a":1e2}', "url", '{"url" : "U" , "a":1e2}'),
        ('{"a":1,"url":"x\\"}"}', "url", '{"a":1,"url":"U"}'),
        ('{"a": {"url": [1, {}]}}', "a.url", '{"a": {"url": "U"}}'),
        ('{"a": {}}', "a.url", '{"a": {"url":"U"}}'),
        ('{"b": 2}', "a.c.url", '{"a":{"c": {"url": "U"}},"b": 2}'),
        ('{"u\\u0072l": 1}', "url", '{"u\\u0072l": "U"}'),
    ],
)  # fmt: skip
def test_a_member_is_replaced_and_the_rest_stays(text: str, path: str, changed: str) -> None:
    assert replaced(text, path, "U") == changed


@pytest.mark.parametrize(("text", "path"), [("[]", "url"), ("7", "url"), ('{"a": 7}', "a.url")])
def test_where_no_object_is_nothing_can_be_put(text: str, path: str) -> None:
    assert error(replaced(text, path, "U")) is BAD_REQUEST


_KEYS = st.sampled_from(["a", "b", "c", "ü", 'q"', "\\"])
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(_KEYS, _JSON, max_size=4),
    st.sampled_from(["a", "b.c", "a.b.c", "c"]),
    st.text(max_size=5),
    st.sampled_from([None, 1, 2]),
)
def test_replacing_is_setting(
    document: dict[str, Any], path: str, value: str, indent: int | None
) -> None:
    text = json.dumps(document, indent=indent)
    wanted = copy.deepcopy(document)
    at: Any = wanted
    *names, last = path.split(".")
    for name in names:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            assert error(replaced(text, path, value)) is BAD_REQUEST
            return
    at[last] = value
    changed = replaced(text, path, value)
    assert isinstance(changed, str)
    assert asked(changed.encode()) == wanted


@pytest.mark.parametrize(
    ("text", "indices", "left"),
    [
        ('{"a": [1, 2, 3]}', {0, 2}, '{"a": [1,3]}'),
        ('{"b": [9], "a" : [ {"x": 1.50} , [2,  3] ] }', {1}, '{"b": [9], "a" : [[2,  3]] }'),
        ('{"a": ["]", "\\"]"], "c": 1}', {1}, '{"a": ["\\"]"], "c": 1}'),
        ('{"a": [1, 2]}', {0, 1}, '{"a": [1,2]}'),
        ('{"a": [1]}', set(), '{"a": []}'),
        ('{"a": [ ]}', set(), '{"a": []}'),
    ],
)  # fmt: skip
def test_elements_are_left_out_and_the_rest_stays(text: str, indices: set[int], left: str) -> None:
    assert kept(text, "a", indices) == left


def test_elements_are_left_out_deep_below() -> None:
    text = '{"x": {"y": 1, "z": {"a": [1, 2]}}}'
    assert kept(text, "x.z.a", {1}) == '{"x": {"y": 1, "z": {"a": [2]}}}'


@given(st.lists(_JSON, max_size=5), st.sets(st.integers(0, 5)), st.sampled_from([None, 1]))
def test_leaving_out_is_filtering(
    elements: list[Any], indices: set[int], indent: int | None
) -> None:
    text = json.dumps({"b": [0], "a": elements, "c": {}}, indent=indent)
    left = [element for n, element in enumerate(elements) if n in indices]
    assert asked(kept(text, "a", indices).encode()) == {"b": [0], "a": left, "c": {}}
