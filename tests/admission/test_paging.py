"""Pages of long lists: by number and by key."""

import pytest

from gateway.admission.paging import (
    ByKey,
    ByNumber,
    Places,
    by_key,
    by_number,
    entry_of,
    key_of,
    places,
    total_pages,
)
from gateway.errors import INVALID_RANGE, Refusal


@pytest.mark.parametrize(
    ("page", "per_page", "expected"),
    [
        (None, None, ByNumber(1, 1_000)),
        ("1", "1", ByNumber(1, 1)),
        ("007", "1000", ByNumber(7, 1_000)),
        ("1000000", None, ByNumber(1_000_000, 1_000)),
    ],
)
def test_pages_by_number(page: str | None, per_page: str | None, expected: ByNumber) -> None:
    assert by_number(page, per_page) == expected


BAD = ["", "0", "-1", "1.5", "1e3", " 1", "+1", "٣", "0x1", "nan", "1000000000", "9" * 5_000]


@pytest.mark.parametrize("written", [*BAD, "1001"])
def test_a_page_is_of_1_to_1000(written: str) -> None:
    for refused in (by_number(None, written), by_key(None, written)):
        assert isinstance(refused, Refusal)
        assert refused.error is INVALID_RANGE


@pytest.mark.parametrize("written", [*BAD, "1000001"])
def test_page_numbers_are_whole(written: str) -> None:
    assert isinstance(by_number(written, None), Refusal)


@pytest.mark.parametrize("entry", ["a", "a/b", "日本", "\u202e", "a" * 64, "é", " ", "?&=#+%"])
def test_a_key_leads_on_from_its_entry(entry: str) -> None:
    key = key_of(entry)
    assert entry_of(key) == entry
    assert by_key(key, "5") == ByKey(entry, 5)
    assert key.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "key", ["=", "a", "YQ==", "YR", "/w", "_w", "é", "YQ ", "YQ\n", "A" * 2000]
)
def test_a_key_of_ones_own_making_is_refused(key: str) -> None:
    assert isinstance(by_key(key, None), Refusal)


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_key_it_begins_at_the_first(nothing: str | None) -> None:
    assert by_key(nothing, None) == ByKey(None, 1_000)


@pytest.mark.parametrize(
    ("page", "per_page", "total", "expected"),
    [
        (1, 10, 25, Places(0, 9, 3)),
        (2, 10, 25, Places(10, 19, 3)),
        (3, 10, 25, Places(20, 24, 3)),
        (4, 10, 25, Places(30, 30, 3)),
        (1, 10, 10, Places(0, 9, 1)),
        (2, 10, 11, Places(10, 10, 2)),
        (1, 1_000, 0, Places(0, 0, 0)),
        (1, 1, 1, Places(0, 0, 1)),
    ],
)
def test_where_a_page_lies(page: int, per_page: int, total: int, expected: Places) -> None:
    assert places(ByNumber(page, per_page), total) == expected
    assert total_pages(total, per_page) == expected.total_pages
