"""The only place that reads a clock.

Production decisions about leases and periods use Redis TIME inside the scripts; this clock only
estimates it (to choose the period boundaries passed along) and measures durations.
"""

import time
from dataclasses import dataclass

MS_PER_S = 1_000


def wall_ms() -> int:
    """Milliseconds since the Unix epoch by this machine's clock."""
    return time.time_ns() // 1_000_000


monotonic_s = time.monotonic
"""Seconds on a clock that never steps, for durations and deadlines."""


class StoreClock:
    """Estimate of Redis TIME: a clock that never steps, and the offset last learned from the store.

    The offset is learned before the gateway serves, and again every second; so the estimate chooses
    the right period, whatever this machine's own clock says or does (failure row 47). What an
    account's books say is no news of the store's clock: they may be ahead of it.
    """

    __slots__ = ("_offset_ms",)

    def __init__(self) -> None:
        self.learn(wall_ms())

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000 + self._offset_ms

    def learn(self, store_now_ms: int) -> None:
        self._offset_ms = store_now_ms - time.monotonic_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Turns:
    """The rounds of a duty that the `count` workers of one machine share: each has every count-th,
    so together they make as many as one process alone would, whichever of them live.

    They agree without a word, by the machine's own clock.
    """

    index: int = 0
    count: int = 1

    def wait_s(self, round_s: float) -> float:
        """How long to wait for the next round of one's own."""
        if self.count == 1:
            return round_s
        cycle_s = round_s * self.count
        return cycle_s - (monotonic_s() - self.index * round_s) % cycle_s


ALONE = Turns()
