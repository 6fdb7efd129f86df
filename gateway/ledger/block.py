"""One block, its shares, and where the blocks of an account come from. They only count."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.catalog.meters import MeterKind
from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Granted
from gateway.ledger.packed import counter_word
from gateway.ledger.quota import Quota

SOURCES_MAX = 10_000


class Counted(Protocol):
    value: int


@dataclass(slots=True)
class Given:
    """How many shares were given."""

    value: int = 0


@dataclass(slots=True, eq=False)
class Source:
    """Where shares of some meters come from, under the same terms. `opening`: a block of it is
    being reserved. `dry_until_s`: there was no room for one, so none is asked for before."""

    terms: Terms
    meters: tuple[str, ...]
    block: "Block | None" = None
    opening: bool = False
    dry_until_s: float = 0.0
    _second: int = 0
    _count: int = 0
    _before: int = 0

    def asked(self, now_s: float) -> int:
        """Count a reserve. How many there were in this second, or if more, in the one before: what
        was hot a second ago is so still."""
        second = int(now_s)
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
        self._count += 1
        return self._count if self._count > self._before else self._before

    def may_give(self, amounts: Mapping[str, int]) -> bool:
        """Whether a block has room for it before it has given anything."""
        sizes = self.terms.plan.block
        return all(amount <= sizes[meter] for meter, amount in amounts.items())

    def is_charged(self, meter: str) -> bool:
        return self.terms.meters[meter].kind is not MeterKind.CONCURRENCY


class Sources:
    """The last that were asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[Terms, tuple[str, ...]], Source] = {}

    def of(self, terms: Terms, meters: Sequence[str]) -> Source | None:
        """None: their plan names no block for them."""
        sizes = terms.plan.block
        if not sizes or not meters or terms.plan.rate or not sizes.keys() >= set(meters):
            return None
        name = (terms, tuple(meters))
        source = self._known.get(name)
        if source is None:
            if len(self._known) >= SOURCES_MAX:
                del self._known[next(iter(self._known))]
            source = self._known[name] = Source(*name)
        return source


class Block:
    """`spent`: what was used of its shares, meter → amount. `closed`: there from when it takes no
    share back; set when those that are left stand for themselves."""

    __slots__ = ("_counters", "_settled", "closed", "expired", "free", "id", "leaving", "quotas",
                 "retired", "shares", "source", "spent", "until_s")  # fmt: skip

    def __init__(self, source: Source, granted: Granted, *, since_ms: int, until_s: float) -> None:
        """`since_ms`: from when on what it says of its quotas is true, at the latest."""
        self.source = source
        self.id = granted.id
        self.quotas = granted.quotas
        """As they stood when it was opened."""
        self.free = dict(granted.amounts)
        self.spent = dict.fromkeys(self.free, 0)
        self.shares: dict[str, Mapping[str, int]] = {}
        self.leaving: dict[str, asyncio.Task[StoreError | None]] = {}
        """Shares on their way to be reservations of their own; what became of that."""
        self.until_s = until_s
        self.retired = False
        """It gives nothing any more, but takes back."""
        self.closed: asyncio.Event | None = None
        self.expired = False
        """Its lease ended before its shares were split off: they hold nothing any more."""
        words = [
            (q.meter.name, counter_word(q.used, q.reserved, q.peak or 0, since_ms))
            for q in granted.quotas
        ]
        charged = [word for meter, word in words if source.is_charged(meter)]
        self._counters = [word for _, word in words]
        self._settled = [b"settled", b"0", 0, b"", *charged]

    def has(self, amounts: Mapping[str, int]) -> bool:
        free = self.free
        return all([free[meter] >= amount for meter, amount in amounts.items()])

    def take(self, reservation_id: str, amounts: Mapping[str, int]) -> None:
        """There must be room for it."""
        free = self.free
        for meter, amount in amounts.items():
            free[meter] -= amount
        self.shares[reservation_id] = amounts

    def give_back(self, reservation_id: str, used: Mapping[str, int]) -> None:
        free, spent = self.free, self.spent
        for meter, amount in self.shares.pop(reservation_id).items():
            gone = used.get(meter, 0)
            spent[meter] += gone
            free[meter] += amount - gone

    def takes_back(self, reservation_id: str, used: Mapping[str, int]) -> bool:
        """Whether a share of it, of which that was used, can be settled here."""
        if self.closed is not None or reservation_id in self.leaving:
            return False
        share = self.shares[reservation_id]
        return all([amount <= share.get(meter, -1) for meter, amount in used.items()])

    @property
    def used(self) -> dict[str, int]:
        """What is to be charged of it."""
        return {meter: n for meter, n in self.spent.items() if self.source.is_charged(meter)}

    def quotas_of(self, meters: Mapping[str, int]) -> tuple[Quota, ...]:
        return tuple(quota for quota in self.quotas if quota.meter.name in meters)

    # -- as the scripts tell it --------------------------------------------------------------------

    def granted_reply(self, amounts: Mapping[str, int]) -> list[Any]:
        """For a share; its meters are in the order of its source's."""
        return [*_GRANTED, *[b"%d" % amount for amount in amounts.values()], *self._counters]

    def settled_reply(self) -> list[Any]:
        """For a share that was given back."""
        return self._settled


_GRANTED = (b"granted", b"O", 0, 0, 0, 0)
