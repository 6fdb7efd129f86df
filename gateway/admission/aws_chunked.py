"""aws-chunked: a body in signed or checksummed chunks, of which only the data is stored.

Wire form: `<hex size>[;chunk-signature=<hex>]CRLF <data> CRLF …`, a chunk of size 0, and trailers.
What counts is the data (declared in `x-amz-decoded-content-length`); the envelope is bounded, so
that nobody sends much more than is counted.

Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring
Payload in Multiple Chunks", and its pages on trailing checksums (`STREAMING-…` as the value of
`x-amz-content-sha256`).
"""

import re

from gateway.admission import framing
from gateway.admission.head import Head
from gateway.catalog.routes import CredentialKind, Route
from gateway.errors import BAD_FRAMING, INVALID_AMOUNT, LENGTH_REQUIRED, Refusal

LINE_MAX = 1024
ENVELOPE_MIN = 64 * 1024
"""The envelope may be this large, and beyond it as large as the data it came with."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,13})(?:;[\x20-\x7e]*)?\r\n")


def decoded_length(head: Head, route: Route) -> int | Refusal | None:
    """What the body decodes to, None if it is not aws-chunked or if the route's upstream does not
    speak S3: elsewhere the envelope would be stored too, and the bytes as sent count."""
    if CredentialKind.S3 not in route.auth or not head.has_body:
        return None
    if not (head.get(b"x-amz-content-sha256") or b"").startswith(b"STREAMING-"):
        return None
    declared = head.get(b"x-amz-decoded-content-length")
    if declared is None:
        return Refusal(LENGTH_REQUIRED, "a streamed payload needs x-amz-decoded-content-length")
    amount = framing.amount(declared)
    if amount is None:
        return Refusal(INVALID_AMOUNT, "x-amz-decoded-content-length is not a plain number")
    if head.length is not None and amount > head.length:
        return Refusal(BAD_FRAMING, "the decoded length is larger than the Content-Length")
    return amount


def wire_max(decoded: int) -> int:
    """The longest body, as sent, that may carry so many bytes of data."""
    return 2 * decoded + ENVELOPE_MIN


class AwsChunks:
    """Counts the data in an aws-chunked body, fed in any pieces."""

    __slots__ = ("_data_left", "_ended", "_envelope", "_in_chunk", "_line", "decoded", "refusal")

    def __init__(self) -> None:
        self.decoded = 0
        self.refusal: Refusal | None = None
        self._line = b""
        self._data_left = 0
        self._in_chunk = False
        self._ended = False
        self._envelope = 0

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data) and self.refusal is None:
            if self._ended:
                self._spend(len(data) - at)
                return
            if self._data_left:
                taken = min(self._data_left, len(data) - at)
                self.decoded += taken
                self._data_left -= taken
                at += taken
            else:
                at = self._read_line(data, at)

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:end]
        if len(self._line) > LINE_MAX:
            self._refuse("a chunk's head is too long")
        elif self._line.endswith(b"\n"):
            line, self._line = self._line, b""
            self._take_line(line)
        return end

    def _take_line(self, line: bytes) -> None:
        self._spend(len(line))
        if self._in_chunk:
            self._in_chunk = False
            if line != b"\r\n":
                self._refuse("a chunk is longer than its size")
            return
        found = _SIZE.fullmatch(line)
        if found is None:
            self._refuse("a chunk has no size")
            return
        self._data_left = int(found[1], 16)
        self._in_chunk = self._data_left > 0
        self._ended = not self._in_chunk

    def _spend(self, count: int) -> None:
        self._envelope += count
        if self._envelope > self.decoded + ENVELOPE_MIN:
            self._refuse("there is more envelope than data")

    def _refuse(self, why: str) -> None:
        self.refusal = Refusal(BAD_FRAMING, f"the aws-chunked body is malformed: {why}")
