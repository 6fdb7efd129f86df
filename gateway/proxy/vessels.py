"""Vessels: what holds bytes on their way from one socket to another, and the pool of them.

A pipe holds them inside the kernel, a buffer in user space where no pipe can be had or used.

The rule: a vessel is borrowed for one turn and comes back empty. Only a flow whose target is slow
keeps what it has taken: in its pipe, of which there are few (a user may have 64 MiB of pipes), or
as a rest of its own, which is small once many flows have one.
"""

import errno
import fcntl
import os
import socket
import sys
from contextlib import suppress

from gateway.clock import monotonic_s
from gateway.proxy.poller import Poller, poller

PIPE_BYTES = 1024 * 1024
PIPE_BYTES_MIN = 64 * 1024
"""A user who has too many pipes gets them smaller than this; then a buffer does better."""
PIPES_MAX = 48
"""Of all workers together, those that flows keep included: fewer than one user may have."""
AGAIN_S = 1.0
"""How long after none could be had another is asked for."""
PIPES_IDLE_MAX = 4
BUFFER_BYTES = 1024 * 1024
BUFFERS_HELD_MAX = 4
"""Flows that may hold a whole buffer while they wait for what answers soon."""
RESTS_BYTES_MAX = 16 * 1024 * 1024
"""When flows keep more than this in user space, each takes no more than `RATION` at a time."""
RATION = 32 * 1024

UNSPLICEABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP})
"""How a kernel, or the sandbox around it, says that it does not splice what it was given."""


# Both kinds: `held` bytes are in it. `fill` takes what there is, at most `most`, and says 0 at the
# end of the source; `empty` puts in what there is room for (`more`: further bytes follow at once).
# Either raises BlockingIOError and other OSErrors, and has moved nothing then.


class Pipe:
    __slots__ = ("_reader", "_writer", "held", "size")

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # it stays as it is
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.size: int = fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)
        self.held = 0

    def fill(self, source: socket.socket, most: int) -> int:
        count = os.splice(
            source.fileno(),
            self._writer,
            min(most, self.size),
            flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
        )
        self.held += count
        return count

    def empty(self, target: socket.socket, *, more: bool) -> int:
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        if more:
            flags |= os.SPLICE_F_MORE
        count = os.splice(self._reader, target.fileno(), self.held, flags=flags)
        self.held -= count
        return count

    def poured_out(self) -> bytes:
        """What it holds, out of it."""
        pieces = []
        while self.held:
            pieces.append(os.read(self._reader, self.held))
            self.held -= len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Buffer:
    """In user space. `kept` is the size of one that holds the rest of a single flow."""

    __slots__ = ("_memory", "_start", "held", "kept")

    def __init__(self, memory: bytearray | bytes, kept: int = 0) -> None:
        self._memory = memoryview(memory)
        self._start = 0
        self.held = self.kept = kept

    def fill(self, source: socket.socket, most: int) -> int:
        self._start = 0
        self.held = source.recv_into(self._memory[:most])
        return self.held

    def empty(self, target: socket.socket, *, more: bool) -> int:
        count = target.send(self.contents)
        self._start += count
        self.held -= count
        return count

    @property
    def contents(self) -> memoryview:
        return self._memory[self._start : self._start + self.held]


def _new_pipe() -> Pipe | None:
    try:
        pipe = Pipe()
    except OSError:
        return None
    if pipe.size < PIPE_BYTES_MIN:
        pipe.close()
        return None
    return pipe


class Vessels:
    """Of one event loop. `splice` False: no pipes. `buffers`: how many flows have borrowed.
    `rests`: bytes that they keep in user space."""

    def __init__(self, *, splice: bool = True, workers: int = 1) -> None:
        self._splices = splice and sys.platform == "linux" and hasattr(os, "splice")
        self._idle: list[Pipe] = []
        self._pipes = 0
        self._pipes_max = max(2, PIPES_MAX // workers)
        self._again_s = 0.0
        self._idle_buffers: list[Buffer] = []
        self.buffers = 0
        self._poller: Poller | None = None
        self.rests = 0

    @property
    def poller(self) -> Poller:
        """Of the flows that use these vessels."""
        if self._poller is None:
            self._poller = poller()
        return self._poller

    @property
    def pipes(self) -> int:
        """All that are open."""
        return self._pipes

    @property
    def most(self) -> int:
        """What a flow may take at a time into user space."""
        return BUFFER_BYTES if self.rests < RESTS_BYTES_MAX else RATION

    def pipe(self) -> Pipe | None:
        """None: there are too many, or none can be had."""
        if self._idle:
            return self._idle.pop()
        if not self._splices or self._pipes >= self._pipes_max:
            return None
        if self._again_s and monotonic_s() < self._again_s:
            return None
        pipe = _new_pipe()
        if pipe is None:
            self._again_s = monotonic_s() + AGAIN_S
        else:
            self._pipes += 1
        return pipe

    def buffer(self) -> Buffer:
        """The buffer that all flows share: give it back, or `keep` its rest, before anything else
        runs; or else ask whether there are `enough`."""
        self.buffers += 1
        return self._idle_buffers.pop() if self._idle_buffers else Buffer(bytearray(BUFFER_BYTES))

    @property
    def enough(self) -> bool:
        """Whoever has borrowed a buffer may hold it for a moment, and need not copy its rest."""
        return self.buffers <= BUFFERS_HELD_MAX

    def keep(self, vessel: Pipe | Buffer) -> Pipe | Buffer:
        """What a flow holds that has to wait, in a vessel of its own."""
        if isinstance(vessel, Pipe) or vessel.kept:
            return vessel
        rest = self.rest(bytes(vessel.contents))
        self.give_back(vessel)
        return rest

    def rest(self, contents: bytes) -> Buffer:
        """A vessel of its own for these bytes."""
        self.rests += len(contents)
        return Buffer(contents, len(contents))

    def give_back(self, vessel: Pipe | Buffer) -> None:
        """With all that is still in it, which is lost."""
        if isinstance(vessel, Buffer):
            if vessel.kept:
                self.rests -= vessel.kept
            else:
                vessel.held = 0
                self.buffers -= 1
                if len(self._idle_buffers) < BUFFERS_HELD_MAX:
                    self._idle_buffers.append(vessel)
        elif vessel.held or len(self._idle) >= PIPES_IDLE_MAX:
            vessel.close()
            self._pipes -= 1
        else:
            self._idle.append(vessel)

    def close(self) -> None:
        """Close what nobody has borrowed."""
        while self._idle:
            self._idle.pop().close()
            self._pipes -= 1
        if self._poller is not None:
            self._poller.close()
            self._poller = None
