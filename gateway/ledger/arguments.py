"""What the scripts are given: amounts are checked here before Redis hears of them, then encoded.

The scripts check the same amounts again (I7): neither side trusts the other.
"""

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from gateway.catalog.meters import AMOUNT_END, MeterKind, is_amount
from gateway.catalog.plans import RateLimit
from gateway.errors import CONTENT_MISMATCH, INVALID_AMOUNT, UNKNOWN_METER
from gateway.ledger.frame import Frame, Terms
from gateway.ledger.outcomes import Line, Refused

US_PER_S = 1_000_000
BATCH_MAX = 1_000
"""Of one script: Lua passes 8,000 values at once, and other scripts wait meanwhile."""

RESERVES_OWN, COMMITS_OWN = 3, 4
"""How many words are of one call alone, before its amounts."""

Items = Sequence[tuple[str, Sequence[Line]]]
"""Ids and what is wanted for each."""
Shares = Sequence[tuple[str, Mapping[str, int]]]
"""Ids and what each gets: meter → amount."""

Meters = tuple[str, ...]

P = ParamSpec("P")
W = TypeVar("W")

_NO_RATE = (0, 0)
_KEPT_MAX = 32
"""Of one frame: as many as it has lines that are reserved together, and some."""


def bad_lines(terms: Terms, lines: Sequence[Line]) -> Refused | None:
    """Why these lines are refused before the store is asked, if they are."""
    for line in lines:
        if line.meter not in terms.meters:
            return _unknown_meter(line.meter)
        if not (is_amount(line.least) and is_amount(line.most) and line.least <= line.most):
            return _invalid(line.meter, f"{line.least!r} to {line.most!r}")
    if len({line.meter for line in lines}) != len(lines):
        return Refused(INVALID_AMOUNT, "a meter is named twice")
    return None


def bad_items(terms: Terms, items: Items) -> Refused | None:
    """As `bad_lines`, of a batch. What an item wants is known to the unit."""
    if refused := bad_ids([name for name, _ in items]):
        return refused
    for name, lines in items:
        if refused := bad_lines(terms, lines):
            return refused
        if not lines or any(line.least != line.most for line in lines):
            return Refused(INVALID_AMOUNT, f"{name} has no lines, or one without a known amount")
    return None


def bad_shares(terms: Terms, reservation_id: str, shares: Shares) -> Refused | None:
    if refused := bad_ids([name for name, _ in shares]):
        return refused
    for name, amounts in shares:
        if refused := bad_amounts(terms, amounts):
            return refused
        if not amounts:
            return Refused(INVALID_AMOUNT, f"{name} would get nothing")
        if name == reservation_id:
            return Refused(CONTENT_MISMATCH, f"{name} cannot be split into itself")
    return None


def bad_ids(ids: Sequence[str]) -> Refused | None:
    if not 1 <= len(ids) <= BATCH_MAX:
        return Refused(INVALID_AMOUNT, f"{len(ids)} is no number of items from 1 to {BATCH_MAX}")
    if len(set(ids)) != len(ids):
        return Refused(CONTENT_MISMATCH, "an id is named twice")
    return None


def bad_amounts(terms: Terms, amounts: Mapping[str, int]) -> Refused | None:
    for meter, amount in amounts.items():
        if meter not in terms.meters:
            return _unknown_meter(meter)
        if not is_amount(amount):
            return _invalid(meter, repr(amount))
    return None


def bad_deltas(terms: Terms, deltas: Mapping[str, int]) -> Refused | None:
    for meter, delta in deltas.items():
        if meter not in terms.meters:
            return _unknown_meter(meter)
        if terms.meters[meter].kind is MeterKind.CONCURRENCY:
            return Refused(INVALID_AMOUNT, f"{meter} is only ever reserved")
        if type(delta) is not int or not -AMOUNT_END < delta < AMOUNT_END:
            return _invalid(meter, repr(delta))
    return None


def _kept(make: Callable[Concatenate[Frame, P], W]) -> Callable[Concatenate[Frame, P], W]:
    """Words that are the same in each call about the same meters: made once for a frame."""

    def kept(frame: Frame, /, *about: P.args, **named: P.kwargs) -> W:
        name = make, about
        words: W | None = frame.made.get(name)
        if words is None:
            if len(frame.made) >= _KEPT_MAX:
                frame.made.clear()
            words = frame.made[name] = make(frame, *about, **named)
        return words

    return kept


@_kept
def name_words(frame: Frame, meters: Meters) -> tuple[bytes, ...]:
    """The names of the meters' counters."""
    names = frame.words.names
    return tuple(name for meter in meters for name in names[meter])


def line_words(lines: Iterable[Line]) -> list[bytes]:
    """What each asks for: one number, or `least-most`."""
    return [
        b"%d" % line.most if line.least == line.most else b"%d-%d" % (line.least, line.most)
        for line in lines
    ]


def meters_of(items: Items) -> tuple[str, ...]:
    """The meters of a batch, each once, in the order in which they are first named."""
    return tuple(dict.fromkeys(line.meter for _, lines in items for line in lines))


def room_words(frame: Frame, meters: Iterable[str]) -> Iterator[bytes]:
    """For each meter how many counters it has, then the floor and the limit of each."""
    words = frame.words
    for meter in meters:
        yield b"%d" % len(words.names[meter])
        for floor, counter in zip(words.floors[meter], frame.counters[meter], strict=True):
            yield floor
            yield b"%d" % counter.bound


@_kept
def shape_words(frame: Frame, meters: Meters) -> tuple[bytes, bytes]:
    """How many counters each line has (empty for one each), and their floors."""
    words = frame.words
    counts = [len(words.names[meter]) for meter in meters]
    shape = b"" if sum(counts) == len(counts) else b",".join(b"%d" % each for each in counts)
    return shape, b",".join(floor for meter in meters for floor in words.floors[meter])


@_kept
def numbers_word(frame: Frame, meters: Meters, *options: int) -> bytes:
    """One word of many numbers, since each word is a string in Lua, which costs as much as to
    unpack three: the frame's interval, `options`, how many lines and counters, and the limits."""
    limits = [counter.bound for meter in meters for counter in frame.counters[meter]]
    count = len(limits)
    numbers = (frame.from_ms, frame.until_ms, *options, len(meters), count, *limits)
    return struct.pack(f"<{len(numbers)}d", *numbers)


def item_words(items: Items, meters: Sequence[str]) -> Iterator[bytes]:
    numbers = {meter: b"%d" % number for number, meter in enumerate(meters, 1)}
    for name, lines in items:
        yield name.encode()
        yield b"%d" % len(lines)
        for line in lines:
            yield numbers[line.meter]
            yield b"%d" % line.most


def share_words(shares: Shares) -> Iterator[bytes]:
    for name, amounts in shares:
        yield name.encode()
        yield b"%d" % len(amounts)
        for meter, amount in amounts.items():
            yield meter.encode()
            yield b"%d" % amount


def amount_words(meters: Iterable[str], amounts: Mapping[str, int]) -> list[bytes]:
    return [b"%d" % amounts[meter] for meter in meters]


def rate_numbers(rate: RateLimit | None) -> tuple[int, int]:
    """The time one request takes of the allowance, and all of it, in microseconds."""
    if rate is None:
        return _NO_RATE
    interval_us = math.ceil(rate.per_s * US_PER_S / rate.requests)
    return interval_us, interval_us * rate.requests


def rate_field(terms: Terms, rate: RateLimit | None) -> bytes:
    """Where the books keep the rate's state."""
    return b"" if rate is None else f"g:{terms.key_id or ''}".encode()


@lru_cache(maxsize=256)
def text_word(text: str) -> bytes:
    """Free text as one word of a record."""
    return quote(text, safe="").encode() or b"-"


def print_of_lines(terms: Terms, lines: Sequence[Line]) -> bytes:
    """The content of a reserve: what a repeat of its id must ask for again."""
    content = ";".join([f"{line.meter}={line.least}-{line.most}" for line in lines])
    return _fingerprint(f"{content};{terms.key_id!r};{terms.subject!r}")


def print_of_batch(terms: Terms, items: Items, partial: bool) -> bytes:
    """The content of a batch, which each of its reservations is known by."""
    content = ";".join(
        f"{name!r}:{line.meter}={line.most}" for name, lines in items for line in lines
    )
    return _fingerprint(f"batch;{content};{partial};{terms.key_id!r};{terms.subject!r}")


def print_of_shares(reservation_id: str, shares: Shares) -> bytes:
    content = ";".join(
        f"{name!r}:{meter}={amounts[meter]}"
        for name, amounts in shares
        for meter in sorted(amounts)
    )
    return _fingerprint(f"split;{reservation_id!r};{content}")


def print_of_amounts(amounts: Mapping[str, int], asset: str | None = None) -> bytes:
    """The content of a commit or an adjustment, whatever the order of its meters."""
    content = ";".join([f"{meter}={amounts[meter]}" for meter in sorted(amounts)])
    return _fingerprint(f"{content};{asset!r}")


def _fingerprint(content: str) -> bytes:
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest().encode()


def _unknown_meter(meter: str) -> Refused:
    return Refused(UNKNOWN_METER, f"there is no meter {meter!r}")


def _invalid(meter: str, amount: str) -> Refused:
    return Refused(INVALID_AMOUNT, f"{amount} is no amount of {meter}")
