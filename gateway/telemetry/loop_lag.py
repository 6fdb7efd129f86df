"""Loop lag: how late the event loop runs a timer, which is how long everything else waits."""

import asyncio

from gateway.clock import monotonic_s
from gateway.telemetry.instruments import Spread

INTERVAL_S = 0.5


class LoopLag:
    """Observes into `spread` from `start` until `stop`; belongs to the running loop."""

    def __init__(self, spread: Spread, interval_s: float = INTERVAL_S) -> None:
        self._spread = spread
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due_s = monotonic_s() + self._interval_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_s, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._spread.observe(max(0.0, monotonic_s() - self._due_s))
        self.start()
