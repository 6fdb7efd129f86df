"""Time as a loop could use it: what the machine gives to other programs in between does not count.

    async with loop_time() as time:
        ...
        assert time.passed_s < 0.4

A bound that is promised in seconds can so be seen to be kept on a machine that is busy. The loop
naps, over and over; a nap counts for as long as it was to be, or as the CPU that the loop's thread
used meanwhile, whichever is more. On an idle machine that is what any other clock shows.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.tasks import TaskSet

NAP_S = 0.005


class LoopTime:
    def __init__(self) -> None:
        self._napped_s = 0.0
        self._used_s = time.thread_time()

    @property
    def passed_s(self) -> float:
        """Since it began; the nap that is just taken counts in full."""
        return self._napped_s + self._nap_s()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(NAP_S)
            self._napped_s += self._nap_s()
            self._used_s = time.thread_time()

    def _nap_s(self) -> float:
        return max(NAP_S, time.thread_time() - self._used_s)


@asynccontextmanager
async def loop_time() -> AsyncIterator[LoopTime]:
    """The loop's time from here on, for as long as the block runs."""
    clock, tasks = LoopTime(), TaskSet()
    tasks.start(clock.run(), name="the loop's time")
    try:
        yield clock
    finally:
        await tasks.stop()
