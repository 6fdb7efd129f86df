"""Pending: settlements of one account that the store has not taken, and who has to wait for them.

What is about the same asset, or the same reservation, keeps its order. All else waits only as long
as the store does not answer: else a busy account would never have done with its queue. What other
gateways settle meanwhile waits for nobody, so each tells the store its age.
"""

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

from gateway.clock import wall_ms
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
    after_ms: int = 0
    """When the store had taken what it had to wait for."""

    def age_ms(self, now_ms: int) -> int:
        """How late it comes, which it does. Not older than what it waited for: that may have aged
        more on its way to the store than it said."""
        return max(1, now_ms - max(self.settlement.at_ms, self.after_ms))


class Queue:
    """What an account has pending. `answers`: the store has taken the last one it was asked to."""

    __slots__ = ("_names", "_taken_ms", "answers", "draining", "waiting", "writing")

    def __init__(self) -> None:
        self.waiting: deque[Pending] = deque()
        self.writing = 0
        """How many are on their way into it."""
        self.answers = False
        self.draining = False
        self._names: Counter[str] = Counter()
        self._taken_ms: dict[str, int] = {}
        """Of names that more is waiting of."""

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
            pending.after_ms = max((self._taken_ms.get(name, 0) for name in names), default=0)
            found.append(pending)
        return found

    def taken(self, count: int) -> None:
        """The store has so many of the first ones."""
        self.answers = True
        now_ms = wall_ms()
        for _ in range(count):
            for name in _names(self.waiting.popleft().settlement):
                self._names[name] -= 1
                self._taken_ms[name] = now_ms
                if not self._names[name]:
                    del self._names[name], self._taken_ms[name]

    @property
    def is_done(self) -> bool:
        return not (self.waiting or self.writing)


def _names(settlement: Settlement) -> tuple[str, ...]:
    """What of the same name keeps its order."""
    return tuple(name for name in (settlement.id, settlement.asset) if name)
