"""Probe: what to ask an upstream about a request it did not answer, and what its word means.

A plain route says by its `probe` where to ask; an object of S3 is asked about by its own name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway.admission.s3_names import PREFIX, VERSION
from gateway.catalog.meters import is_amount
from gateway.catalog.routes import Probe

_NOT_THERE = (404, 410)


@dataclass(frozen=True, slots=True)
class Found:
    """It was stored. `size` None: the upstream does not say how large it is. `version`: which of
    the versions that an object of S3 has it is."""

    size: int | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """It was not stored. `marked`: it is hidden by a delete marker, and its versions are not."""

    marked: bool = False


@dataclass(frozen=True, slots=True)
class Unclear:
    """The upstream did not say; ask again."""


Verdict = Found | NotFound | Unclear


def target(probe: Probe, params: Mapping[str, str]) -> str:
    path = probe.path
    for name, value in params.items():
        path = path.replace(f"{{{name}}}", quote(value, safe="/%:@!$&'()*+,;=-._~"))
    return path


def verdict(probe: Probe, status: int, length: int | None, body: bytes) -> Verdict:
    """`length` is the answer's Content-Length, `body` what it said, if the probe reads it."""
    if status in _NOT_THERE:
        return NotFound()
    if not 200 <= status < 300:
        return Unclear()
    if probe.size is None:
        return Found(length)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Unclear()
    size = document.get(probe.size) if isinstance(document, dict) else None
    return Found(size) if is_amount(size) else Unclear()


# -- S3 -------------------------------------------------------------------------------------------


def s3_target(asset: str) -> str | None:
    """Where the object is that the books call so; None: it is no object."""
    name, _, version = asset.partition(VERSION)
    if not name.startswith(PREFIX):
        return None
    return f"/{name.removeprefix(PREFIX)}" + (f"{VERSION}{version}" if version else "")


def s3_verdict(status: int, length: int | None, headers: Sequence[tuple[bytes, bytes]]) -> Verdict:
    """By the answer to HEAD. 403 may be that it is not there, or that we may not know."""
    said = {name.lower(): value.strip() for name, value in headers}
    if status in _NOT_THERE:
        return NotFound(said.get(b"x-amz-delete-marker", b"").lower() == b"true")
    if not 200 <= status < 300 or length is None:
        return Unclear()
    return Found(length, said.get(b"x-amz-version-id", b"").decode("latin-1") or None)


def s3_asset(asset: str, version: str | None) -> str:
    """What the books call the version that was found of an object, of which none was named."""
    if version is None or version == "null" or VERSION in asset:
        return asset
    return f"{asset}{VERSION}{quote(version, safe='')}"
