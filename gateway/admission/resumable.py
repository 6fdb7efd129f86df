"""Resumable uploads of the IETF as a proxy has to understand them.

Source: draft-ietf-httpbis-resumable-upload-12 (interop version 8). Its fields are Structured Fields
(RFC 9651), of which an unreadable one is to be ignored; what an upstream might ignore and we might
not is refused here instead: a Boolean is exactly ?0 or ?1, an Integer has digits only, 15 at most.
The length of an upload is never what ends it: Upload-Complete does.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.admission.framing import amount
from gateway.admission.head import Head
from gateway.admission.uploads import Fate, Reach
from gateway.errors import BAD_HEADER, BAD_REQUEST, BODY_OVERRUN, INCONSISTENT_LENGTH, Refusal

LIMIT = b"Upload-Limit"
INTEROP = b"Upload-Draft-Interop-Version"
GONE = frozenset({404, 410})

_DIGITS_MAX = 15
_BOOLEANS = {b"?0": False, b"?1": True}
_OTHER_PROTOCOLS = (b"tus-resumable", b"upload-incomplete", b"upload-defer-length")
"""Of tus, and of drafts before the third: some upstreams go by these first."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A creation. `complete`: it brings all that is left; `length` None: nobody knows yet."""

    complete: bool
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """`named`: the length of the upload, known with these bytes for the first time."""

    reach: Reach
    complete: bool
    named: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of its upload."""

    offset: int | None = None
    complete: bool | None = None


def judge(head: Head) -> Refusal | None:
    if any(head.get(name) is not None for name in _OTHER_PROTOCOLS):
        return Refusal(BAD_HEADER, "the request speaks another protocol of resumable uploads")
    return None


def opening(head: Head) -> Opening | Refusal | None:
    """What a request to create something says of being resumable; None: nothing."""
    if head.get(b"upload-complete") is None:
        return None
    complete = _complete(head)
    if isinstance(complete, Refusal):
        return complete
    said = _number(head, b"upload-length")
    if isinstance(said, Refusal):
        return said
    end = None if head.chunked else head.length or 0
    length = _length(said, end if complete else None)
    if isinstance(length, Refusal):
        return length
    if length is not None and end is not None and end > length:
        return Refusal(BODY_OVERRUN, "the upload would be longer than was declared")
    return Opening(complete, length)


def append(head: Head, length: int | None) -> Append | Refusal:
    """What a PATCH adds to an upload of this length (None: not known yet)."""
    complete = _complete(head)
    if isinstance(complete, Refusal):
        return complete
    offset = _number(head, b"upload-offset")
    if isinstance(offset, Refusal):
        return offset
    if offset is None:
        return Refusal(BAD_REQUEST, "there is no Upload-Offset")
    said = _number(head, b"upload-length")
    if isinstance(said, Refusal):
        return said
    end = None if head.chunked else offset + (head.length or 0)
    whole = _length(_length(length, said), end if complete else None)
    if isinstance(whole, Refusal):
        return whole
    if whole is not None and max(offset, end or 0) > whole:
        return Refusal(INCONSISTENT_LENGTH, "the upload would be longer than was declared")
    return Append(Reach(offset, end, whole), complete, whole if length is None else None)


def told(headers: Iterable[tuple[bytes, bytes]]) -> Told:
    """What cannot be read is not told."""
    found = {name.lower(): value.strip() for name, value in headers}
    return Told(
        _integer(found.get(b"upload-offset", b"")),
        _BOOLEANS.get(found.get(b"upload-complete", b"")),
    )


def length_of(told: Told, declared: int | None, sent: int | None) -> int | None:
    """How long an upload is that an answer calls complete, which it may be before it has all that
    was declared: an answer may come early. `sent`: how long it is with what was forwarded."""
    known = (told.offset, sent, declared)
    found = next((length for length in known if length is not None), None)
    return found if found is None or declared is None else min(found, declared)


def standing(length: int | None, status: int, headers: Iterable[tuple[bytes, bytes]]) -> int | Fate:
    """How an upload stands by the answer to HEAD; a number is its length: it is complete. `length`
    is what is known of it without."""
    if status in GONE:
        return Fate.GONE
    found = told(headers)
    whole = length_of(found, length, None)
    if not 200 <= status < 300 or found.complete is None:
        return Fate.UNCLEAR
    if not found.complete:
        return Fate.UNFINISHED
    return Fate.UNCLEAR if whole is None else whole


def limited(said: bytes | None, most: int | None) -> bytes | None:
    """The limits an upstream has said, with a max-size of `most` at the most. None: there is none
    to say. What is no plain dictionary stays as it is."""
    if most is None or (said is not None and not _is_plain(said)):
        return said
    members = [] if said is None else [member.strip() for member in said.split(b",")]
    others = [member for member in members if member.partition(b"=")[0] != b"max-size"]
    sizes = [_integer(m.partition(b"=")[2]) for m in members if m not in others]
    least = min([most, *(size for size in sizes if size is not None)])
    return b", ".join([*filter(None, others), b"max-size=%d" % least])


def _is_plain(dictionary: bytes) -> bool:
    return not any(mark in dictionary for mark in (b'"', b"(", b";"))


def _length(known: "int | Refusal | None", said: int | None) -> int | Refusal | None:
    """One length out of two that have to agree."""
    if isinstance(known, Refusal) or said is None:
        return known
    if known is not None and known != said:
        detail = "the length of the upload differs from what was declared"
        return Refusal(INCONSISTENT_LENGTH, detail)
    return said


def _complete(head: Head) -> bool | Refusal:
    value = head.get(b"upload-complete")
    if value is None:
        return Refusal(BAD_REQUEST, "there is no Upload-Complete")
    complete = _BOOLEANS.get(value)
    return Refusal(BAD_HEADER, "Upload-Complete is ?0 or ?1") if complete is None else complete


def _number(head: Head, name: bytes) -> int | Refusal | None:
    value = head.get(name)
    if value is None:
        return None
    number = _integer(value)
    if number is None:
        return Refusal(BAD_HEADER, f"{name.decode()} is not one plain number of 15 digits at most")
    return number


def _integer(value: bytes) -> int | None:
    return amount(value) if len(value) <= _DIGITS_MAX else None
