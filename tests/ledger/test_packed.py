"""A counter's value is read as the scripts write it."""

import pytest

from gateway.ledger.packed import is_whole, told, unpacked, used_reserved_since
from tests.packed import packed

LEVEL = packed("20 50 30 2026010112abcdef 1767225600000 25 25:26:10:11")


def test_a_value_says_all_that_a_counter_is() -> None:
    found = unpacked(LEVEL)
    assert found is not None
    assert found == (20, 50, 30, b"2026010112abcdef", 1767225600000, 25, (25, 26, 10, 11))
    assert found.most == 30
    assert is_whole(found)
    assert used_reserved_since(LEVEL) == (20, 50, 1767225600000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (LEVEL, "20 50 30 2026010112abcdef 1767225600000 25 25:26:10:11"),
        (packed("5 0 5 2026010112abcdef 0 0 -3:0"), "5 0 5 2026010112abcdef 0 0 -3:0"),
        (packed(f"{(1 << 53) - 1} 0 0 0 0 0 -"), f"{(1 << 53) - 1} 0 0 {'0' * 16} 0 0 -"),
        (packed("-1 nan 0.5 0 0 0 -"), f"-1 nan 0.5 {'0' * 16} 0 0 -"),
        (b"te\xffxt", r"'te\xffxt'"),
    ],
)
def test_an_operator_is_shown_a_text(value: bytes, text: str) -> None:
    assert told(value) == text


@pytest.mark.parametrize(
    "text",
    [
        *("-1 0 0 0 0 0 -", "0 0.5 0 0 0 0 -", "0 0 nan 0 0 0 -", "0 0 0 0 inf 0 -"),
        *(f"0 0 0 0 0 {1 << 53} -", "0 0 0 0 0 0 0:0.5"),
    ],
)
def test_a_number_that_is_no_amount_is_told(text: str) -> None:
    found = unpacked(packed(text))
    assert found is not None
    assert not is_whole(found)


def test_a_value_of_another_length_is_no_counter() -> None:
    assert unpacked(LEVEL[:-1]) is None
