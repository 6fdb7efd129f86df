"""Quotas and snapshots: how an account stands on its meters at one instant."""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.catalog.meters import Meter
from gateway.catalog.periods import NO_PERIOD, PeriodRule

ACCOUNT_SCOPE = "a"


def key_scope(key_id: str) -> str:
    """The scope of one API key (by its public id, never the secret)."""
    return f"k:{key_id}"


class Quota(NamedTuple):
    """One scope's standing on one meter. Amounts in the meter's unit; `limit` None: unlimited.
    Several are made for each request, so it is of the kind that is made at the least cost.

    `peak` is the highest `used` of a level meter in the current period, None for other kinds.
    """

    meter: Meter
    scope: str
    limit: int | None
    used: int
    reserved: int
    peak: int | None = None
    period: PeriodRule = NO_PERIOD
    resets_at_ms: int | None = None

    @property
    def effective(self) -> int:
        return self.used + self.reserved

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.effective)

    @property
    def overage(self) -> int:
        return 0 if self.limit is None else max(0, self.used - self.limit)

    def __str__(self) -> str:
        limit = "∞" if self.limit is None else str(self.limit)
        return f"{self.meter.name} {self.used}+{self.reserved}/{limit}"


@dataclass(frozen=True, slots=True)
class OpenReservation:
    """An open reservation as an operator or its account may see it. `lines` are counter → held."""

    id: str
    opened_ms: int
    lease_end_ms: int
    note: str
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All quotas of one account at one instant of the store's clock."""

    account: str
    at_ms: int
    quotas: tuple[Quota, ...]
    open_count: int
    next_lease_end_ms: int | None
    pending_settlements: int = 0
    """Settlements that are in a gateway's journal and not in the quotas yet."""
