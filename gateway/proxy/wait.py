"""One coroutine or callback waits for one thing, with a deadline that costs no timer per wait.

The timer of an earlier wait is left running; when it fires early it is set again for what is left.
A connection that waits a thousand times within its timeout so sets one timer, not a thousand.
"""

import asyncio
from collections.abc import Callable


class Wait:
    __slots__ = ("_deadline", "_due", "_future", "_loop", "_then", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._then: Callable[[bool], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._due = 0.0

    async def until_woken(self, timeout_s: float | None) -> None:
        """Return at the next `wake`; TimeoutError when `timeout_s` has passed before. None waits
        for as long as it takes."""
        assert self._future is None, "two coroutines wait for the same thing"
        future = self._future = self._loop.create_future()
        self._then = None
        if timeout_s is not None:
            self._expect(timeout_s)
        else:
            self._deadline = float("inf")
        try:
            await future
        finally:
            self._future = None

    def tell(self, then: Callable[[bool], None], timeout_s: float) -> None:
        """Call `then(False)` within the next `wake`, or `then(True)` when `timeout_s` has passed
        before."""
        assert self._future is None, "a coroutine waits for the same thing"
        self._then = then
        self._expect(timeout_s)

    def wake(self) -> None:
        future, then = self._future, self._then
        if future is not None and not future.done():
            future.set_result(None)
        elif then is not None:
            self._then = None
            then(False)

    def close(self) -> None:
        """Wake whoever waits and leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wake()

    def _expect(self, timeout_s: float) -> None:
        self._deadline = self._loop.time() + timeout_s
        if self._timer is None or self._due > self._deadline:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        future, then = self._future, self._then
        if (then is None and (future is None or future.done())) or self._deadline == float("inf"):
            return
        if self._loop.time() < self._deadline:
            self._arm()
        elif then is not None:
            self._then = None
            then(True)
        elif future is not None:
            future.set_exception(TimeoutError())
