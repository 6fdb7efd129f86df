"""Idempotency keys: which name a client gives its request, what makes it the same request, and what
of an answer is kept for its repeats.

The header is that of draft-ietf-httpapi-idempotency-key-header: a String of RFC 9651; the bare text
that many clients send is taken as well.
"""

import hashlib
import re
from collections.abc import Iterable

from gateway.admission.head import Head
from gateway.admission.settle import commits
from gateway.catalog.routes import Route
from gateway.errors import BAD_HEADER, Refusal

HEADER = b"idempotency-key"
METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""The others change nothing, so a repeat of them needs no name."""
BODY_COMPARED_MAX = 1024 * 1024
"""Bodies of a known length up to here are compared with the first one's, larger ones by their
length and digest headers only."""

_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(rb"[!#-+\--:<-~]+")
_TRANSIENT = frozenset({401, 408, 425, 429})
"""Statuses that say nothing about a request itself: a repeat of it is to be carried out."""
_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language",
                          "content-disposition", "etag", "last-modified"})  # fmt: skip
_KEPT = _OF_THE_BODY | {"location", "content-location", "link", "vary", "allow", "retry-after"}
_KEPT_PREFIXES = ("ratelimit", "upload-", "tus-", "x-amz-")
_SAYS_WHAT = tuple(
    b"""content-type content-length content-digest content-md5 content-encoding if-match
    if-none-match upload-complete upload-concat upload-defer-length upload-length upload-metadata
    upload-offset x-amz-content-sha256 x-amz-copy-source x-amz-copy-source-range
    x-amz-decoded-content-length""".split()
)
"""Headers that say what a request asks for: the body, the upload, the source of a copy."""


def client_key(head: Head) -> str | Refusal | None:
    """The name of this request; None if it has none. What becomes another protocol has none: there
    is no answer to give again."""
    value = head.get(HEADER)
    if value is None or head.method not in METHODS or head.upgrade is not None:
        return None
    quoted = _QUOTED.fullmatch(value)
    text = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else value
    if not 1 <= len(text) <= 255 or not (quoted or _BARE.fullmatch(value)):
        return Refusal(BAD_HEADER, "Idempotency-Key is not a string of 1 to 255 characters")
    return text.decode("ascii")


def fingerprint(head: Head) -> str:
    """What two requests of one name must have in common."""
    digest = hashlib.sha256()
    for part in (head.method.encode(), head.target.encode("utf-8", "surrogateescape")):
        digest.update(part + b"\n")
    for name in _SAYS_WHAT:
        digest.update(name + b":" + (head.get(name) or b"") + b"\n")
    return digest.hexdigest()


def compares_body(head: Head) -> bool:
    return not head.chunked and 0 < (head.length or 0) <= BODY_COMPARED_MAX


def is_kept(route: Route, status: int) -> bool:
    """Whether an answer is the answer for good. What is charged always is: a repeat must not be
    charged again."""
    return commits(route, status) or (status < 500 and status not in _TRANSIENT)


def kept_headers(
    headers: Iterable[tuple[str, str]], *, with_body: bool
) -> tuple[tuple[str, str], ...]:
    """What a repeat is told of the first answer besides its status; without its body, nothing that
    is about the body."""
    return tuple(
        (name, value)
        for name, value in headers
        if (lower := name.lower()) in _KEPT or lower.startswith(_KEPT_PREFIXES)
        if with_body or lower not in _OF_THE_BODY
    )
