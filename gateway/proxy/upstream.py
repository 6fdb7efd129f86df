"""One connection to an upstream: sends a request, reads its answer, and can be used again.

The rule: a connection carries another request only if the last one was sent whole, its answer
ended properly, both sides keep the connection, and not a byte came that nobody had asked for.
In every other case it is closed, and where something broke, in a way that no upstream can take
for a proper end. There is no Task and no timer per read; whoever waits, waits on a `Wait`.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from gateway.errors import (
    UPSTREAM_FAILED,
    UPSTREAM_MALFORMED,
    UPSTREAM_TIMEOUT,
    ClientGoneError,
    Error,
    UpstreamError,
)
from gateway.proxy.answer import AnswerHead, AnswerReader, Headers, TruncatedAnswerError
from gateway.proxy.answer_framing import MalformedAnswerError
from gateway.proxy.chunks import ChunkScanner
from gateway.proxy.pieces import write_pieces
from gateway.proxy.resets import break_off
from gateway.proxy.salvage import left_in
from gateway.proxy.splice import lent
from gateway.proxy.wait import Wait

QUEUE_BYTES_MAX = 128 * 1024
"""Body bytes that may wait here before reading from the upstream pauses."""
WRITE_BYTES_MAX = 64 * 1024
"""Bytes that may wait to be written before `drain` waits."""


class UpstreamConnection(asyncio.Protocol):
    """Owned by one request at a time: `begin`, `send`…, `end`, `head`, `read`…, `release`. `send`
    may overlap with the reading side; two coroutines may not wait for the same thing."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[["UpstreamConnection"], None],
        gone: Callable[["UpstreamConnection"], None],
    ) -> None:
        """`keep` takes the connection back when it can be used again; `gone` hears of its end."""
        self._keep = keep
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader(self._inform)
        self._incoming = Wait(loop)
        self._outgoing = Wait(loop)
        self._failure: tuple[Error, str] | None = None
        self._asked = False
        self._sent_whole = False
        self._received = False
        self._reading_paused = False
        self._writing_paused = False
        self._released = False
        self.reused = False
        self.answered = False
        """The head of the final answer has come, or none will."""
        self.on_answer: Callable[[], None] | None = None
        """Called once, when `answered` becomes true: an upload that still runs may stop there."""
        self.on_informational: Callable[[int, Headers], None] | None = None
        """Hears of every 1xx answer but 100 and 101."""

    @property
    def usable(self) -> bool:
        """Nothing has closed it yet."""
        transport = self._transport
        return self._failure is None and transport is not None and not transport.is_closing()

    # -- sending ----------------------------------------------------------------------------------

    def begin(self, method: bytes, *, upgrade: bool = False) -> None:
        """Start an exchange. `upgrade`: the request asks for another protocol, 101 is in order."""
        self._reader.begin(method, upgrade=upgrade)
        self._asked = False
        self._sent_whole = False
        self._received = False
        self._released = False
        self.answered = False
        self.on_answer = self.on_informational = None

    def send(self, *data: bytes | memoryview) -> None:
        """Write, buffered; what the upstream does not take is held back by `drain`."""
        if self._failure is None and self._transport is not None:
            self._asked = True
            write_pieces(self._transport, data)

    def end(self) -> None:
        """The request has been handed over whole. Without this the connection is not kept."""
        self._sent_whole = True

    @property
    def congested(self) -> bool:
        """The upstream takes less than it is sent, or nothing any more: time to `drain`."""
        return self._writing_paused or self._failure is not None

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait while too much is unsent; returns at once when an answer came before the request's
        end, since nobody will read the rest. Raises UpstreamError."""
        while self._writing_paused and self._failure is None and not self._answered_early:
            try:
                await self._outgoing.until_woken(timeout_s)
            except TimeoutError:
                self._fail(UPSTREAM_TIMEOUT, "the upstream takes no more of the request")
        if self._failure is not None and not self._answered_early:
            raise self._error()

    @property
    def unsent(self) -> int:
        """Bytes that wait here to be written."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def flush(self, timeout_s: float | None = None) -> None:
        """As `drain`, until nothing is left unsent."""
        transport = self._transport
        if transport is not None:
            transport.set_write_buffer_limits(high=0)
        await self.drain(timeout_s)
        if transport is not None and not transport.is_closing():
            transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)

    @property
    def _answered_early(self) -> bool:
        head = self._reader.head
        return head is not None and not head.upgrade and not self._sent_whole

    # -- receiving --------------------------------------------------------------------------------

    async def head(self, timeout_s: float) -> AnswerHead:
        """The head of the final answer; raises UpstreamError."""
        while (head := self._reader.head) is None:
            await self._arrival(timeout_s, "the upstream does not answer")
        return head

    def ask(
        self,
        method: bytes,
        request: Sequence[bytes | memoryview],
        then: Callable[[], None],
        within_s: float,
    ) -> None:
        """Send a whole request; `then` is called once there is some answer, or none will come."""
        self.begin(method)
        self.send(*request)
        self.listen(then, within_s)

    def listen(self, then: Callable[[], None], within_s: float) -> None:
        """The same, of a request that was sent otherwise, and not answered before its end."""
        self._sent_whole = True
        self._incoming.tell(partial(self._woken, then), within_s)

    def _woken(self, then: Callable[[], None], late: bool) -> None:
        if late:
            self._fail(UPSTREAM_TIMEOUT, "the upstream does not answer")
        then()

    @property
    def whole(self) -> AnswerHead | None:
        """The head of an answer of which all has come and nothing else; None: none, or no more."""
        reader = self._reader
        return reader.head if reader.ended and not reader.extra and not self._failure else None

    async def read(self, timeout_s: float | None) -> bytes:
        """The next piece of the body, b"" at its proper end; raises UpstreamError when the answer
        breaks off. After 101: the bytes of the other protocol, b"" when the upstream is done."""
        reader = self._reader
        while not reader.pieces:
            if reader.ended:
                return b""
            await self._arrival(timeout_s, "the upstream's answer has stalled")
        return self.at_hand()

    def at_hand(self) -> bytes:
        """What has come of the body, b"" if nothing has; more of it may come now."""
        if self._reading_paused:
            self._resume_reading()
        return self._reader.take()

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The trailer fields of a chunked answer, once it has ended."""
        return self._reader.trailers

    async def _arrival(self, timeout_s: float | None, late: str) -> None:
        if self._failure is not None:
            raise self._error()
        try:
            await self._incoming.until_woken(timeout_s)
        except TimeoutError:
            self._fail(UPSTREAM_TIMEOUT, late)

    # -- bodies that pass by (splice) -------------------------------------------------------------

    def lend(self, *, reading: bool) -> socket.socket | None:
        """Its socket, for a body to be moved over it; None where that cannot be. `reading`: what
        `left` says is read from it, until `passed_by`. The borrower closes it."""
        sock = None if self._transport is None else lent(self._transport)
        if sock is not None and reading:
            self._pause_reading()
        self._asked = self._asked or sock is not None
        return sock

    @property
    def left(self) -> int:
        """Bytes of the answer's body that have not come and may pass by."""
        return self._reader.left

    def taken(self) -> bytes:
        """What has come of the body, without waiting for more."""
        return self._reader.take()

    def passed_by(self, count: int) -> None:
        """So many bytes of the answer's body were read from its socket."""
        self._reader.pass_by(count)
        self._resume_reading()

    def broke(self, failure: Exception) -> UpstreamError | None:
        """Its socket takes no more of the request. None: it has answered all the same."""
        if self._failure is None:
            self._salvage(failure)
        broken = self.fails(UPSTREAM_FAILED, str(failure))
        return None if self._answered_early else broken

    def fails(self, error: Error, message: str) -> UpstreamError:
        """Break off because of this, if nothing else was wrong before."""
        self._fail(error, message)
        return self._error()

    @property
    def chunks(self) -> ChunkScanner | None:
        """Where the answer's chunked body is, if the rest of it may pass by."""
        return self._reader.chunks

    def chunks_passed_by(self, scanner: ChunkScanner) -> None:
        """All of the answer's body was read from its socket. Raises MalformedAnswerError."""
        self._reader.pass_by_chunks(scanner)
        self._resume_reading()

    # -- ending -----------------------------------------------------------------------------------

    def release(self) -> None:
        """Done with: kept for another request if that is safe, else closed."""
        if self._released:
            return
        self._released = True
        reader = self._reader
        self.on_answer = self.on_informational = None
        if not (reader.ended and self._sent_whole) or self._writing_paused:
            self._break_off()
            return
        if not (reader.keep_alive and self.usable) or reader.extra:
            self.close()
            return
        reader.pieces.clear()
        if self._reading_paused:
            self._resume_reading()
        self._asked = False
        self._received = False
        self._keep(self)

    def abort(self) -> None:
        """Break off: the upstream sees a reset, never a proper end of a request."""
        self._released = True
        self.on_answer = self.on_informational = None
        self._break_off()

    def close(self) -> None:
        """Close a connection that carries no request."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        if not self._asked:
            self._fail(UPSTREAM_MALFORMED, "the upstream spoke before it was asked")
            return
        self._received = True
        reader = self._reader
        try:
            reader.feed(data)
        except MalformedAnswerError as failure:
            self._notice_head()
            self._fail(UPSTREAM_MALFORMED, str(failure))
            return
        self._notice_head()
        if reader.extra and self._transport is not None:
            self._transport.abort()  # Whatever else it sends has no place either.
        if reader.queued > QUEUE_BYTES_MAX and not self._reading_paused:
            self._pause_reading()
        if reader.pieces or reader.ended:
            self._incoming.wake()

    def eof_received(self) -> None:
        if self._asked and self._failure is None:
            try:
                self._reader.eof()
            except TruncatedAnswerError as failure:
                self._fail(UPSTREAM_FAILED, str(failure))
            else:
                self._incoming.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._asked and self._failure is None:
            self._salvage(exc)
        if not (self._asked and self._reader.ended):
            self._fail(UPSTREAM_FAILED, str(exc or "the upstream closed the connection"))
        self._transport = None
        self._incoming.close()
        self._outgoing.close()
        self._gone(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._outgoing.wake()

    # -- inside -----------------------------------------------------------------------------------

    def _notice_head(self) -> None:
        if not self.answered and self._reader.head is not None:
            self._answer()
            self._incoming.wake()

    def _answer(self) -> None:
        self.answered = True
        self._outgoing.wake()
        told, self.on_answer = self.on_answer, None
        if told is not None:
            told()

    def _inform(self, status: int, headers: Headers) -> None:
        if self.on_informational is not None:
            with suppress(ClientGoneError):  # The final answer matters all the same.
                self.on_informational(status, headers)

    def _fail(self, error: Error, message: str) -> None:
        if self._failure is not None:
            return
        self._failure = (error, message)
        self._break_off()
        self._incoming.wake()
        self._outgoing.wake()
        if not self.answered:
            self._answer()

    def _break_off(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._asked and not self._sent_whole:
            break_off(transport)
        else:
            transport.abort()

    def _error(self) -> UpstreamError:
        assert self._failure is not None
        error, message = self._failure
        # Closed, that is: one that is only slow may be doing what it was asked to.
        before = error is not UPSTREAM_TIMEOUT and self.reused and not self._received
        return UpstreamError(error, message, before_bytes=before)

    def _salvage(self, exc: Exception) -> None:
        """Take in what had arrived when a write failed: with EPIPE if the upstream had ended its
        side properly before, else with ECONNRESET."""
        if self._transport is None:
            return
        for data in left_in(self._transport):
            if not data:
                if isinstance(exc, BrokenPipeError):
                    self.eof_received()
                return
            self.data_received(data)
            if self._failure is not None or self._reader.queued > QUEUE_BYTES_MAX:
                return

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
