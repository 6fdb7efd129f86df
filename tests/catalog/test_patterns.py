"""Path patterns and templates."""

import re

import pytest

from gateway.catalog import patterns
from gateway.catalog.patterns import Pattern, Segment
from gateway.catalog.sizes import Unreadable

GOOD = ["/", "/a", "/a/", "/a/b", "/{n}", "/{n}/", "/a/{n...}", "/{A1_b}/x", "/a.b/%C3%A9", "/@:=!"]
BAD = [
    "", "a", "//", "/a//b", "/{n...}/a", "/{n}/{n}", "/{n}/{n...}", "/{n", "/n}", "/{}", "/{1}",
    "/{n..}", "/a{n}", "/{n}a", "/./a", "/a/..", "/%2e", "/%2E./a", "/a%2fb", "/a%2Fb", "/%5c",
    "/%00", "/%0a", "/%252f", "/%25252F", "/%7f", "/a;b", "/a%3Bb", "/a b", "/a?b", "/a#b", "/a\\b",
    "/é", "/%", "/%zz", "/a|b", "/a\n",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_pattern_is_read(text: str) -> None:
    assert isinstance(patterns.parse(text), Pattern)
    assert patterns.path(text) == text
    assert re.search(patterns.PATTERN_PATTERN, text)


@pytest.mark.parametrize("text", BAD)
def test_what_no_request_path_could_match_is_refused(text: str) -> None:
    assert isinstance(patterns.parse(text), Unreadable)
    assert isinstance(patterns.path(text), Unreadable)


def test_a_pattern_has_segments_and_names() -> None:
    pattern = patterns.parse("/files/{owner}/{name...}")
    assert pattern == Pattern(
        (Segment("files"), Segment(name="owner"), Segment(name="name", rest=True))
    )
    assert pattern.names == ("owner", "name")


def test_patterns_of_equal_shape_match_the_same_paths() -> None:
    def shape(text: str) -> object:
        pattern = patterns.parse(text)
        assert isinstance(pattern, Pattern)
        return pattern.shape

    assert shape("/a/{b}") == shape("/a/{c}")
    assert len({shape("/a/{b}"), shape("/a/{b...}"), shape("/a/b"), shape("/{a}/b")}) == 4


@pytest.mark.parametrize("text", ["files/{name}", "{a}/{b}", "{a}{b}", "plain", "a...b", "%2F{a}"])
def test_a_template_is_text_with_placeholders(text: str) -> None:
    assert patterns.template(text) == text
    assert re.search(patterns.TEMPLATE_PATTERN, text)


@pytest.mark.parametrize("text", ["", "{", "a}", "{name...}", "{}", "{{a}}", "a b", "a\n", "\0"])
def test_what_cannot_be_filled_is_no_template(text: str) -> None:
    assert isinstance(patterns.template(text), Unreadable)


def test_placeholders_are_the_parameters_that_a_template_needs() -> None:
    assert patterns.placeholders("files/{owner}/{name}") == ("owner", "name")
