"""What the operations of an S3 API reserve and charge, out of the one route that says it.

`body` counts what an object stores, `response` and `delivery_seconds` what reading delivers, and a
constant counts once for each object that is stored. A copy counts as if its bytes had been sent.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from gateway.admission.s3_names import CopySource
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Amount, Policy, Route, Source
from gateway.errors import FILE_TOO_LARGE, FORBIDDEN, Refusal
from gateway.ledger.outcomes import Line

DELIVERED = frozenset({Source.RESPONSE, Source.DELIVERY_SECONDS})

_once = lru_cache(maxsize=256)
"""What is made of a route once."""


@_once
def reading(route: Route) -> Route:
    delivered = {meter: amount for meter, amount in route.reserve.items() if amount in DELIVERED}
    return replace(route, policy=Policy.DOWNLOAD, reserve=delivered)


@_once
def storing(route: Route) -> Route:
    return replace(route, policy=Policy.UPLOAD, reserve=_stored(route))


def copying(route: Route, size: int) -> Route:
    return replace(route, policy=Policy.UPLOAD, reserve=of_object(route, size))


@_once
def deleting(route: Route) -> Route:
    """What is not there any more is not charged any longer either."""
    return replace(
        route, policy=Policy.DELETE, reserve={}, commit_on=route.commit_on | frozenset({404})
    )


@_once
def passing(route: Route) -> Route:
    return replace(route, policy=Policy.PASS, reserve={})


def of_object(route: Route, size: int) -> dict[str, int]:
    """Meter → amount, of a stored object."""
    return {
        meter: amount if isinstance(amount, int) else size
        for meter, amount in _stored(route).items()
    }


def opening(route: Route) -> tuple[Line, ...]:
    """For an upload whose parts are to come: an account that has nothing left has no room for its
    first byte."""
    return tuple(Line.exact(meter, amount) for meter, amount in of_object(route, 1).items())


def growth(route: Route, total: int) -> tuple[Line, ...]:
    return tuple(
        Line.exact(meter, total) for meter, amount in route.reserve.items() if amount is Source.BODY
    )


def copied(route: Route, source: CopySource, charged: Mapping[str, int] | None) -> int | Refusal:
    """How many bytes a copy stores. `charged` is what its source is charged, None if it is none of
    the account's own: nobody but the upstream knows then how large it is."""
    if source.length is not None:
        return source.length
    for line in growth(route, 0):
        if charged is not None and line.meter in charged:
            return charged[line.meter]
    if route.copy_max is not None:
        return route.copy_max
    return Refusal(FORBIDDEN, "what is to be copied is not known here, and so not how large it is")


def too_large(plan: Plan, size: int) -> Refusal | None:
    cap = plan.caps.file_bytes
    if cap is None or size <= cap:
        return None
    return Refusal(FILE_TOO_LARGE, f"the plan allows at most {cap} bytes for one object")


def _stored(route: Route) -> Mapping[str, Amount]:
    return {
        meter: amount
        for meter, amount in route.reserve.items()
        if amount is Source.BODY or isinstance(amount, int)
    }
