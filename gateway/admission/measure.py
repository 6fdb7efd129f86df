"""What a request really moved: counters fed with the bytes, and the actual lines they amount to.

Bytes count as sent: a Content-Encoding is never undone. Two envelopes are looked into, because
what is stored is less than what is sent: multipart/form-data on routes that count files, and
aws-chunked on routes whose upstream speaks S3.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from gateway.admission import json_fields
from gateway.admission.aws_chunked import AwsChunks, decoded_length
from gateway.admission.head import Head
from gateway.admission.multipart import FileParts, boundary
from gateway.admission.routing import filled
from gateway.catalog.meters import is_amount
from gateway.catalog.routes import NAMED_BY_THE_ANSWER, Amount, Route, Source
from gateway.errors import Refusal

ASSET_NAME_MAX = 512


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted by the end of a request. `reported_size`: bytes the upstream says that it
    stored, which then replace what was counted of the body; None if it says nothing."""

    body: int = 0
    files: int = 0
    response_bytes: int = 0
    delivery_s: float = 0.0
    reported_size: int | None = None

    def of(self, source: Source) -> int:
        match source:
            case Source.BODY:
                return self.body if self.reported_size is None else self.reported_size
            case Source.FILES:
                return self.files if self.reported_size is None else self.reported_size
            case Source.RESPONSE:
                return self.response_bytes
            case _:  # DELIVERY_SECONDS
                return math.ceil(self.delivery_s)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a body."""

    wire: int
    body: int
    files: int


class BodyCount:
    """Counts one request's body, fed in any pieces before they are forwarded.

    `wire`: bytes as sent; `body`: the same, or the data of an aws-chunked body; `files`: those of
    the file parts, or the same as `body` for any other body. `refusal` is set once the body turns
    out to be malformed, and stays.
    """

    __slots__ = ("_chunks", "_parts", "_stopped_at", "wire")

    def __init__(self, parts: FileParts | None = None, chunks: AwsChunks | None = None) -> None:
        self.wire = 0
        self._parts = parts
        self._chunks = chunks
        self._stopped_at: Mark | None = None

    @classmethod
    def for_head(cls, head: Head, route: Route) -> "BodyCount":
        """For a head that `estimate` has let through."""
        if isinstance(decoded_length(head, route), int):
            return cls(chunks=AwsChunks())
        found = boundary(head) if Source.FILES in route.reserve.values() else None
        return cls(FileParts(found) if isinstance(found, bytes) else None)

    def feed(self, data: bytes) -> None:
        self.wire += len(data)
        if self._parts is not None:
            self._parts.feed(data)
        elif self._chunks is not None:
            self._chunks.feed(data)

    @property
    def reads_bytes(self) -> bool:
        """False if only the number of bytes matters: then `pass_by` does as well as `feed`."""
        return self._parts is not None or self._chunks is not None

    def pass_by(self, count: int) -> None:
        """Count bytes that are moved without being looked at (splice)."""
        assert not self.reads_bytes, "this body has to be read to be counted"
        self.wire += count

    def take_back(self, count: int) -> None:
        """The last of what passed by is not forwarded, and nothing more will be."""
        self.wire -= count
        self._stopped_at = Mark(self.wire, self.wire, self.wire)

    def mark(self) -> Mark:
        """How far it has come, for `stop_at`."""
        return Mark(self.wire, self.body, self.files)

    def stop_at(self, mark: Mark) -> None:
        """What was fed since then is not forwarded, and nothing more will be."""
        self.wire = mark.wire
        self._stopped_at = mark

    @property
    def body(self) -> int:
        if self._stopped_at is not None:
            return self._stopped_at.body
        return self.wire if self._chunks is None else self._chunks.decoded

    @property
    def files(self) -> int:
        if self._stopped_at is not None:
            return self._stopped_at.files
        return self.body if self._parts is None else self._parts.files

    @property
    def refusal(self) -> Refusal | None:
        reader = self._parts or self._chunks
        return None if reader is None else reader.refusal


def actual_lines(route: Route, counts: Counts) -> Mapping[str, int]:
    """Meter → actual amount, for every meter the route reserves."""
    return {meter: _actual(source, counts) for meter, source in route.reserve.items()}


def _actual(source: Amount, counts: Counts) -> int:
    if isinstance(source, int):
        return source
    assert isinstance(source, Source), "what JSON says is not measured"
    return counts.of(source)


def reported_asset(answer: bytes, route: Route, params: Mapping[str, str]) -> str | None:
    """The stored thing that an upstream's JSON answer names; None if it names none."""
    if route.asset is None or route.asset_from is None:
        return None
    named = json_fields.find(json_fields.told(answer), route.asset_from)
    if type(named) is int:
        named = str(named)
    if not isinstance(named, str) or not 1 <= len(named) <= ASSET_NAME_MAX:
        return None
    # As a path would name it: routes about one stored thing have it there.
    return filled(route.asset, {**params, NAMED_BY_THE_ANSWER: quote(named, safe="~")})


def reported_size(answer: bytes, member: str) -> int | None:
    """The stored size in an upstream's JSON answer; None unless it is there and an amount.

    Only a JSON integer counts: no float, no string, no exponent, nothing below 0 or from 2^53 on.
    """
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    size = document.get(member) if isinstance(document, dict) else None
    return size if is_amount(size) else None
