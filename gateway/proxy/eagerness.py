"""Eagerness: a socket that delivers fast wakes us once it has a good deal, not for every segment.

SO_RCVLOWAT does that, and holds back what lies below the mark for as long as no more comes: so the
mark is set only while a flow is fast, a timer looks whether it still is, and it never is higher
than what is left to come. It is taken off before anybody else reads from the socket.
"""

import asyncio
import socket
from contextlib import suppress

MARK_BYTES = 512 * 1024
FAST_BYTES = 1024 * 1024
LOOK_S = 0.1
"""A MiB in so little time makes a flow a fast one; a quarter of that keeps it one."""
WAIT_S_MIN = 0.002
"""A loop's timers know no less than milliseconds."""


class Eagerness:
    """Of one flow whose length is known. `on`: it is a fast one."""

    __slots__ = ("_began_s", "_bytes", "_mark", "_socket", "_timer", "on")

    def __init__(self, source: socket.socket, now_s: float) -> None:
        self._socket = source
        self._bytes = 0
        self._began_s = now_s
        self._mark = 1
        self._timer: asyncio.TimerHandle | None = None
        self.on = False

    def took(self, count: int, left: int, now_s: float) -> None:
        """So much came at this moment, and `left` is to come."""
        self._bytes += count
        if self.on:
            if left < self._mark:
                self._set(left)
        elif self._bytes >= FAST_BYTES:
            if now_s - self._began_s <= LOOK_S and left >= FAST_BYTES:
                self._begin()
            self._bytes = 0
            self._began_s = now_s

    def stop(self) -> None:
        self.on = False
        self._set(1)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        # A unix socket takes the option and does not heed it.
        self.on = True
        self._set(MARK_BYTES)
        self._look_later()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._bytes < FAST_BYTES / 4:
            self.stop()
        else:
            self._bytes = 0
            self._look_later()

    def _set(self, mark: int) -> None:
        mark = max(mark, 1)
        if mark != self._mark:
            self._mark = mark
            set_mark(self._socket, mark)


class Patience:
    """Of one flow whose length is not known: what lies below the mark may be all that is left of
    it. So it waits for the mark no longer than it takes a flow that goes on as it did: `wait_s`, or
    None where no mark is set. Whoever has waited for so long in vain calls `stop`."""

    __slots__ = ("_began_s", "_bytes", "_socket", "wait_s")

    def __init__(self, source: socket.socket, now_s: float) -> None:
        self._socket = source
        self._bytes = 0
        self._began_s = now_s
        self.wait_s: float | None = None

    def took(self, count: int, now_s: float) -> None:
        """So much came at this moment."""
        self._bytes += count
        if self._bytes < FAST_BYTES:
            return
        lasted_s = now_s - self._began_s
        if lasted_s > LOOK_S:
            self.stop()
        else:
            if self.wait_s is None:
                set_mark(self._socket, MARK_BYTES)
            self.wait_s = max(lasted_s, WAIT_S_MIN)
        self._bytes = 0
        self._began_s = now_s

    def stop(self) -> None:
        if self.wait_s is not None:
            self.wait_s = None
            set_mark(self._socket, 1)


def set_mark(sock: socket.socket, mark: int) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
