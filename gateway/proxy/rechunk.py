"""Rechunk: moves a chunked body from one socket to another, in turns, as chunks of our own.

    source readable → fill the buffer → find the data → (cover) → put it as one chunk → …
                                          target full → keep the rest → wait for the target → …

The rule: nothing of the framing that came goes on, and of the data only what was covered; what was
taken but not put is known to the byte (`lost`). What is read behind the body's end is with the
scanner. Both sockets are non-blocking and belong to nobody else meanwhile.
"""

import asyncio
import socket
from collections.abc import Sequence

from gateway.clock import monotonic_s
from gateway.proxy.chunks import ChunkScanner
from gateway.proxy.eagerness import Patience
from gateway.proxy.pacing import unpace
from gateway.proxy.splice import Follower, SourceError, TargetError
from gateway.proxy.vessels import Buffer, Vessels
from gateway.proxy.wait import Wait

SPANS_MAX = 256
"""More pieces than these are joined before they are sent: one call takes no more than 1024."""
FINE_BYTES = 64 * 1024
"""What is taken at a time of a body whose chunks are small, each of which has to be found."""

Piece = bytes | memoryview


class Parcel:
    """What is on its way to the target: `data` bytes of the body in `pieces`, not put yet."""

    __slots__ = ("_ahead", "_pieces", "_size", "data")

    def __init__(self, spans: Sequence[memoryview], data: int) -> None:
        self._pieces: list[Piece] = [*spans] if len(spans) <= SPANS_MAX else [b"".join(spans)]
        self._size = self.data = data
        self._ahead = 0

    def frame(self) -> None:
        """Make one chunk of it."""
        head = b"%x\r\n" % self.data
        self._pieces = [head, *self._pieces, b"\r\n"]
        self._ahead = len(head)
        self._size += self._ahead + 2

    @property
    def over(self) -> bool:
        return self._size == 0

    def put(self, target: socket.socket) -> int:
        """Bytes of data that the target has taken now."""
        count = target.sendmsg(self._pieces)
        self._size -= count
        framing = min(count, self._ahead)
        self._ahead -= framing
        data = min(count - framing, self.data)
        self.data -= data
        if self._size:
            self._drop(count)
        return data

    def rest(self) -> bytes:
        """A copy of what was not put."""
        return b"".join(self._pieces)

    def is_in(self, memory: memoryview) -> None:
        """All of it is here now."""
        self._pieces = [memory]

    def _drop(self, count: int) -> None:
        pieces = iter(self._pieces)
        for piece in pieces:
            if count < len(piece):
                self._pieces = [memoryview(piece)[count:], *pieces]
                return
            count -= len(piece)


class Rechunk:
    """One flow, `run` once. `to_chunks`: the target gets chunks; else the bare data."""

    __slots__ = (
        "_buffer",
        "_fine",
        "_follower",
        "_loop",
        "_parcel",
        "_patience",
        "_poller",
        "_scanner",
        "_source",
        "_target",
        "_to_chunks",
        "_vessels",
        "_wait",
        "_watching",
    )

    def __init__(
        self,
        vessels: Vessels,
        source: socket.socket,
        target: socket.socket,
        scanner: ChunkScanner,
        follower: Follower,
        *,
        to_chunks: bool = True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._vessels = vessels
        self._poller = vessels.poller
        self._source = source
        self._target = target
        self._scanner = scanner
        self._follower = follower
        self._wait = Wait(self._loop)
        self._watching = False
        self._buffer: Buffer | None = None
        self._parcel: Parcel | None = None
        self._fine = False
        self._patience = Patience(source, monotonic_s())
        self._to_chunks = to_chunks
        unpace(target)

    @property
    def lost(self) -> int:
        """Bytes of data that were taken and are not put."""
        return 0 if self._parcel is None else self._parcel.data

    async def run(self, *, source_s: float | None, target_s: float | None) -> None:
        """Return when all is moved but the end of the chunks. Raises MalformedChunksError,
        SourceError, TargetError, what `cover` raises, and TimeoutError when the source has given
        nothing, or the target taken nothing, for so long (None: however long)."""
        try:
            while not self._scanner.ended:
                await self._readable(source_s)
                self._parcel = self._taken()
                if self._parcel is not None:
                    await self._pass_on(self._parcel, target_s)
                    self._parcel = None
                self._give_back()
        finally:
            self._unwatch()
            self._give_back()
            self._patience.stop()
            self._wait.close()

    def _taken(self) -> Parcel | None:
        """The data of what there is."""
        buffer = self._buffer = self._vessels.buffer()
        most = FINE_BYTES if self._fine else self._vessels.most
        try:
            count = buffer.fill(self._source, most)
        except BlockingIOError:
            return None
        except OSError as failure:
            raise SourceError(str(failure)) from failure
        self._patience.took(count, monotonic_s())
        if count == 0:
            raise SourceError("ended early")
        spans = self._scanner.feed(buffer.contents)
        self._fine = len(spans) > SPANS_MAX
        data = sum(map(len, spans))
        return Parcel(spans, data) if data else None

    async def _pass_on(self, parcel: Parcel, target_s: float | None) -> None:
        if self._follower.covers:
            await self._covered(parcel)
        if self._to_chunks:
            parcel.frame()
        while not parcel.over:
            self._put(parcel)
            if not parcel.over:
                await self._writable(parcel, target_s)

    async def _covered(self, parcel: Parcel) -> None:
        """Mostly that does not wait, and not for long if it does: the bytes stay where they are,
        unless too many are waited for."""
        waits = self._loop.call_soon(self._hold, parcel)
        try:
            await self._follower.cover(parcel.data)
        finally:
            waits.cancel()

    def _hold(self, parcel: Parcel) -> None:
        if self._vessels.enough:
            self._unwatch()
        else:
            self._keep(parcel)

    def _put(self, parcel: Parcel) -> None:
        try:
            count = parcel.put(self._target)
        except BlockingIOError:
            return
        except OSError as failure:
            raise TargetError(failure) from failure
        self._follower.moved(count)

    # -- waiting ----------------------------------------------------------------------------------

    async def _readable(self, within_s: float | None) -> None:
        if not self._watching:
            self._watching = True
            self._poller.until_readable(self._source.fileno(), self._wait.wake)
        if not await self._has_patience():
            await self._wait.until_woken(within_s)

    async def _has_patience(self) -> bool:
        """Whether there was enough in time for the flow to stay a fast one."""
        if self._patience.wait_s is None:
            return False
        try:
            await self._wait.until_woken(self._patience.wait_s)
        except TimeoutError:
            self._patience.stop()
            return False
        return True

    async def _writable(self, parcel: Parcel, within_s: float | None) -> None:
        self._keep(parcel)
        self._follower.stalls()
        self._poller.until_writable(self._target.fileno(), self._wait.wake)
        try:
            await self._wait.until_woken(within_s)
        finally:
            self._poller.forget(self._target.fileno())
            self._follower.flows()

    def _keep(self, parcel: Parcel) -> None:
        """Others have their turn: the buffer is theirs, and the source has to wait."""
        self._unwatch()
        if self._buffer is not None and not self._buffer.kept:
            rest = self._vessels.rest(parcel.rest())
            self._give_back()
            self._buffer = rest
            parcel.is_in(rest.contents)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._poller.forget(self._source.fileno())

    def _give_back(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._vessels.give_back(buffer)
