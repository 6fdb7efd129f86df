"""Paging: which part of a long list a query asks for, by number or by the key of the page before.

A key names the last entry of the page that it follows, so that pages hold while entries come.
"""

import base64
import binascii
from dataclasses import dataclass

from gateway.errors import INVALID_RANGE, Refusal

PER_PAGE_MAX = 1_000
PAGE_MAX = 1_000_000
KEY_BYTES_MAX = 1_024


@dataclass(frozen=True, slots=True)
class ByNumber:
    """`page` from 1 on."""

    page: int
    per_page: int


@dataclass(frozen=True, slots=True)
class ByKey:
    """What comes after the entry `after`; None: from the first on."""

    after: str | None
    per_page: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where a page lies: indices from 0 on, of its first and its last entry. A page without entries
    has the same index twice, where its first would be."""

    first_index: int
    last_index: int
    total_pages: int


def by_number(page: str | None, per_page: str | None) -> ByNumber | Refusal:
    """INVALID_RANGE or the page; the first of the longest where nothing is said."""
    number = _whole("page", page, 1, PAGE_MAX)
    size = _whole("per_page", per_page, PER_PAGE_MAX, PER_PAGE_MAX)
    if isinstance(number, Refusal):
        return number
    return size if isinstance(size, Refusal) else ByNumber(number, size)


def by_key(next_page_key: str | None, per_page: str | None) -> ByKey | Refusal:
    """As `by_number`."""
    size = _whole("per_page", per_page, PER_PAGE_MAX, PER_PAGE_MAX)
    if isinstance(size, Refusal):
        return size
    if not next_page_key:
        return ByKey(None, size)
    after = entry_of(next_page_key)
    if after is None:
        return Refusal(INVALID_RANGE, "'next_page_key' is none that was given")
    return ByKey(after, size)


def key_of(entry: str) -> str:
    """What a client sends to go on after an entry; safe in a query, and opaque."""
    return base64.urlsafe_b64encode(entry.encode()).decode().rstrip("=")


def entry_of(key: str) -> str | None:
    """The entry that a key names; None for what `key_of` never gives."""
    if len(key) > KEY_BYTES_MAX or not key.isascii():
        return None
    try:
        padded = key + "=" * (-len(key) % 4)
        entry = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return entry if entry and key_of(entry) == key else None


def places(page: ByNumber, total: int) -> Places:
    first = (page.page - 1) * page.per_page
    return Places(
        first, max(first, min(first + page.per_page, total) - 1), total_pages(total, page.per_page)
    )


def total_pages(total: int, per_page: int) -> int:
    return -(-total // per_page)


def _whole(name: str, written: str | None, default: int, most: int) -> int | Refusal:
    if written is None:
        return default
    if not (written.isascii() and written.isdigit() and len(written) <= 9):
        return Refusal(INVALID_RANGE, f"{name!r} is an integer from 1 to {most}")
    if not 1 <= int(written) <= most:
        return Refusal(INVALID_RANGE, f"{name!r} is an integer from 1 to {most}")
    return int(written)
