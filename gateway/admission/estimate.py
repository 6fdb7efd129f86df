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
from gateway.catalog.routes import Amount, Policy, Route, Source
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

    `body_max`: bytes, as sent, after which the body is cut. `declared`: the size that will be
    stored, by the head. `cap`: the most it may be, by the plan. None: not bounded.
    """

    lines: tuple[Line, ...]
    growing: tuple[str, ...] = ()
    body_max: int | None = None
    declared: int | None = None
    cap: int | None = None


def estimate(head: Head, route: Route, plan: Plan) -> Estimate | Refusal:
    """LENGTH_REQUIRED, FILE_TOO_LARGE, INVALID_AMOUNT, BAD_FRAMING, BAD_HEADER or the estimate."""
    parted = multipart.boundary(head) if Source.FILES in route.reserve.values() else None
    if isinstance(parted, Refusal):
        return parted
    declared = _declared(head, route)
    if isinstance(declared, Refusal):
        return declared
    if declared is None and route.length_required:
        return Refusal(LENGTH_REQUIRED, "this route needs a Content-Length")
    cap = plan.caps.file_bytes if _stores_body(route) else None
    slack = 0 if parted is None else ENVELOPE_MAX
    if cap is not None and declared is not None and declared > cap + slack:
        return _too_large(cap)
    lines: list[Line] = []
    growing: list[str] = []
    for meter, source in route.reserve.items():
        amount = _known(source, head, declared)
        if amount is None:
            growing.append(meter)
            lines.append(_first_step(meter, source, route, cap))
        else:
            lines.append(Line.exact(meter, amount))
    body_max = _body_max(head, declared, None if cap is None else cap + slack)
    return Estimate(tuple(lines), tuple(growing), body_max, declared, cap)


def ahead_of_answers(route: Route) -> dict[str, Line]:
    """Meter → what `estimate` reserves of it for the bytes of an answer, whatever they will be."""
    return {
        meter: _first_step(meter, source, route, None)
        for meter, source in route.reserve.items()
        if source is Source.RESPONSE
    }


def overrun(estimate: Estimate, count: BodyCount) -> Refusal | None:
    """Why the body has to be cut now, with what was counted before it is forwarded."""
    if count.refusal is not None:
        return count.refusal
    if estimate.cap is not None and count.files > estimate.cap:
        return _too_large(estimate.cap)
    if estimate.declared is not None and count.body > estimate.declared:
        return Refusal(BODY_OVERRUN, "the body is longer than was declared")
    if estimate.body_max is not None and count.wire > estimate.body_max:
        return Refusal(FILE_TOO_LARGE, "the body has more envelope than content")
    return None


def growth(
    estimate: Estimate,
    route: Route,
    held: Mapping[str, int],
    counted: Mapping[Source, int],
    *,
    known: bool = False,
) -> tuple[Line, ...] | Refusal:
    """The new totals to grow to before what was `counted` is forwarded; empty if `held` is enough.

    `counted` includes the bytes in hand. Where the rest is known (an answer that declares its
    length), call once with the whole and `known`: all of it is held or none, before it begins.
    """
    lines: list[Line] = []
    for meter in estimate.growing:
        source = route.reserve[meter]
        assert isinstance(source, Source), "a constant does not grow"
        cap = estimate.cap if source in _BODY_SOURCES else None
        ahead = 0 if known else _step(source, route)
        line = grown(meter, held.get(meter, 0), counted.get(source, 0), ahead, cap)
        if isinstance(line, Refusal):
            return line
        if line is not None:
            lines.append(line)
    return tuple(lines)


def grown(meter: str, held: int, needed: int, ahead: int, cap: int | None) -> Line | Refusal | None:
    """One meter: None while `held` is enough, then what is needed and `ahead` more if there is
    room; never beyond `cap`."""
    if cap is not None and needed > cap:
        return _too_large(cap)
    if needed <= held:
        return None
    most = needed + ahead
    return Line(meter, needed, most if cap is None else min(most, cap))


def _declared(head: Head, route: Route) -> int | Refusal | None:
    """The size the head declares: 0 without a body, None if nobody knows."""
    decoded = aws_chunked.decoded_length(head, route)
    if decoded is not None:
        return decoded
    return None if head.chunked else head.length or 0


def _known(source: Amount, head: Head, declared: int | None) -> int | None:
    """The amount of one line before the request is forwarded, None if it has to grow.

    The files of a multipart body are reserved as if all of it were files: what its envelope takes
    is given back when it is settled. The answer to HEAD has no body.
    """
    if isinstance(source, int):
        return source
    if source in _BODY_SOURCES:
        return declared
    return 0 if head.method == "HEAD" else None


def _first_step(meter: str, source: Amount, route: Route, cap: int | None) -> Line:
    most = _step(source, route)
    if cap is not None and source in _BODY_SOURCES:
        most = min(most, cap)
    return Line(meter, min(1, most), most)


def _step(source: Amount, route: Route) -> int:
    return DELIVERY_STEP_S if source is Source.DELIVERY_SECONDS else route.grow_step


def _body_max(head: Head, declared: int | None, cap: int | None) -> int | None:
    if declared is None:
        return cap
    return head.length if not head.chunked else aws_chunked.wire_max(declared)


def _stores_body(route: Route) -> bool:
    """Caps are about what is stored: a job's JSON on a route that stores nothing is not capped."""
    return route.policy is Policy.UPLOAD or not _BODY_SOURCES.isdisjoint(route.reserve.values())


def _too_large(cap: int) -> Refusal:
    return Refusal(FILE_TOO_LARGE, f"the plan allows at most {cap} bytes for one file")
