"""Pending: settlements of one account that the store has not taken, and who has to wait for them.

What is about the same asset, or the same reservation, keeps its order. All else waits only as long
as the store does not answer: else a busy account would never have done with its queue.
"""

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

from gateway.ledger.frame import Terms
from gateway.proxy.journal import Settlement

ABREAST = 64
"""Settlements of one account that the store is given together once it answers: a loop that has much
else to do comes to each of them in turn but seldom."""


@dataclass(slots=True)
class Pending:
    settlement: Settlement
    terms: Terms | None
    number: int | None
    """In the journal; None if it is not there."""


class Queue:
    """What an account has pending. `answers`: the store has taken the last one it was asked to."""

    __slots__ = ("_names", "answers", "draining", "waiting", "writing")

    def __init__(self) -> None:
        self.waiting: deque[Pending] = deque()
        self.writing = 0
        """How many are on their way into it."""
        self.answers = False
        self.draining = False
        self._names: Counter[str] = Counter()

    def keeps_back(self, settlement: Settlement) -> bool:
        return not self.answers or any(name in self._names for name in _names(settlement))

    def expect(self, settlement: Settlement) -> None:
        self._names.update(_names(settlement))

    def first(self) -> list[Pending]:
        """Those that can be taken together next: no two are about the same."""
        found: list[Pending] = []
        seen: set[str] = set()
        for pending in islice(self.waiting, ABREAST if self.answers else 1):
            names = _names(pending.settlement)
            if not seen.isdisjoint(names):
                break
            seen.update(names)
            found.append(pending)
        return found

    def taken(self, count: int) -> None:
        """The store has so many of the first ones."""
        self.answers = True
        for _ in range(count):
            for name in _names(self.waiting.popleft().settlement):
                self._names[name] -= 1
                if not self._names[name]:
                    del self._names[name]

    @property
    def is_done(self) -> bool:
        return not (self.waiting or self.writing)


def _names(settlement: Settlement) -> tuple[str, ...]:
    """What of the same name keeps its order."""
    return tuple(name for name in (settlement.id, settlement.asset) if name)
