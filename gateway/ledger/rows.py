"""Rows: how history's buckets are read, several questions in one script and at one instant.

Nothing else knows how history lies in the store. A question about many counters is cut into scripts
of some thousand rows each, so that others come in between.
"""

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import told
from gateway.ledger.scripts import HISTORY
from gateway.ledger.spans import Grain, Span

ROWS_MAX = 2_000
"""That one script looks for, unless one counter alone has more: it takes 1 to 2 ms."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Part = tuple[Span, Grain]
"""A stretch of history and the buckets that it is read from."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What the rows of each counter come to in all parts together."""

    counters: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of each counter, bucket by bucket through all parts; None where there is none."""

    counters: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """What each counter has used by now; of a cumulative one, when it last moved."""

    counters: tuple[str, ...]


Ask = Sums | Rows | Held
Found = tuple[Any, ...]
"""For each counter of the question: an int, or its rows (bytes or None)."""


class RowReader:
    """Verbs raise StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: "Redis | RedisCluster") -> None:
        self._client: Any = client

    async def read(self, account: str, *asks: Ask) -> tuple[Found, ...]:
        """The answers to all questions at one instant; one round trip."""
        keys = keys_of(account)
        names = [keys.books]
        numbers: dict[bytes, int] = {}
        args: list[str | int] = [len(asks)]
        for ask in asks:
            args += (_what(ask), len(ask.counters), *ask.counters)
            if isinstance(ask, Held):
                continue
            stretches = [each for part in ask.parts for each in _stretches(account, part)]
            args.append(len(stretches))
            for key, first, last in stretches:
                if key not in numbers:
                    names.append(key)
                    numbers[key] = len(numbers) + 1
                args += (numbers[key], first, last)
        with told("history"):
            reply = await self._client.eval(HISTORY.source, len(names), *names, *args)
        if reply[0] == b"damaged":
            what = f"history of {account}: {reply[1].decode()} cannot be read"
            raise StoreError(STORE_UNAVAILABLE, what, transient=False)
        return tuple(_found(ask, out) for ask, out in zip(asks, reply[1:], strict=True))

    async def sums(
        self, account: str, counters: Sequence[str], parts: Sequence[Part]
    ) -> tuple[int, ...]:
        """As `Sums`, of any number of counters; in more than one step if they are many."""
        each = max(1, sum(len(span.buckets(grain)) for span, grain in parts))
        some = max(1, ROWS_MAX // each)
        found: list[int] = []
        for start in range(0, len(counters), some):
            ask = Sums(tuple(counters[start : start + some]), tuple(parts))
            (sums,) = await self.read(account, ask)
            found += sums
        return tuple(found)


def _what(ask: Ask) -> str:
    match ask:
        case Sums():
            return "sums"
        case Rows():
            return "rows"
        case Held():
            return "held"


def _found(ask: Ask, out: list[Any]) -> Found:
    if not isinstance(ask, Rows):
        return tuple(map(int, out))
    each = len(out) // max(1, len(ask.counters))
    return tuple(
        tuple(row for stretch in out[n * each : (n + 1) * each] for row in stretch)
        for n in range(len(ask.counters))
    )


def _stretches(account: str, part: Part) -> Iterator[tuple[bytes, int, int]]:
    """A part hash by hash: the first and the last bucket of each."""
    keys = keys_of(account)
    span, grain = part
    starts = span.buckets(grain)
    at = 0
    while at < len(starts):
        instant = _EPOCH + timedelta(milliseconds=starts[at])
        if grain is Grain.HOUR:
            key, first, last = keys.hours(f"{instant:%Y%m%d}"), instant.hour, 23
        else:
            last = calendar.monthrange(instant.year, instant.month)[1]
            key, first = keys.days(f"{instant:%Y%m}"), instant.day
        last = min(last, first + len(starts) - at - 1)
        yield key, first, last
        at += last - first + 1
