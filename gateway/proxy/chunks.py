"""Chunks: where the data is in the bytes of a chunked body (RFC 9112, section 7.1). Sans-I/O.

The rule: what is not exactly of that grammar is malformed, whatever others make of it: a line that
ends without CR, white space around or within a size, a quoted extension, a size or trailers longer
than anybody sends. So nobody can read a body otherwise that was read here.
"""

import re

TRAILERS_MAX = 16 * 1024
"""Bytes."""
MALFORMED = "the body's chunks are malformed"
CHUNK_BYTES_MIN = 4 * 1024
"""Chunks that are smaller on the average cost more to find than a parser takes for them."""
ALONG_MAX = 4 * 1024 * 1024
"""Who has read so much of a body beside its parser will not be asked any more."""
ALONG_FINE_MAX = 64 * 1024
"""The same where chunks are small."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_SIZE = rb"[0-9A-Fa-f]{1,15}"
_EXTENSIONS = rb"(?:;%b{1,64}(?:=%b{1,128})?){0,4}" % (_TOKEN, _TOKEN)
_EXTENSION_BEGUN = rb";(?:%b{0,64}|%b{1,64}=%b{0,128})" % (_TOKEN, _TOKEN, _TOKEN)
_NEXT = re.compile(rb"\r\n(%b)%b\r\n" % (_SIZE, _EXTENSIONS))
"""The end of a chunk, and the size of the next."""
_NEXT_BEGUN = re.compile(rb"\r?|\r\n|\r\n%b%b(?:\r|%b)?" % (_SIZE, _EXTENSIONS, _EXTENSION_BEGUN))
_NEXT_MAX = 1024
_FIELD = rb"%b+:[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN
_TRAILERS = re.compile(rb"((?:%b)*)\r\n" % _FIELD)
_TRAILERS_BEGUN = re.compile(
    rb"(?:%b)*(?:%b*|%b+:[\t\x20-\x7e\x80-\xff]*\r?|\r)" % (_FIELD, _TOKEN, _TOKEN)
)


class MalformedChunksError(Exception):
    """The body is not chunked as it has to be."""


class ChunkScanner:
    """Of one body, fed from its first byte on. `decoded`: bytes of data until now. Once it has
    `ended`, `trailers` are its trailer fields as they came, and `behind` is what was fed that does
    not belong to it. `broken`: it was malformed, and has no end."""

    __slots__ = ("_begun", "_chunks", "_last", "_left", "behind", "broken", "decoded", "ended",
                 "trailers")  # fmt: skip

    def __init__(self) -> None:
        self._begun = b"\r\n"  # of what is between two chunks; as if one had ended
        self._left = 0
        self._chunks = 0
        self._last = False
        self.decoded = 0
        self.ended = False
        self.broken = False
        self.trailers = b""
        self.behind = b""

    @property
    def goes_along(self) -> bool:
        """It is worth being fed what a parser is fed."""
        if self.ended or self.broken:
            return False
        coarse = self.decoded >= CHUNK_BYTES_MIN * self._chunks
        return self.decoded <= (ALONG_MAX if coarse else ALONG_FINE_MAX)

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """The data in it, as parts of it. Raises MalformedChunksError, and whatever follows is
        malformed, too."""
        if self.broken:
            raise MalformedChunksError(MALFORMED)
        view = memoryview(self._begun + data if self._begun else data)
        self._begun = b""
        at, spans = self._find(view)
        if self._last and not self.ended and at < len(view):
            at = self._end(view, at)
        if self.ended:
            self.behind = bytes(view[at:])
        return spans

    def _find(self, view: memoryview) -> tuple[int, list[memoryview]]:
        """All data, up to the end or to the last chunk; and where that is."""
        spans: list[memoryview] = []
        at, size, left = 0, len(view), self._left
        while at < size and not self._last:
            if left:
                span = view[at : at + left]
                spans.append(span)
                at += len(span)
                left -= len(span)
            elif found := _NEXT.match(view, at):
                at = found.end()
                left = int(found[1], 16)
                self._last = left == 0
                self._chunks += 1
            else:
                at = self._wait(view, at, _NEXT_BEGUN, _NEXT_MAX)
        self._left = left
        self.decoded += sum(map(len, spans))
        return at, spans

    def _end(self, view: memoryview, at: int) -> int:
        found = _TRAILERS.match(view, at, at + TRAILERS_MAX)
        if found is None:
            return self._wait(view, at, _TRAILERS_BEGUN, TRAILERS_MAX)
        self.trailers = found[1]
        self.ended = True
        return found.end()

    def _wait(self, view: memoryview, at: int, begun: re.Pattern[bytes], most: int) -> int:
        """For the rest of what has begun well."""
        if len(view) - at > most or begun.fullmatch(view, at) is None:
            self.broken = True
            raise MalformedChunksError(MALFORMED)
        self._begun = bytes(view[at:])
        return len(view)


def chunked_head(data: bytes) -> int:
    """Where a head in `data` ends that says something of chunks, if it is where a head ends that
    begins there; 0: none does."""
    end = data.find(b"\r\n\r\n") + 4
    return end if end >= 4 and b"chunked" in data[:end].lower() else 0
