"""The writer: a thread that writes log lines in batches, so that no slow log stops a request.

Lines wait in memory, at most `pending_max` bytes; beyond that they are dropped, counted, and the
number is logged once there is room again. Start it after any fork. Several processes that write to
one stream take turns by a lock, so that each line arrives whole however long it is.
"""

import fcntl
import threading
from collections.abc import Callable
from typing import BinaryIO

BATCH_S = 0.1
PENDING_MAX = 8 * 1024 * 1024


class Writer:
    def __init__(
        self,
        stream: BinaryIO,
        *,
        pending_max: int = PENDING_MAX,
        dropped_line: Callable[[int], bytes] = lambda count: b"%d log lines dropped\n" % count,
        turns: int | None = None,
    ) -> None:
        """`turns`: descriptor of a file that all processes which write to the stream lock."""
        self._turns = turns
        self._stream = stream
        self._pending_max = pending_max
        self._dropped_line = dropped_line
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._pending = 0
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line, newline included. Never blocks, never raises."""
        with self._lock:
            if self._pending + len(line) > self._pending_max:
                self._dropped += 1
                return
            first = not self._lines
            self._lines.append(line)
            self._pending += len(line)
        if first:
            self._wake.set()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is pending and stop; idempotent. A stuck stream is given up on."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(BATCH_S)
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            self._pending = 0
        if dropped:
            lines.append(self._dropped_line(dropped))
        if not lines:
            return
        try:
            if self._turns is not None:
                fcntl.lockf(self._turns, fcntl.LOCK_EX)
            try:
                self._stream.write(b"".join(lines))
                self._stream.flush()
            finally:
                if self._turns is not None:
                    fcntl.lockf(self._turns, fcntl.LOCK_UN)
        except (OSError, ValueError):
            # The stream is closed or broken: there is nowhere left to say so.
            with self._lock:
                self._dropped += len(lines)
