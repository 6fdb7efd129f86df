"""What a request may use at most, before it is forwarded; and by how much to grow while it runs.

A size that the head declares is reserved as it is declared. A size nobody knows is reserved in
steps, each before the bytes it is for are forwarded. It begins with `least` 1: an account that has
nothing left is refused before its client sends a body or an answer is started.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission import aws_chunked, multipart
from gateway.admission.head import Head
from gateway.admission.measure import BodyCount
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Policy, Route, Source
from gateway.errors import BODY_OVERRUN, FILE_TOO_LARGE, LENGTH_REQUIRED, Refusal
from gateway.ledger.outcomes import Line

DELIVERY_STEP_S = 30
"""Seconds of delivery by which a reservation grows ahead."""

ENVELOPE_MAX = 1024 * 1024
"""Bytes that part headers and plain fields may add to the files in a multipart body: a declared
length that is larger than the cap by more than this is refused at once, by less only if the files
themselves turn out too large."""

_BODY_SOURCES = frozenset({Source.BODY, Source.FILES})


@dataclass(frozen=True, slots=True)
class Estimate:
    """`lines` are for `reserve`; the meters in `growing` follow the bytes and must be grown.

    `body_max`: bytes as sent after which the body is cut. `counted_max`: what may be counted of
    them (decoded bytes, or those of the file parts). None: not bounded.
    """

    lines: tuple[Line, ...]
    growing: tuple[str, ...] = ()
    body_max: int | None = None
    counted_max: int | None = None
    cap: int | None = None


@dataclass(frozen=True, slots=True)
class _Body:
    """How large the body is: `declared` is the size that is stored, None if nobody knows."""

    declared: int | None
    body_max: int | None
    counted_max: int | None
