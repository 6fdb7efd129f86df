"""File locks between processes: what a process held is free again when it has ended, however.

A lock belongs to the open file, not to the process, so a child that inherits the descriptor goes on
holding it; and two `Lock`s of one process exclude each other like those of two processes.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from gateway.clock import monotonic_s

POLL_S = 0.01


class Lock:
    """One file's lock as this object holds it: not at all, shared, or alone."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def take(self, *, shared: bool = False) -> bool:
        """Hold the lock, unless others are in the way."""
        assert self._descriptor is None
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BaseException as failure:  # Whatever it is, the file is not left open.
            os.close(descriptor)
            if isinstance(failure, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    async def wait(self, within_s: float) -> bool:
        """Hold the lock alone as soon as others let it go."""
        deadline_s = monotonic_s() + within_s
        while not self.take():
            if monotonic_s() >= deadline_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def free(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def hand_over(self) -> int:
        """The descriptor, which is the caller's to close from now on."""
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        return descriptor
