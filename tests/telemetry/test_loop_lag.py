"""Loop lag is what a blocked event loop shows."""

import asyncio

from gateway.clock import monotonic_s
from gateway.telemetry.instruments import Spread
from gateway.telemetry.loop_lag import LoopLag


class Observed(Spread):
    """Tells when something was observed, so that a test can wait for it."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__((0.02,))
        self.seen = asyncio.Event()

    def observe(self, value: float) -> None:
        super().observe(value)
        self.seen.set()


async def test_a_blocked_loop_is_seen() -> None:
    """failure row 11: the loop-lag metric shows that the loop stood still."""
    spread = Observed()
    lag = LoopLag(spread, interval_s=0.01)
    lag.start()
    until_s = monotonic_s() + 0.08
    while monotonic_s() < until_s:
        pass
    await asyncio.wait_for(spread.seen.wait(), 5)
    lag.stop()
    assert spread.counts[1] >= 1
    assert spread.total >= 0.05


async def test_it_goes_on_until_it_is_stopped() -> None:
    spread = Observed()
    lag = LoopLag(spread, interval_s=0.001)
    lag.start()
    for _ in range(3):
        await asyncio.wait_for(spread.seen.wait(), 5)
        spread.seen.clear()
    lag.stop()
    lag.stop()
    observed = sum(spread.counts)
    assert observed >= 3
    await asyncio.sleep(0)
    assert sum(spread.counts) == observed
