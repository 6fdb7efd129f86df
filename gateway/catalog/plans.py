"""Plans: named sets of limits, caps and a rate limit that an account is on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.catalog.periods import NO_PERIOD, PeriodRule


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`requests` per `per_s` seconds and API key, as a sliding allowance (GCRA, full burst)."""

    requests: int
    per_s: int


class Cap(StrEnum):
    """Caps on what the JSON of a request asks for."""

    DURATION = "duration"
    RESOLUTION = "resolution"


@dataclass(frozen=True, slots=True)
class Caps:
    """The most one request may ask, whatever room the account has. None: no cap."""

    file_bytes: int | None = None
    duration_s: int | None = None
    resolution: int | None = None
    """Lines of a picture: 1080 for 1920x1080."""


@dataclass(frozen=True, slots=True)
class StoreFailure:
    """What to do when the store cannot be asked: refuse (`open_bytes` None), or let through up to
    `open_bytes` of body per account and gateway until the store is back."""

    open_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits by meter name; a meter that is missing in `limits` is unlimited.

    `key_limits` hold for each API key on its own, `subject_limits` for each subject of a kind.
    `periods` says when a cumulative meter starts anew (and which span a level's peak covers).
    """

    name: str
    limits: Mapping[str, int] = field(default_factory=dict)
    key_limits: Mapping[str, int] = field(default_factory=dict)
    subject_limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    periods: Mapping[str, PeriodRule] = field(default_factory=dict)
    caps: Caps = field(default_factory=Caps)
    rate: RateLimit | None = None
    store_failure: StoreFailure = field(default_factory=StoreFailure)
    block: Mapping[str, int] = field(default_factory=dict)
    """How much of each meter a gateway reserves at once for an account that is hot, to hand it out
    by itself; empty: nothing."""

    def period(self, meter: str) -> PeriodRule:
        return self.periods.get(meter, NO_PERIOD)
