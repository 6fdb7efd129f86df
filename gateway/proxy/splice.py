"""Splice: moves a known number of bytes from one socket to another, in turns.

    source readable → fill a vessel → (cover) → empty it → …          one turn, at most a pipe full
                                   target full → wait for the target → empty the rest → …

The rule: not a byte beyond `left` is taken from the source, and what was taken but not put is known
to the byte (`lost`). The loop runs everything else between two turns. Both sockets are non-blocking
and belong to nobody else meanwhile (a dup of a transport's socket is its own for the loop).
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.clock import monotonic_s
from gateway.proxy.eagerness import Eagerness
from gateway.proxy.pacing import unpace
from gateway.proxy.vessels import PIPE_BYTES, UNSPLICEABLE, Buffer, Pipe, Vessels


class SourceError(Exception):
    """The source has ended, or broken, before all was taken."""


class TargetError(Exception):
    """The target takes no more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Follower(Protocol):
    """Hears of a flow while it runs."""

    @property
    def covers(self) -> bool:
        """Whether `cover` is to be asked."""
        ...

    async def cover(self, count: int) -> None:
        """So many bytes were taken; raises to stop them here."""
        ...

    def moved(self, count: int) -> None:
        """So many have been put into the target."""
        ...

    def stalls(self) -> None:
        """The target takes no more for now."""
        ...

    def flows(self) -> None:
        """It takes more."""
        ...


def lent(transport: asyncio.Transport) -> socket.socket | None:
    """A transport's socket, to be read or written past it and then closed; None where that cannot
    be: its bytes are encrypted, or no more files can be opened."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return None
    try:
        dup = socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:
        return None
    dup.setblocking(False)
    return dup


class Splice:
    """One flow, `run` once. `left`: bytes not taken yet. `lost`: taken, and by its end not put."""

    __slots__ = (
        "_active_s",
        "_ahead",
        "_eager",
        "_failure",
        "_follower",
        "_loop",
        "_over",
        "_pipes",
        "_poller",
        "_source",
        "_source_fd",
        "_source_s",
        "_stalled",
        "_target",
        "_target_fd",
        "_target_s",
        "_then",
        "_timer",
        "_turn",
        "_vessel",
        "_vessels",
        "left",
        "lost",
    )

    def __init__(
        self,
        vessels: Vessels,
        source: socket.socket,
        target: socket.socket,
        left: int,
        follower: Follower,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._vessels = vessels
        self._poller = vessels.poller
        self._source, self._source_fd = source, source.fileno()
        self._target, self._target_fd = target, target.fileno()
        self._follower = follower
        self._vessel: Pipe | Buffer | None = None
        self._ahead: Buffer | None = None
        self._pipes = True
        self._stalled = False
        self._over = False
        self._failure: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._source_s: float | None = None
        self._target_s: float | None = None
        self._turn: asyncio.Future[None] | None = None
        self._then: Callable[[Exception | None], None] | None = None
        self._active_s = monotonic_s()
        self._eager = Eagerness(source, self._active_s)
        unpace(target)
        self.left = left
        self.lost = 0

    async def run(self, *, source_s: float | None, target_s: float | None) -> None:
        """Return when all is moved. Raises SourceError, TargetError, what `cover` raises, and
        TimeoutError when the source has given nothing, or the target taken nothing, for so long
        (None: however long)."""
        self._source_s, self._target_s = source_s, target_s
        self._poller.until_readable(self._source_fd, self._readable)
        self._look()
        try:
            while not self._over:
                self._turn = self._loop.create_future()
                await self._turn
                if self._vessel is not None and not self._stalled and not self._over:
                    await self._follower.cover(self._vessel.held)
                    self._active_s = monotonic_s()
                    self._put(self._vessel)
            if self._failure is not None:
                raise self._failure
        finally:
            self._end()

    def start(
        self,
        then: Callable[[Exception | None], None],
        ahead: Sequence[bytes | memoryview],
        *,
        source_s: float | None,
        target_s: float | None,
    ) -> None:
        """As `run`, of a flow that nobody covers, for who waits for nothing: `then` is told at its
        end what `run` would have raised, or None, unless it was stopped. `ahead` is put first, and
        nobody hears of that."""
        assert not self._follower.covers
        self._source_s, self._target_s, self._then = source_s, target_s, then
        self._guarded(self._begin, ahead)

    def stop(self) -> None:
        """Move no more."""
        self._then = None
        self._end()

    def _begin(self, ahead: Sequence[bytes | memoryview]) -> None:
        try:
            count = self._target.sendmsg(ahead)
        except BlockingIOError:
            count = 0
        except OSError as failure:
            raise TargetError(failure) from failure
        if count < sum(map(len, ahead)):
            self._ahead = self._vessels.rest(b"".join(ahead)[count:])
            self._stall(self._ahead)
            return
        self._take()  # What has come by now costs no look at the poller.
        if not (self._over or self._stalled):
            self._poller.until_readable(self._source_fd, self._readable)
            self._look()

    # -- called by the loop -----------------------------------------------------------------------

    def _readable(self) -> None:
        self._guarded(self._take)

    def _writable(self) -> None:
        assert self._vessel is not None
        self._guarded(self._put, self._vessel)

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except Exception as failure:  # whoever runs this flow hears of it, not the loop
            self._finish(failure)

    def _look(self) -> None:
        """Whether the side that has to move has done so in time. One timer, and none while nobody
        has to: a slow client is not this flow's business."""
        self._timer = None
        limit_s = self._target_s if self._stalled else self._source_s
        if limit_s is None or self._over:
            return
        left_s = self._active_s + limit_s - monotonic_s()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif self._vessel is not None and not self._stalled:
            self._timer = self._loop.call_later(limit_s, self._look)  # it is being covered
        else:
            self._finish(TimeoutError())

    # -- one turn ---------------------------------------------------------------------------------

    def _take(self) -> None:
        pipe = self._vessels.pipe() if self._pipes else None
        vessel = self._vessel = pipe or self._vessels.buffer()
        most = PIPE_BYTES if pipe is not None else self._vessels.most
        try:
            count = vessel.fill(self._source, min(self.left, most))
        except BlockingIOError:
            self._give_back(vessel)
            return
        except OSError as failure:
            self._give_back(vessel)
            if pipe is not None and failure.errno in UNSPLICEABLE:
                self._pipes = False
                return
            raise SourceError(str(failure)) from failure
        if count == 0:
            self._give_back(vessel)
            raise SourceError("ended early")
        self.left -= count
        self._active_s = monotonic_s()
        self._eager.took(count, self.left, self._active_s)
        if self._follower.covers:
            self._vessel = self._vessels.keep(vessel)
            self._poller.forget(self._source_fd)
            self._wake()
        else:
            self._put(vessel)

    def _put(self, vessel: Pipe | Buffer) -> None:
        try:
            count = vessel.empty(self._target, more=self.left > 0 and self._eager.on)
        except BlockingIOError:
            count = 0
        except OSError as failure:
            if isinstance(vessel, Pipe) and failure.errno in UNSPLICEABLE:
                self._put(self._poured(vessel))
                return
            raise TargetError(failure) from failure
        if count:
            self._active_s = monotonic_s()
            if vessel is not self._ahead:
                self._follower.moved(count)
        if vessel.held:
            self._stall(vessel)
            return
        self._give_back(vessel)
        waited = self._stalled
        self._flow()
        if self.left == 0:
            self._finish(None)
        elif waited or self._follower.covers:
            self._poller.until_readable(self._source_fd, self._readable)

    def _stall(self, vessel: Pipe | Buffer) -> None:
        if not self._stalled:
            self._stalled = True
            self._vessel = self._vessels.keep(vessel)
            self._poller.forget(self._source_fd)
            self._poller.until_writable(self._target_fd, self._writable)
            self._active_s = monotonic_s()
            self._follower.stalls()
            if self._timer is None:
                self._look()

    def _flow(self) -> None:
        if self._stalled:
            self._stalled = False
            self._poller.forget(self._target_fd)
            self._follower.flows()
            if self._timer is None:
                self._look()

    def _poured(self, pipe: Pipe) -> Buffer:
        """The kernel took these bytes into a pipe and does not take them out of it."""
        self._pipes = False
        rest = self._vessel = self._vessels.rest(pipe.poured_out())
        self._vessels.give_back(pipe)
        return rest

    def _give_back(self, vessel: Pipe | Buffer) -> None:
        self._vessel = None
        self._vessels.give_back(vessel)

    # -- the end ----------------------------------------------------------------------------------

    def _finish(self, failure: Exception | None) -> None:
        self._over = True
        self._failure = failure
        self._poller.forget(self._source_fd)
        self._poller.forget(self._target_fd)
        self._wake()
        then, self._then = self._then, None
        if then is not None:
            self._end()
            then(failure)

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _end(self) -> None:
        self._poller.forget(self._source_fd)
        self._over = True
        self._flow()
        self._eager.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._vessel is not None:
            self.lost = 0 if self._vessel is self._ahead else self._vessel.held
            self._give_back(self._vessel)
