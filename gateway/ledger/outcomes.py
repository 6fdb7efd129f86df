"""Outcomes: what the ledger's verbs answer. The domain's `no` is a value, never an exception."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.catalog.plans import RateLimit
from gateway.errors import Error
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State


@dataclass(frozen=True, slots=True)
class Line:
    """What one meter must get at the `least` for the reservation to be granted, and may get at the
    `most` when there is room. A known size has both equal."""

    meter: str
    least: int
    most: int

    @classmethod
    def exact(cls, meter: str, amount: int) -> "Line":
        return cls(meter, amount, amount)


@dataclass(frozen=True, slots=True)
class RateState:
    """Where an API key stands on its rate limit after this request."""

    limit: RateLimit
    remaining: int
    reset_after_ms: int
    """Until the full allowance is back."""
    retry_after_ms: int = 0
    """Until the next request would be let through; 0 if one would be now."""


@dataclass(frozen=True, slots=True)
class Granted:
    """`amounts` is meter → amount now held by the reservation; `quotas` the counters it touches,
    as they stand after the grant."""

    id: str
    amounts: Mapping[str, int]
    quotas: tuple[Quota, ...]
    rate: RateState | None = None
    state: State = State.OPEN
    """OPEN, unless this is the replay of a reserve whose reservation has ended since."""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """No room. `quota` is the first counter (account before API key before subject) that binds."""

    id: str
    quota: Quota
    requested: int
    rate: RateState | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of many at once, in their order: `granted`, each with the counters as they stand
    after all of them, and `left`, the ids that there was no room for.

    `denied` says why, of the first that was left. Of all or none it is the counter that binds as it
    stands, and what the batch asks of it in all; of a partial one, as it stood when that item's
    turn came.
    """

    granted: tuple[Granted, ...]
    left: tuple[str, ...] = ()
    denied: Denied | None = None
    rate: RateState | None = None


@dataclass(frozen=True, slots=True)
class RateLimited:
    rate: RateState


@dataclass(frozen=True, slots=True)
class Refused:
    """Not allowed in that state: RESERVATION_SETTLED, UNKNOWN_RESERVATION, CONTENT_MISMATCH, …"""

    error: Error
    detail: str
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """`late`: committed after its lease had ended. `overage`: meter → units now used over limit."""

    id: str
    state: State
    late: bool = False
    overage: Mapping[str, int] | None = None
    quotas: tuple[Quota, ...] = ()
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """`items` are the new reservations, without counters, since none has moved. `rest` is what the
    original `id` still holds, meter → amount; empty when a replay finds that it has ended since."""

    id: str
    items: tuple[Granted, ...]
    rest: Mapping[str, int]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Adjusted:
    """`used` moved without a reservation; `deltas` is meter → signed change."""

    id: str
    deltas: Mapping[str, int]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """`count` leases were ended; `more`: there are due leases left beyond the batch."""

    count: int
    more: bool
    next_lease_end_ms: int | None
