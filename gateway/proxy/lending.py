"""Lending: a client's connection whose socket is lent out while a body passes by aiohttp's parser.

aiohttp has no way to tell its parser that a body's bytes are taken elsewhere. So when they are, the
parser is replaced by a new one, which begins with what comes behind them; and as such a body may
take hours, all that aiohttp holds and has no use for meanwhile is let go. That touches what is
private to aiohttp, here and nowhere else; `tests/proxy/test_lending.py` tells when it has changed.
"""

import socket
from collections import deque
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from gateway.proxy.chunks import MALFORMED, ChunkScanner, MalformedChunksError, chunked_head
from gateway.proxy.splice import lent

_NOTHING: deque[bytes] = deque(maxlen=0)
"""Of bodies to which nothing is added any more: an empty deque is larger than most requests."""


class Told:
    """What the parser has told of a request. aiohttp keeps this until it has the next one, and so
    does not keep what was taken from it."""

    __slots__ = ("_message",)

    def __init__(self, message: RawRequestMessage) -> None:
        self._message: RawRequestMessage | None = message

    def take(self) -> RawRequestMessage:
        message, self._message = self._message, None
        assert message is not None, "a request is begun once"
        return message


def taken(message: Told | RawRequestMessage) -> RawRequestMessage:
    """aiohttp has one of its own for what could not be parsed."""
    return message.take() if isinstance(message, Told) else message


class Waiting(list[tuple[Any, StreamReader]]):
    """Requests that were parsed and not begun, of which there is seldom more than one."""

    __slots__ = ()

    def popleft(self) -> tuple[Any, StreamReader]:
        message, body = self.pop(0)
        return Told(message) if isinstance(message, RawRequestMessage) else message, body


class Lending(web.RequestHandler):
    """`_body`: that of the last request, whether answered or not. `_unwanted`: bytes of it that
    are read on for nobody; `_unwanted_chunks`: the same of one whose length is not known.
    `_scanned`: a chunked body that the parser is in, and how far it has come."""

    __slots__ = ("_body", "_scanned", "_unwanted", "_unwanted_chunks")

    def __init__(self, server: web.Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._messages = Waiting()  # type: ignore[assignment]  # a deque is ten times as large
        self._body: StreamReader | None = None
        self._unwanted = 0
        self._unwanted_chunks: ChunkScanner | None = None
        self._scanned: tuple[StreamReader, ChunkScanner] | None = None

    @property
    def within_body(self) -> bool:
        """What comes now belongs to a body."""
        return self._body is not None and not self._body.is_eof()

    def lend(self, *, reading: bool) -> socket.socket | None:
        """The client's socket, for a body to be moved over it; None where that cannot be.
        `reading`: the rest of the request's body is read from it, until `passed_by`. The borrower
        closes it."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return None
        sock = lent(transport)
        if sock is not None and reading:
            transport.pause_reading()
            self._rest()
        return sock

    def chunks_of(self, body: StreamReader) -> ChunkScanner | None:
        """Where this body is within its chunks, if that is sure, it has not ended, and the parser
        has taken all that came of it."""
        if self._scanned is None or self._scanned[0] is not body:
            return None
        scanner = self._scanned[1]
        sure = scanner.decoded == body.total_bytes and not body.is_eof()
        return scanner if sure else None

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp asks its parser again for each piece of a body that is taken; it has something to
        say only if it was stopped."""
        super().resume_reading(resume_parser and self._reading_paused)

    def _rest(self) -> None:
        """Hold nothing for which there is no use before the body has passed by."""
        assert self._body is not None
        self.keep_alive(True)  # no timer: aiohttp sets the next one behind the answer
        self._parser = None
        self._scanned = None
        self._body._buffer = _NOTHING

    def _let_go(self, body: StreamReader) -> None:
        """It is kept until the next one comes, though all of it has been read."""
        if body.at_eof():
            body._buffer = _NOTHING

    def passed_by(self, left: int) -> None:
        """The rest of the request's body was read but for `left` bytes."""
        self._unwanted = left
        if left == 0:
            self._body_passed()
        elif self.transport is not None:
            self.transport.resume_reading()

    def chunks_passed_by(self, scanner: ChunkScanner) -> None:
        """The rest of the request's body was read as far as the scanner says."""
        assert self._body is not None
        if scanner.ended:
            self._body_passed()
        else:
            self._unwanted_chunks = scanner
        if scanner.broken:
            self._body.set_exception(web.RequestPayloadError(MALFORMED))
        if self.transport is not None:
            self.transport.resume_reading()
            self.data_received(scanner.behind)

    def data_received(self, data: bytes) -> None:
        behind = data if self._body_wanted else self._behind(data)
        if behind is None:
            return
        if self._scanned is not None:
            self._scan(behind)
            super().data_received(behind)
        elif self.within_body:
            super().data_received(behind)
        else:
            self._take_head(behind)
        self._hold_body()

    @property
    def _body_wanted(self) -> bool:
        return not self._unwanted and self._unwanted_chunks is None

    def _behind(self, data: bytes) -> bytes | None:
        """What comes behind a body that is read on for nobody; None: it goes on."""
        scanner = self._unwanted_chunks
        if scanner is None:
            dropped = min(self._unwanted, len(data))
            self._unwanted -= dropped
            if self._unwanted:
                return None
            data = data[dropped:]
        else:
            with suppress(MalformedChunksError):  # it goes on for ever, then
                scanner.feed(data)
            if not scanner.ended:
                return None
            data, self._unwanted_chunks = scanner.behind, None
        self._body_passed()
        return data

    def _take_head(self, data: bytes) -> None:
        """A body's chunks can be found if it is sure where its head ends: with the one byte that
        makes the parser tell of it."""
        # One that the parser has put by would be told of at any byte.
        end = 0 if self._messages or self._buffer_paused else chunked_head(data)
        if end:
            super().data_received(data[: end - 1])
            begins = not self._messages
            super().data_received(data[end - 1 : end])
            if begins and self._messages:
                self._expect_chunks(*self._messages[-1], data[end:])
        super().data_received(data[end:])

    def _expect_chunks(self, message: Any, body: StreamReader, begun: bytes) -> None:
        told = isinstance(message, RawRequestMessage)
        if told and message.chunked and not message.upgrade:
            self._scanned = body, ChunkScanner()
            self._scan(begun)

    def _scan(self, data: bytes) -> None:
        assert self._scanned is not None
        scanner = self._scanned[1]
        with suppress(MalformedChunksError):  # the parser decides what that means
            scanner.feed(data)
        if not scanner.goes_along:
            self._scanned = None

    def _hold_body(self) -> None:
        """Read no more of a body that has begun until it is known what becomes of its request:
        whoever takes what has come of it lets it go on."""
        if self._messages and self.transport is not None:
            _, body = self._messages[-1]
            if body.total_bytes and not body.is_eof():
                self.transport.pause_reading()

    def _body_passed(self) -> None:
        assert self._body is not None
        if self.transport is not None:
            self._parser = self._new_parser()
        self._body.feed_eof()

    def _new_parser(self) -> HttpRequestParser:
        """As aiohttp makes it for a new connection."""
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
