"""Lending: a client's connection whose socket is lent out while a body passes by aiohttp's parser.

aiohttp has no way to tell its parser that a body's bytes are taken elsewhere. So when they are, the
parser is replaced by a new one, which begins with what comes behind them; and as such a body may
take hours, all that aiohttp holds and has no use for meanwhile is let go. That touches what is
private to aiohttp, here and nowhere else; `tests/proxy/test_lending.py` tells when it has changed.
"""

import socket
from collections import deque
from typing import Any

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

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
    are read on for nobody."""

    __slots__ = ("_body", "_unwanted")

    def __init__(self, server: web.Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._messages = Waiting()  # type: ignore[assignment]  # a deque is ten times as large
        self._body: StreamReader | None = None
        self._unwanted = 0

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

    def _rest(self) -> None:
        """Hold nothing for which there is no use before the body has passed by."""
        assert self._body is not None
        self.keep_alive(True)  # no timer: aiohttp sets the next one behind the answer
        self._parser = None
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

    def data_received(self, data: bytes) -> None:
        if self._unwanted:
            dropped = min(self._unwanted, len(data))
            self._unwanted -= dropped
            data = data[dropped:]
            if self._unwanted:
                return
            self._body_passed()
        super().data_received(data)
        self._hold_body()

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
