"""One upstream answer, from bytes to its head, body pieces and end. Sans-I/O.

The rule: an answer that two parties could read differently is not passed on. llhttp (httptools)
refuses broken syntax; what it lets through (other versions, foreign transfer codings, a 101 that
nobody asked for) is refused here. Bytes behind the end of an answer belong to nobody: they are
reported as `extra`, and the connection they came from must not carry another request (RFC 9112,
section 6.3).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httptools

from gateway.proxy.answer_framing import Framing, MalformedAnswerError, framing_of
from gateway.proxy.chunks import ChunkScanner, MalformedChunksError, chunked_head

HEAD_BYTES_MAX = 64 * 1024
"""The most bytes the head (with all interim heads before it) may take."""

REMEMBERED_MAX = 256
"""Heads of answers that are known by their bytes, of those below REMEMBERED_BYTES_MAX."""
REMEMBERED_BYTES_MAX = 2_048

Headers = tuple[tuple[bytes, bytes], ...]

_VERSIONS = {"1.1": (1, 1), "1.0": (1, 0)}


class TruncatedAnswerError(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """`length` is the Content-Length as given: None when there is none. `bodyless`: the method or
    the status says that no body follows, whatever length is given (RFC 9112, section 6.3). Any
    other answer that has neither a length nor chunks ends with its connection. `upgrade`: status
    101, what follows is another protocol."""

    status: int
    reason: bytes
    headers: Headers
    version: tuple[int, int] = (1, 1)
    length: int | None = None
    chunked: bool = False
    upgrade: bool = False
    bodyless: bool = False
    relayed: dict[bool, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was made of it before; for who makes it."""

    @property
    def live(self) -> bool:
        """Its body comes as things happen: nobody can wait for all of it first."""
        streams = (value for name, value in self.headers if name.lower() == b"content-type")
        return self.length is None and (
            not self.chunked or any(value.startswith(b"text/event-stream") for value in streams)
        )


class _Heads:
    """Answers that came in one piece, by the bytes of their head: what llhttp read once it would
    read again. A head of the same bytes says the same, so only its body has to be counted; but in
    answer to HEAD it says something else."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, AnswerHead] = {}

    def find(self, data: bytes) -> tuple[AnswerHead, int] | None:
        """The head of a whole answer, and where its body begins."""
        begin = data.find(b"\r\n\r\n", 0, REMEMBERED_BYTES_MAX) + 4
        head = self._known.get(data[:begin])
        if head is None or len(data) - begin != (0 if head.bodyless else head.length):
            return None
        return head, begin

    def learn(self, data: bytes, head: AnswerHead) -> None:
        """`head` was read from `data`, which is a whole answer."""
        begin = data.find(b"\r\n\r\n", 0, REMEMBERED_BYTES_MAX) + 4
        interim = not data.startswith(b"HTTP/1.1 %d" % head.status)
        length = 0 if head.bodyless else head.length
        if interim or begin < 4 or len(data) - begin != length:
            return
        if len(self._known) >= REMEMBERED_MAX:
            del self._known[next(iter(self._known))]
        self._known[data[:begin]] = head


class AnswerReader:
    """Feed it what arrives; take `head`, `take()` and `trailers` from it. One answer at a time:
    `begin` starts the next one."""

    __slots__ = (
        "_direct",
        "_fed",
        "_headers",
        "_interim",
        "_left",
        "_method",
        "_on_informational",
        "_parser",
        "_reason",
        "_scanner",
        "_until_eof",
        "_upgrade",
        "ended",
        "extra",
        "head",
        "keep_alive",
        "pieces",
        "queued",
        "trailers",
    )

    def __init__(self, on_informational: Callable[[int, Headers], None]) -> None:
        """`on_informational` hears of every 1xx answer but 100 and 101."""
        self._on_informational = on_informational
        self._parser: httptools.HttpResponseParser | None = None
        self.keep_alive = False
        self.begin(b"GET")

    def begin(self, method: bytes, *, upgrade: bool = False) -> None:
        """Get ready for the answer to a request; `upgrade`: it asked for another protocol."""
        if not self.keep_alive:
            self._parser = None  # llhttp takes nothing more after one that closes the connection.
        self._method = method
        self._upgrade = upgrade
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._fed = 0
        self._interim = False
        self._direct = False
        self._until_eof = False
        self._left = 0
        self._scanner: ChunkScanner | None = None
        self.head: AnswerHead | None = None
        self.pieces: list[bytes] = []
        self.queued = 0
        self.ended = False
        self.extra = False
        self.keep_alive = False
        self.trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Take what arrived; raises MalformedAnswerError."""
        if self.ended:
            self.extra = True
        elif self._direct:
            self._feed_direct(data)
        elif self._fed or self.head is not None or not self._recall(data):
            self._feed_parser(data)

    def eof(self) -> None:
        """The upstream has ended the connection properly; raises TruncatedAnswerError."""
        if self._until_eof:
            self.ended = True
        if not self.ended:
            raise TruncatedAnswerError(
                "closed before the answer" if self.head is None else "closed within the body"
            )

    def take(self) -> bytes:
        """All of the body that has arrived and was not taken yet."""
        pieces = self.pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces = []
        self.queued = 0
        return piece

    @property
    def left(self) -> int:
        """Bytes of a body of known length that have not come; 0 unless they can pass by."""
        return self._left if self._direct and not self._until_eof else 0

    def pass_by(self, count: int) -> None:
        """So many of them are taken without being fed."""
        self._left -= count
        self.ended = self._left == 0

    @property
    def chunks(self) -> ChunkScanner | None:
        """Where a chunked body is that has not ended, if it can pass by."""
        return None if self.ended else self._scanner

    def pass_by_chunks(self, scanner: ChunkScanner) -> None:
        """As much of the body as this says was taken without being fed. Raises
        MalformedAnswerError."""
        self._parser = None
        self.extra = bool(scanner.behind)
        if scanner.trailers:
            self.trailers = _fields(scanner.trailers)
        self.ended = scanner.ended

    # -- bytes ------------------------------------------------------------------------------------

    def _recall(self, data: bytes) -> bool:
        """Whether this is a whole answer with a head that is known."""
        found = _heads[self._method == b"HEAD"].find(data)
        if found is None:
            return False
        self.head, begin = found
        self.ended = self.keep_alive = True
        self._keep(data[begin:])
        return True

    def _feed_parser(self, data: bytes) -> None:
        if self.head is None:
            if self._fed == 0 and data[0] != 0x48:
                # llhttp would take RTSP, ICE and any number of empty lines.
                raise MalformedAnswerError("the answer does not start with HTTP/")
            self._fed += len(data)
        begins = self.head is None and self._fed == len(data)
        if self.head is None:
            self._parse_head(data)
        else:
            self._parse_body(data)
        if begins and self.ended and self.keep_alive and not self.extra and self.head is not None:
            _heads[self._method == b"HEAD"].learn(data, self.head)
        if self.head is None:
            if self._fed > HEAD_BYTES_MAX:
                raise MalformedAnswerError("the answer's head is too large")
        elif not self.ended and not self.head.chunked:
            # A body that goes on beyond the first segment needs no parser, only counting.
            self._direct = True
            self._parser = None
        elif self._method == b"HEAD":
            self._parser = None  # it waits for a body that does not come

    def _parse_head(self, data: bytes) -> None:
        """Chunks can be found if it is sure where the head ends: with the one byte that makes the
        parser tell of it."""
        end = chunked_head(data)
        if end:
            self._parse(data[: end - 1])
            begins = self.head is None
            self._parse(data[end - 1 : end])
            if begins and self.head is not None and self.head.chunked and not self.ended:
                self._scanner = ChunkScanner()
        self._parse_body(data[end:])

    def _parse_body(self, data: bytes) -> None:
        self._parse(data)
        scanner = self._scanner
        if scanner is not None:
            with suppress(MalformedChunksError):  # the parser decides what that means
                scanner.feed(data)
            if not scanner.goes_along or scanner.decoded != -self._left:
                self._scanner = None

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._keep(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._parser = None
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__:
                raise error.__context__ from None
            if not self.ended:
                raise MalformedAnswerError(str(error)) from None
            self.extra = True

    def _feed_direct(self, data: bytes) -> None:
        if not self._until_eof:
            left = self._left - len(data)
            if left < 0:
                self.extra = True
                data = data[: self._left]
                left = 0
            self._left = left
            self.ended = left == 0
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        if data:
            self.pieces.append(data)
            self.queued += len(data)

    # -- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.ended:
            self.extra = True

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:
            self._headers.append((name, value))
        else:
            self._fed += len(name) + len(value) + 4
            if self._fed > HEAD_BYTES_MAX:
                raise MalformedAnswerError("the answer's trailers are too large")
            self.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        version = _VERSIONS.get(self._parser.get_http_version())
        if version is None or status < 100:
            raise MalformedAnswerError("the answer's status line is not HTTP/1.1")
        framing = framing_of(self._headers)
        if framing.chunked and version == (1, 0):
            raise MalformedAnswerError("chunks in an answer of HTTP/1.0")
        if status < 200 and status != 101:
            self._informational(status, framing)
        else:
            self._final(status, version, framing)

    def on_body(self, body: bytes) -> None:
        if self.ended:
            self.extra = True
            return
        self._left -= len(body)
        self.pieces.append(body)
        self.queued += len(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._headers = []
            self._reason = b""
        elif self.head is not None and not self.head.upgrade:
            self.ended = True

    # -- heads ------------------------------------------------------------------------------------

    def _informational(self, status: int, framing: Framing) -> None:
        if framing.length is not None or framing.chunked:
            raise MalformedAnswerError("an interim answer with a body")
        self._interim = True
        if status != 100:
            self._on_informational(status, tuple(self._headers))

    def _final(self, status: int, version: tuple[int, int], framing: Framing) -> None:
        headers = tuple(self._headers)
        upgrade = status == 101
        if upgrade and not self._upgrade:
            raise MalformedAnswerError("a switch of protocols that was not asked for")
        if self._fed > HEAD_BYTES_MAX:  # with what came behind it in the same segment
            size = len(b"HTTP/1.1 200 \r\n") + len(self._reason)
            size += sum(len(name) + len(value) + 4 for name, value in headers)
            if size > HEAD_BYTES_MAX:
                raise MalformedAnswerError("the answer's head is too large")
        self._fed = 0
        self.keep_alive = not framing.close and (version == (1, 1) or framing.keep)
        bodyless = self._method == b"HEAD" or status in (204, 304)
        if bodyless:
            self.ended = True
            if status == 204 and (framing.chunked or framing.length):
                self.keep_alive = False  # such an upstream may well send that body
        elif upgrade:
            self.keep_alive = False
            self._until_eof = True
        elif framing.length is not None:
            self._left = framing.length
        elif not framing.chunked:
            self.keep_alive = False
            self._until_eof = True
        self.head = AnswerHead(
            status=status,
            reason=self._reason,
            headers=headers,
            version=version,
            length=framing.length,
            chunked=framing.chunked,
            upgrade=upgrade,
            bodyless=bodyless,
        )


def _fields(trailers: bytes) -> list[tuple[bytes, bytes]]:
    """As the parser reads them where it reads the body, too."""
    reader = AnswerReader(lambda status, headers: None)
    reader.feed(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.feed(b"0\r\n" + trailers + b"\r\n")
    return reader.trailers


_heads = {False: _Heads(), True: _Heads()}
"""Of answers to HEAD, and of others."""
