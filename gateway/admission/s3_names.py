"""Names of S3: buckets, keys, versions and copy sources, each in one spelling whatever was sent.

One object has one asset, however its key is escaped in a path, a header or an XML body: the key is
decoded once and encoded again. A path that one upstream would decode otherwise than another (a bare
`+` is a blank to some) names nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

from gateway.admission.head import Head
from gateway.errors import BAD_HEADER, BAD_PATH, BAD_REQUEST, Refusal

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PORT = re.compile(r":[0-9]*$", re.ASCII)
_RANGE = re.compile(rb"bytes=([0-9]{1,15})-([0-9]{1,15})")
PREFIX = "s3/"
"""What the names of objects begin with in the books."""
VERSION = "?versionId="
NO_VERSION = "null"
"""What the version is called of an object that was stored while its bucket had no versions."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: a bucket and a key as they were sent. Empty: none is named."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Object:
    """`key` is in its one spelling. `version` None: whichever is the current one."""

    bucket: str
    key: str
    version: str | None = None

    def asset(self, version: str | None = None) -> str:
        """What the stored thing is called in the books: each version is a thing of its own."""
        version = version or self.version
        name = f"{PREFIX}{self.bucket}/{self.key}"
        if version is None or version == NO_VERSION:
            return name
        return f"{name}{VERSION}{quote(version, safe='')}"


@dataclass(frozen=True, slots=True)
class CopySource:
    """`object` None: it is not named by bucket and key. `length` is that of the part of it which
    is copied; None: all of it."""

    object: Object | None
    length: int | None = None


def place(head: Head, domains: Sequence[str]) -> Place | Refusal:
    """By the path, or by the host and the path, as the Host tells."""
    host = _PORT.sub("", head.host.decode("latin-1").lower())
    path = head.path[1:]
    for domain in domains:
        if host == domain:
            bucket, _, key = path.partition("/")
            break
        if host.endswith(f".{domain}"):
            bucket, key = host.removesuffix(f".{domain}"), path
            break
    else:
        return Refusal(BAD_REQUEST, "the Host is none that this S3 API is served under")
    if not bucket and key:
        return Refusal(BAD_PATH, "the path begins with an empty segment")
    if bucket and _BUCKET.fullmatch(bucket) is None:
        return Refusal(BAD_PATH, "this cannot be the name of a bucket")
    return Place(bucket, key)


def object_at(there: Place, version: str | None = None) -> Object | Refusal:
    if "+" in there.key:
        return Refusal(BAD_PATH, "a plus sign in a key has to be percent-encoded (%2B)")
    return Object(there.bucket, spelt(unquote_to_bytes(there.key)), version or None)


def spelt(key: bytes) -> str:
    return quote(key, safe="/")


def copy_source(head: Head) -> CopySource | Refusal | None:
    """None: the request copies nothing."""
    given = head.get(b"x-amz-copy-source")
    limits = head.get(b"x-amz-copy-source-range")
    if given is None:
        return None
    length = None
    if limits is not None:
        found = _RANGE.fullmatch(limits)
        length = 0 if found is None else int(found[2]) - int(found[1]) + 1
        if length <= 0:
            return Refusal(BAD_HEADER, "x-amz-copy-source-range is not bytes=first-last")
    return CopySource(_source(given.decode("latin-1")), length)


def _source(text: str) -> Object | None:
    name, _, version = text.partition(VERSION)
    bucket, slash, key = name.removeprefix("/").partition("/")
    if not slash and "%2f" in bucket.lower():  # encoded as a whole
        bucket, slash, key = unquote(bucket).removeprefix("/").partition("/")
        key = quote(key, safe="/")
    if _BUCKET.fullmatch(bucket) is None or not key or "+" in key:
        return None
    return Object(bucket, spelt(unquote_to_bytes(key)), unquote(version) or None)
