"""Header fields that have one reading: token names, clean values, nothing said twice.

A parser may have folded, trimmed or let pass what another would not; RFC 9110 section 5.5 asks a
recipient to refuse CR, LF and NUL in values, and RFC 9112 section 5.1 blanks in names.
"""

import re
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import BAD_FRAMING, BAD_HEADER, HEADERS_TOO_LARGE, Refusal

if TYPE_CHECKING:
    from gateway.admission.head import HeadLimits

_TOKEN = ("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits).encode()
"""tchar of RFC 9110 section 5.6.2."""
_NAME = _TOKEN.replace(b"_", b"")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Never in a value; tab and the bytes from 0x80 on are allowed (RFC 9110 section 5.5)."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""Host names and addresses with a port: RFC 3986 section 3.2 without user and without escapes."""

FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding"})

SINGLETONS = FRAMING_NAMES | frozenset(
    b"""authorization content-encoding content-location content-md5 content-range content-type
    expect from host idempotency-key if-match if-range if-unmodified-since max-forwards origin
    proxy-authorization range referer upgrade upload-defer-length upload-length upload-metadata
    upload-offset user-agent x-amz-content-sha256 x-amz-copy-source x-amz-date
    x-amz-decoded-content-length x-amz-security-token x-api-key x-auth-email x-auth-key
    x-request-id""".split()
)
"""Headers of which two would leave open which one counts. Some of them are lists by their RFC,
but a request that repeats one of these is not made by an honest client."""

OVERRIDES = frozenset(
    b"""x-http-method-override x-http-method x-method-override
    x-original-url x-rewrite-url x-original-uri""".split()
)
"""Headers by which some upstreams take another method or path than that of the request line, and
so than the one the route was chosen by."""


def is_token(text: str) -> bool:
    return bool(text) and text.isascii() and not text.encode().translate(None, _TOKEN)


def judge(
    raw_headers: Sequence[tuple[bytes, bytes]], version: tuple[int, int], limits: "HeadLimits"
) -> dict[bytes, bytes] | Refusal:
    """The headers by lower-case name, repeated ones joined by a comma, or why they are refused."""
    values = b"".join([value for _, value in raw_headers])
    size = len(values) + len(b"".join([name for name, _ in raw_headers]))
    refusal = _judge_sizes(raw_headers, size, limits)
    if refusal is not None:
        return refusal
    if _CONTROL.search(values):
        return Refusal(BAD_HEADER, "a header value has control characters")
    index: dict[bytes, bytes] = {}
    for name, value in raw_headers:
        key = name.lower()
        if key not in index:
            index[key] = value
        elif key in SINGLETONS:
            return _said_twice(key)
        else:
            index[key] += b", " + value
    refusal = _judge_names(index, limits)
    if refusal is not None:
        return refusal
    return _judge_host(index, version) or index


def _judge_sizes(
    raw_headers: Sequence[tuple[bytes, bytes]], size: int, limits: "HeadLimits"
) -> Refusal | None:
    """`size`: bytes of all of them."""
    if len(raw_headers) > limits.headers_max:
        return Refusal(HEADERS_TOO_LARGE, f"there are more than {limits.headers_max} headers")
    if size > limits.header_bytes_max:
        detail = f"the headers are longer than {limits.header_bytes_max} bytes"
        return Refusal(HEADERS_TOO_LARGE, detail)
    longest = max(map(_size, raw_headers)) if size > limits.line_max else 0
    if longest > limits.line_max:
        return Refusal(HEADERS_TOO_LARGE, f"a header is longer than {limits.line_max} bytes")
    return None


def _size(field: tuple[bytes, bytes]) -> int:
    return len(field[0]) + len(field[1])


def _judge_names(index: dict[bytes, bytes], limits: "HeadLimits") -> Refusal | None:
    if b"".join(index).translate(None, _NAME) or b"" in index:
        for name in index:
            if not name or name.translate(None, _TOKEN):
                return Refusal(BAD_HEADER, "a header name is not a token")
            if b"_" in name and not name.startswith(limits.underscores_below):
                return Refusal(BAD_HEADER, "a header name has an underscore")
    if not OVERRIDES.isdisjoint(index):
        return Refusal(BAD_HEADER, "headers that override the method or the path are not taken")
    return None


def _judge_host(index: dict[bytes, bytes], version: tuple[int, int]) -> Refusal | None:
    """RFC 9112 section 3.2: exactly one on HTTP/1.1, and none that is not an authority."""
    host = index.get(b"host")
    if host is None:
        return Refusal(BAD_HEADER, "there is no Host header") if version == (1, 1) else None
    if _HOST.fullmatch(host) is None:
        return Refusal(BAD_HEADER, "the Host header is not a host with an optional port")
    return None


def _said_twice(name: bytes) -> Refusal:
    if name in FRAMING_NAMES:
        return Refusal(BAD_FRAMING, f"{name.decode()} is given twice")
    return Refusal(BAD_HEADER, f"{name.decode()} is given twice")
