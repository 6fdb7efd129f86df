"""What the scripts are given."""

import struct
from dataclasses import replace

import pytest

from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.plans import Plan, RateLimit
from gateway.ledger.arguments import (
    amount_words,
    line_words,
    name_words,
    numbers_word,
    print_of_amounts,
    print_of_lines,
    rate_field,
    rate_numbers,
    room_words,
    text_word,
)
from gateway.ledger.frame import Terms, frame_at
from gateway.ledger.outcomes import Line
from tests.ledger.stage import METERS, NOON_MS

TERMS = Terms("acme", METERS, Plan("test", limits={"storage": 100}))
LINES = [Line("storage", 1, 5), Line.exact("files", 1)]


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [
        (RateLimit(10, 1), (100_000, 1_000_000)),
        (RateLimit(3, 1), (333_334, 1_000_002)),
        (RateLimit(1, 60), (60_000_000, 60_000_000)),
        (None, (0, 0)),
    ],
)
def test_a_rate_is_told_in_microseconds_and_never_lets_more_through(
    limit: RateLimit | None, numbers: tuple[int, int]
) -> None:
    assert rate_numbers(limit) == numbers


def test_a_rate_belongs_to_the_api_key_or_to_the_account() -> None:
    rate = RateLimit(1, 1)
    assert rate_field(replace(TERMS, key_id="k1"), rate) == b"g:k1"
    assert rate_field(TERMS, rate) == b"g:"
    assert rate_field(TERMS, None) == b""


def test_lines_and_amounts_come_with_what_the_scripts_must_know_of_their_counters() -> None:
    frame = frame_at(TERMS, NOON_MS)
    assert name_words(frame, ("storage", "files")) == (b"a/storage", b"a/files")
    end = b"9007199254740991"
    assert list(room_words(frame, ["storage", "files"])) == [
        *(b"1", b"-0", b"100"),
        *(b"1", b"-0", end),
    ]
    assert line_words(LINES) == [b"1-5", b"1"]
    assert amount_words(["files"], {"files": -3}) == [b"-3"]


def test_free_text_is_one_word() -> None:
    assert text_word("") == b"-"
    assert text_word("a b;c=d,e\n") == b"a%20b%3Bc%3Dd%2Ce%0A"


def test_content_is_lines_and_scopes_and_not_limits() -> None:
    first = print_of_lines(TERMS, LINES)
    assert first == print_of_lines(replace(TERMS, limits={"storage": 5}), list(LINES))
    others = [
        print_of_lines(TERMS, LINES[:1]),
        print_of_lines(TERMS, [Line("storage", 1, 6), LINES[1]]),
        print_of_lines(replace(TERMS, key_id="k1"), LINES),
        print_of_lines(replace(TERMS, subject=("creator", "ann")), LINES),
    ]
    assert len({first, *others}) == 5
    assert len(first) == 16


def test_content_of_a_commit_is_amounts_in_any_order_and_the_asset() -> None:
    first = print_of_amounts({"a": 1, "b": 2}, "x")
    assert first == print_of_amounts({"b": 2, "a": 1}, "x")
    assert first != print_of_amounts({"a": 1, "b": 2}, "y")
    assert first != print_of_amounts({"a": 1, "b": 3}, "x")
    assert print_of_amounts({"a": 1}) != print_of_amounts({"a": 1}, "None")


def test_numbers_are_one_word_the_limits_last() -> None:
    frame = frame_at(replace(TERMS, key_id="k1", key_limits={"storage": 7}), NOON_MS)
    word = numbers_word(frame, ("files", "storage"), 30_000, 5)
    interval = (frame.from_ms, frame.until_ms)
    assert struct.unpack("<9d", word) == (*interval, 30_000, 5, 2, 3, AMOUNT_END - 1, 100, 7)
