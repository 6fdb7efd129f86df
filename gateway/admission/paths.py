"""Paths that have one reading, judged as raw bytes: what is matched is what is forwarded.

Servers differ in what they do to a path before they use it: they decode it once or twice, merge
slashes, turn backslashes, resolve dot segments, drop `;parameters`. A path on which any of that
would change where it leads is not PLAIN, and no ordinary route takes it. An opaque route (object
keys may contain `//` and `%2F`) takes it as it is, with one exception that holds everywhere: dot
segments, in whatever spelling, are refused, since with them a path could leave its route's prefix
at an upstream that normalises.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import unquote, unquote_to_bytes

from gateway.errors import BAD_PATH, Refusal


class Reading(StrEnum):
    PLAIN = "plain"
    """One reading whatever an upstream does."""
    OPAQUE = "opaque"
    """Empty segments, encoded slashes, backslashes or parameters: for opaque routes only."""


_SIMPLE = re.compile(
    r"(?:/[A-Za-z0-9_~!$&'()*+,=:@\[\]|^{}-][A-Za-z0-9_~!$&'()*+,=:@\[\]|^{}.-]*)*/?"
)
"""Most paths: non-empty segments that do not begin with a dot, no escapes. Nothing to decode."""

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]|#")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_PLAIN = re.compile(r"//|[\\;]|%(?:25)*(?:2f|5c)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OVERLONG = re.compile(
    rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}"
)
"""UTF-8 longer than need be: `%c0%ae` is a dot to a careless decoder (RFC 3629 section 10)."""
_SEPARATOR = re.compile(rb"[/\\]")
_DECODINGS_MAX = 4
"""A path that still changes after so many decodings is not meant to be understood."""


def is_printable(target: str) -> bool:
    """True if a target has visible ASCII only, and no fragment (RFC 9112 section 3.2.1)."""
    return _UNPRINTABLE.search(target) is None


def read(path: str) -> Reading | Refusal:
    """How a printable path may be read, or BAD_PATH if no route may have it."""
    if _SIMPLE.fullmatch(path) is not None:
        return Reading.PLAIN
    if _BROKEN_ESCAPE.search(path) is not None:
        return Refusal(BAD_PATH, "a percent sign in the path is not followed by two hex digits")
    decoded = path.encode("ascii")
    for _ in range(_DECODINGS_MAX):
        refusal = _judge_decoded(decoded)
        if refusal is not None:
            return refusal
        before, decoded = decoded, unquote_to_bytes(decoded)
        if decoded == before:
            return Reading.OPAQUE if _NOT_PLAIN.search(path) else Reading.PLAIN
    return Refusal(BAD_PATH, "the path is percent-encoded many times over")


def decoded(text: str) -> str:
    """Without its percent escapes; bytes stand for themselves, whatever they may encode."""
    return unquote(text, encoding="latin-1")


def decodings(path: str) -> Iterator[str]:
    """A path with its escapes undone once, twice, and so on until nothing changes."""
    before, path = path, decoded(path)
    while path != before:
        yield path
        before, path = path, decoded(path)


def _judge_decoded(path: bytes) -> Refusal | None:
    if _CONTROL.search(path) is not None:
        return Refusal(BAD_PATH, "the path has control characters")
    if _OVERLONG.search(path) is not None:
        return Refusal(BAD_PATH, "the path has overlong UTF-8")
    for segment in _SEPARATOR.split(path):
        if segment.startswith((b".", b" ")) and _is_dots(segment):
            return Refusal(BAD_PATH, "the path has dot segments")
    return None


def _is_dots(segment: bytes) -> bool:
    """`.` and `..`, also with `;parameters` (Java servers) or blanks (Windows) around them."""
    return segment.partition(b";")[0].strip(b" ") in (b".", b"..")
