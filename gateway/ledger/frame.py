"""Frames: an account's terms at an hour, as the counters that a reservation's lines touch.

Calendars are computed here and not in Lua: a frame carries the start of each counter's period, the
names of the history buckets, and the interval [from_ms, until_ms) in which all of that is true. A
script compares the interval with Redis TIME and answers `clock` when it is outside; the caller
learns the store's time and comes again with the right frame. So only Redis TIME decides periods.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.catalog.meters import Meter
from gateway.catalog.periods import Period, PeriodRule
from gateway.catalog.plans import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Who is charged and by what limits. Built once per account and API key, then shared.

    `limits` are the account's own, over those of the plan (None lifts the limit). `anchor_ms` is
    the instant the account's billing months count from. `subject` is (kind, id).
    """

    account: str
    meters: Mapping[str, Meter]
    plan: Plan
    limits: Mapping[str, int | None] = field(default_factory=dict)
    anchor_ms: int = 0
    key_id: str | None = None
    key_limits: Mapping[str, int] = field(default_factory=dict)
    subject: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    """One meter in one scope. `name` is `<scope>/<meter>`, the root of its fields in the books."""

    name: str
    scope: str
    meter: Meter
    limit: int | None
    rule: PeriodRule
    period: Period


@dataclass(frozen=True, slots=True)
class Frame:
    account: str
    from_ms: int
    until_ms: int
    day: str
    """`YYYYMMDD` (UTC): names the hash of hour buckets."""
    hour: str
    """`HH` (UTC): the bucket."""
    counters: Mapping[str, tuple[Counter, ...]]
    """Meter name → its counters: the account's first, then the API key's, then the subject's."""
