"""What a resumable upload may hold, and what one request may add to it, in every protocol.

A declared length is reserved whole at the creation. An upload whose length nobody knows yet holds
what each request may bring, ahead of its bytes. `amounts` are the lines of an upload as its
creation said them: BODY for as many bytes as it is long, else a constant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.admission.estimate import Estimate
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Route, Source
from gateway.errors import BODY_OVERRUN, FILE_TOO_LARGE, Refusal
from gateway.ledger.outcomes import Line
from gateway.ledger.quota import Quota

Amounts = Mapping[str, str | int]

BODY = "body"


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the bytes of one request may go. `offset` is where they begin, `end` where they end
    if that is known before they come, `length` where the upload ends if anybody knows."""

    offset: int
    end: int | None
    length: int | None


class Fate(StrEnum):
    """How an upload stands that is not whole, by the upstream's answer to HEAD."""

    UNFINISHED = "unfinished"
    GONE = "gone"
    UNCLEAR = "unclear"
    """The upstream did not say; ask again."""


def amounts_of(route: Route, *, parts: bool = False) -> Amounts:
    """The lines of an upload created on `route`; `parts`: those of a partial one, which is not
    counted as an upload of its own."""
    return {
        meter: BODY if amount is Source.BODY else amount
        for meter, amount in route.reserve.items()
        if isinstance(amount, Source | int) and not (parts and isinstance(amount, int))
    }


def estimate(
    amounts: Amounts, plan: Plan, length: int | None, *, step: int, held: int = 0
) -> Estimate | Refusal:
    """What to reserve at the creation; FILE_TOO_LARGE if the plan does not allow that much.

    `held`: so many of its bytes are reserved already. Where the length is not known, there has to
    be room for a first byte.
    """
    cap = plan.caps.file_bytes
    if cap is not None and length is not None and length > cap:
        return too_large(cap)
    most = step if cap is None else min(step, cap)
    lines = []
    for meter, amount in amounts.items():
        if isinstance(amount, int):
            lines.append(Line.exact(meter, amount))
        elif length is not None:
            lines.append(Line.exact(meter, max(0, length - held)))
        else:
            lines.append(Line(meter, min(1, most), most))
    return Estimate(tuple(lines), cap=cap, declared=length)


def overrun(reach: Reach, total: int, cap: int | None) -> Refusal | None:
    """Why an upload may not get as far as `total` bytes."""
    if reach.length is not None and total > reach.length:
        return Refusal(BODY_OVERRUN, "the upload would be longer than was declared")
    if cap is not None and total > cap:
        return too_large(cap)
    return None


def growth(amounts: Amounts, total: int, ahead: int, cap: int | None) -> tuple[Line, ...]:
    """The new totals for an upload of `total` bytes, and `ahead` more of them if there is room."""
    most = total + ahead if cap is None else min(total + ahead, max(cap, total))
    return tuple(
        Line(meter, total, most) for meter, amount in amounts.items() if isinstance(amount, str)
    )


def most_of(
    amounts: Amounts, quotas: tuple[Quota, ...], cap: int | None, own: int = 0
) -> int | None:
    """The most bytes one upload may have: what the plan allows and what there is room for, besides
    the `own` it holds already. None: as many as it likes."""
    room = [
        quota.remaining + own
        for quota in quotas
        if quota.remaining is not None and amounts.get(quota.meter.name) == BODY
    ]
    return min(room if cap is None else [*room, cap], default=None)


def too_large(cap: int) -> Refusal:
    return Refusal(FILE_TOO_LARGE, f"the plan allows at most {cap} bytes for one file")
