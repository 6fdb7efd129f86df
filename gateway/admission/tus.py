"""tus 1.0.0 as a proxy has to understand it (https://tus.io/protocols/resumable-upload).

What the gateway relies on is judged here, and refused where an upstream could read it otherwise;
metadata, checksums and expiry are between client and upstream. Lengths and offsets are plain
decimal numbers.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.admission.framing import amount
from gateway.admission.head import Head
from gateway.admission.uploads import Fate, Reach
from gateway.errors import BAD_HEADER, BAD_REQUEST, BODY_OVERRUN, PROTOCOL_VERSION, Refusal

VERSION = b"1.0.0"
MAX_SIZE = b"Tus-Max-Size"
GONE = frozenset({404, 410})

_OTHER_PROTOCOL = (b"upload-complete", b"upload-incomplete", b"upload-draft-interop-version")
"""Some upstreams speak both and go by these."""


@dataclass(frozen=True, slots=True)
class Creation:
    """`length` None: it follows with the bytes. `final` are the references to the partial uploads
    that this one is made of."""

    length: int | None = None
    partial: bool = False
    final: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """`named`: the length of the upload, told with these bytes for the first time."""

    reach: Reach
    named: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of its upload."""

    offset: int | None = None
    length: int | None = None


def judge(head: Head) -> Refusal | None:
    """Every request but OPTIONS names the one version there is."""
    if any(head.get(name) is not None for name in _OTHER_PROTOCOL):
        return Refusal(BAD_HEADER, "the request speaks tus and another upload protocol")
    if head.method != "OPTIONS" and head.get(b"tus-resumable") != VERSION:
        headers = {"Tus-Version": VERSION.decode()}
        return Refusal(PROTOCOL_VERSION, "Tus-Resumable has to be 1.0.0", headers)
    return None


def creation(head: Head) -> Creation | Refusal:
    concat = head.get(b"upload-concat")
    if concat is not None and concat.startswith(b"final;"):
        return _final(head, concat)
    if concat not in (None, b"partial"):
        return Refusal(BAD_HEADER, "Upload-Concat is neither partial nor final with its parts")
    length = _number(head, b"upload-length")
    if isinstance(length, Refusal):
        return length
    deferred = head.get(b"upload-defer-length")
    if deferred not in (None, b"1") or (length is None) == (deferred is None):
        return Refusal(BAD_REQUEST, "give Upload-Length, or else Upload-Defer-Length: 1")
    if length is not None and (head.length or 0) > length:
        return Refusal(BODY_OVERRUN, "the upload would be longer than was declared")
    return Creation(length, partial=concat is not None)


def append(head: Head, length: int | None) -> Append | Refusal:
    """What a PATCH adds to an upload of this length (None: not known yet)."""
    offset = _number(head, b"upload-offset")
    if isinstance(offset, Refusal):
        return offset
    if offset is None:
        return Refusal(BAD_REQUEST, "there is no Upload-Offset")
    named = _number(head, b"upload-length")
    if isinstance(named, Refusal):
        return named
    if named is not None and length is not None and named != length:
        return Refusal(BAD_REQUEST, "Upload-Length differs from what was declared before")
    if named is not None and named < offset:
        return Refusal(BAD_REQUEST, "Upload-Length is less than the upload has")
    whole = length if named is None else named
    end = None if head.chunked else offset + (head.length or 0)
    if end is not None and whole is not None and end > whole:
        return Refusal(BODY_OVERRUN, "the upload would be longer than was declared")
    return Append(Reach(offset, end, whole), named if length is None else None)


def metadata(head: Head) -> dict[str, str | int] | Refusal:
    """What Upload-Metadata says: keys with values in Base64, of which integers count as such."""
    found: dict[str, str | int] = {}
    written = head.get(b"upload-metadata") or b""
    for pair in filter(None, (pair.strip() for pair in written.split(b","))):
        key, _, value = pair.partition(b" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
            name = key.decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return Refusal(BAD_HEADER, "Upload-Metadata cannot be read")
        if not name or name in found:
            return Refusal(BAD_HEADER, "Upload-Metadata names a key twice, or none")
        found[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 17 else text
    return found


def told(headers: Iterable[tuple[bytes, bytes]]) -> Told:
    """An unreadable number is none."""
    found = {name.lower(): value for name, value in headers}
    return Told(number(found.get(b"upload-offset")), number(found.get(b"upload-length")))


def standing(length: int | None, status: int, headers: Iterable[tuple[bytes, bytes]]) -> int | Fate:
    """How an upload stands by the answer to HEAD; a number is its length: it is whole. `length` is
    what is known of it without."""
    if status in GONE:
        return Fate.GONE
    found = told(headers)
    whole = found.length if length is None else length
    if not 200 <= status < 300 or found.offset is None:
        return Fate.UNCLEAR
    return found.offset if found.offset == whole else Fate.UNFINISHED


def number(value: bytes | None) -> int | None:
    """What an upstream gives as a number, if it is one."""
    return None if value is None else amount(value.strip())


def _final(head: Head, concat: bytes) -> Creation | Refusal:
    references = tuple(concat.removeprefix(b"final;").split())
    if not references:
        return Refusal(BAD_HEADER, "Upload-Concat names no partial uploads")
    if head.has_body or head.get(b"upload-length") or head.get(b"upload-defer-length"):
        return Refusal(BAD_REQUEST, "a final upload has neither bytes nor a length of its own")
    return Creation(final=references)


def _number(head: Head, name: bytes) -> int | Refusal | None:
    value = head.get(name)
    if value is None:
        return None
    number = amount(value)
    if number is None:
        return Refusal(BAD_HEADER, f"{name.decode()} is not one plain number below 2^53")
    return number
