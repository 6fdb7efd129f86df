"""What a request asks of an S3 API, judged from method, host, path, query and copy source alone.

Whatever could store bytes is either known here, and so charged, or it is refused: an upstream takes
a query it does not know for a plain PutObject. Reading is let through as it is.

Source: Amazon S3 API Reference, "Actions".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from gateway.admission import s3_names
from gateway.admission.head import Head
from gateway.admission.s3_names import CopySource, Object, Place
from gateway.errors import BAD_REQUEST, METHOD_NOT_ALLOWED, NOT_SERVED, Refusal

PARTS_MAX = 10_000
NUMBER = re.compile(r"0*(?:10000|[1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Read:
    """Delivers something: an object, a listing, settings."""


@dataclass(frozen=True, slots=True)
class Control:
    """Changes what is not counted: settings of a bucket, tags of an object."""


@dataclass(frozen=True, slots=True)
class Put:
    object: Object


@dataclass(frozen=True, slots=True)
class Copy:
    object: Object
    source: CopySource


@dataclass(frozen=True, slots=True)
class Delete:
    object: Object


@dataclass(frozen=True, slots=True)
class DeleteMany:
    """The keys are in the body."""

    bucket: str


@dataclass(frozen=True, slots=True)
class CreateUpload:
    object: Object


@dataclass(frozen=True, slots=True)
class Part:
    """`source`: the part is copied (UploadPartCopy), else it is in the body."""

    object: Object
    upload_id: str
    number: int
    source: CopySource | None = None


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    object: Object
    upload_id: str


@dataclass(frozen=True, slots=True)
class AbortUpload:
    object: Object
    upload_id: str


OfUpload = Part | CompleteUpload | AbortUpload
Operation = Read | Control | Put | Copy | Delete | DeleteMany | CreateUpload | OfUpload

_READING = frozenset({"GET", "HEAD"})
_WRITING = frozenset({"PUT", "POST", "DELETE"})
_OBJECT_SETTINGS = ({"acl"}, {"tagging"}, {"retention"}, {"legal-hold"})
_BUCKET_SETTINGS = frozenset({
    "accelerate", "acl", "cors", "encryption", "lifecycle", "notification", "object-lock",
    "ownershipControls", "policy", "publicAccessBlock", "requestPayment", "tagging", "versioning",
    "website",
})  # fmt: skip
"""Those that do not make the upstream store objects by itself (replication, logs, inventories)."""

_NO_MEANING = frozenset({"x-id"})
_NOT_IN_QUERIES = (
    *("x-amz-copy-source", "x-amz-write-offset", "x-amz-rename"),
    "x-amz-decoded-content-length",
)
"""Headers that presigned queries may carry instead, but these would change what is stored."""

_CHANGING_HEADERS = (b"x-amz-write-offset-bytes", b"x-amz-rename-source")
"""Make of a PutObject what it is not: an append, a rename."""


def judge(head: Head, domains: Sequence[str]) -> Operation | Refusal:
    """BAD_REQUEST, BAD_PATH, BAD_HEADER, METHOD_NOT_ALLOWED, NOT_SERVED or what is asked."""
    there = s3_names.place(head, domains)
    if isinstance(there, Refusal):
        return there
    if head.method in _READING:
        return Read()
    if head.method not in _WRITING:
        return Refusal(METHOD_NOT_ALLOWED, f"{head.method} is not served by an S3 API")
    asked = _asked(head.query)
    if isinstance(asked, Refusal):
        return asked
    if any(head.get(name) is not None for name in _CHANGING_HEADERS):
        return _not_served()
    source = s3_names.copy_source(head)
    if isinstance(source, Refusal):
        return source
    if there.key:
        return _on_object(head.method, there, asked, source)
    if there.bucket and source is None:
        return _on_bucket(head.method, there.bucket, asked)
    return _not_served()


def _asked(query: str) -> Mapping[str, str] | Refusal:
    """The parameters that choose the operation. What has another spelling is refused."""
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        lower = name.lower()
        if not name or lower in _NO_MEANING:
            continue
        if ";" in part or "%" in name or "+" in name or name in found:
            return Refusal(BAD_REQUEST, "the query has more than one reading")
        if lower.startswith("x-amz-"):
            if lower.startswith(_NOT_IN_QUERIES):
                return Refusal(BAD_REQUEST, f"{lower} belongs into the headers")
            continue
        found[name] = value
    return found


def _on_object(
    method: str, there: Place, asked: Mapping[str, str], source: CopySource | None
) -> Operation | Refusal:
    one = s3_names.object_at(there, unquote(asked.get("versionId", "")))
    if isinstance(one, Refusal):
        return one
    if method == "PUT":
        return _put(one, asked, source)
    if source is not None:
        return _not_served()
    return _post(one, asked) if method == "POST" else _delete(one, asked)


def _put(one: Object, asked: Mapping[str, str], source: CopySource | None) -> Operation | Refusal:
    names = set(asked)
    if not names:
        return Put(one) if source is None else Copy(one, source)
    if names == {"partNumber", "uploadId"}:
        if NUMBER.fullmatch(asked["partNumber"]) is None:
            return Refusal(BAD_REQUEST, f"partNumber is not a number from 1 to {PARTS_MAX}")
        return Part(one, unquote(asked["uploadId"]), int(asked["partNumber"]), source)
    if source is None and names - {"versionId"} in _OBJECT_SETTINGS:
        return Control()
    return _not_served()


def _post(one: Object, asked: Mapping[str, str]) -> Operation | Refusal:
    names = set(asked)
    if names == {"uploads"}:
        return CreateUpload(one)
    if names == {"uploadId"}:
        return CompleteUpload(one, unquote(asked["uploadId"]))
    return Control() if names - {"versionId"} == {"restore"} else _not_served()


def _delete(one: Object, asked: Mapping[str, str]) -> Operation | Refusal:
    names = set(asked)
    if names <= {"versionId"}:
        return Delete(one)
    if names == {"uploadId"}:
        return AbortUpload(one, unquote(asked["uploadId"]))
    return Control() if names - {"versionId"} == {"tagging"} else _not_served()


def _on_bucket(method: str, bucket: str, asked: Mapping[str, str]) -> Operation | Refusal:
    names = set(asked)
    match method:
        case "POST" if names == {"delete"}:
            return DeleteMany(bucket)
        case "PUT" | "DELETE" if not names or (len(names) == 1 and names <= _BUCKET_SETTINGS):
            return Control()
    return _not_served()


def _not_served() -> Refusal:
    return Refusal(NOT_SERVED, "this S3 operation is not served here: it could not be counted")
