"""Probe: what an upstream's answer about a doubtful request says of it."""

import json
from dataclasses import dataclass

from gateway.catalog.meters import is_amount
from gateway.catalog.routes import Probe


@dataclass(frozen=True, slots=True)
class Found:
    """It was stored. `size` None: the upstream does not say how large it is."""

    size: int | None


@dataclass(frozen=True, slots=True)
class NotFound:
    """It was not stored."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """The upstream did not say; ask again."""


def verdict(
    probe: Probe, status: int, length: int | None, body: bytes
) -> Found | NotFound | Unclear:
    """`length` is the answer's Content-Length, `body` what it said, if the probe reads it."""
    if status in (404, 410):
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
