"""Frames: an account's terms at an hour, as the counters that a reservation's lines touch.

Calendars are computed here and not in Lua: a frame carries the start of each counter's period, the
name of the history bucket, and the interval [from_ms, until_ms) in which all of that is true. A
script compares the interval with Redis TIME and answers `clock` when it is outside; the caller
learns the store's time and comes again with the right frame. So only Redis TIME decides periods.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from gateway.catalog.meters import AMOUNT_END, Meter, MeterKind
from gateway.catalog.periods import NO_PERIOD, Period, PeriodKind, PeriodRule, period_at
from gateway.catalog.plans import Plan
from gateway.ledger.keys import AccountKeys, keys_of
from gateway.ledger.quota import ACCOUNT_SCOPE, key_scope


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Who is charged and by what limits. Built once per account and API key, then shared.

    `limits` are the account's own, over those of the plan (None lifts the limit); `key_limits` are
    the API key's own, over the plan's for each key. `anchor_ms` is the instant the account's
    billing months count from. `subject` is (kind, id).
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

    @property
    def bound(self) -> int:
        """Without a limit of its own a counter ends where amounts do."""
        return AMOUNT_END - 1 if self.limit is None else self.limit


@dataclass(frozen=True, slots=True)
class Frame:
    account: str
    from_ms: int
    until_ms: int
    counters: Mapping[str, tuple[Counter, ...]]
    """Meter name → its counters: the account's first, then the API key's, then the subject's."""
    keys: AccountKeys
    index: tuple[bytes, ...]
    """Key of the list of subjects, where there is one to be listed."""
    words: "Words"
    made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was made of it before; for who makes it."""


@dataclass(frozen=True, slots=True)
class Words:
    """A frame as the scripts are given it: encoded once, sent with every call."""

    from_ms: bytes
    until_ms: bytes
    stamp: bytes
    """The hour as `YYYYMMDDHH` (UTC), which names the buckets of history, and the starts of all
    periods: counters that moved with this stamp are counted as this frame counts."""
    names: Mapping[str, tuple[bytes, ...]]
    """Meter name → the names of its counters."""
    floors: Mapping[str, tuple[bytes, ...]]
    """Meter name → for each counter where its period starts; negative for kinds that do not start
    anew there."""
    everything: tuple[bytes, ...]
    """All of `names`, one after the other."""
    periods: bytes
    """Name and floor of each level meter, `storage=-0,…`."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_MS = 3_600_000


def frame_at(terms: Terms, at_ms: int) -> Frame:
    """The frame of `terms` that holds the instant `at_ms`; an hour long at most."""
    from_ms = at_ms // _HOUR_MS * _HOUR_MS
    until_ms = from_ms + _HOUR_MS
    counters: dict[str, tuple[Counter, ...]] = {}
    for meter in terms.meters.values():
        rule = NO_PERIOD if meter.kind is MeterKind.CONCURRENCY else terms.plan.period(meter.name)
        period = period_at(rule, at_ms, terms.anchor_ms)
        if rule.kind is not PeriodKind.NONE:
            from_ms = max(from_ms, period.start_ms)
        if period.end_ms is not None:
            until_ms = min(until_ms, period.end_ms)
        counters[meter.name] = tuple(
            Counter(f"{scope}/{meter.name}", scope, meter, limit, rule, period)
            for scope, limit in _scopes(terms, meter)
        )
    instant = _EPOCH + timedelta(milliseconds=at_ms)
    words = _words((from_ms, until_ms), f"{instant:%Y%m%d%H}".encode(), counters)
    keys = keys_of(terms.account)
    index = () if terms.subject is None else (keys.subjects,)
    return Frame(terms.account, from_ms, until_ms, counters, keys, index, words)


def subject_scope(subject: tuple[str, str]) -> str:
    """The scope of a subject, (kind, id)."""
    return f"s:{subject_name(subject)}"


def subject_name(subject: tuple[str, str]) -> str:
    """What the index of subjects knows it by. Kind and id are percent-encoded: they may hold what
    separates names here."""
    kind, identity = subject
    return f"{quote(kind, safe='')}:{quote(identity, safe='')}"


def _scopes(terms: Terms, meter: Meter) -> Iterator[tuple[str, int | None]]:
    """An API key is counted for only where it is limited; a subject always, so as to attribute."""
    yield ACCOUNT_SCOPE, terms.limits.get(meter.name, terms.plan.limits.get(meter.name))
    if terms.key_id is not None:
        limit = terms.key_limits.get(meter.name, terms.plan.key_limits.get(meter.name))
        if limit is not None:
            yield key_scope(terms.key_id), limit
    if terms.subject is not None:
        limits = terms.plan.subject_limits.get(terms.subject[0], {})
        yield subject_scope(terms.subject), limits.get(meter.name)


def _words(
    interval: tuple[int, int], hour: bytes, counters: Mapping[str, tuple[Counter, ...]]
) -> Words:
    names = {meter: tuple(c.name.encode() for c in found) for meter, found in counters.items()}
    floors = {meter: tuple(map(_floor_word, found)) for meter, found in counters.items()}
    starts = b",".join(meter.encode() + b"=" + floors[meter][0] for meter in sorted(floors))
    levels = (found[0] for found in counters.values() if found[0].meter.kind is MeterKind.LEVEL)
    return Words(
        from_ms=b"%d" % interval[0],
        until_ms=b"%d" % interval[1],
        stamp=hour + hashlib.blake2b(starts, digest_size=3).hexdigest().encode(),
        names=names,
        floors=floors,
        everything=tuple(name for of_meter in names.values() for name in of_meter),
        periods=b",".join(c.meter.name.encode() + b"=" + _floor_word(c) for c in levels),
    )


def _floor_word(counter: Counter) -> bytes:
    sign = b"" if counter.meter.kind is MeterKind.CUMULATIVE else b"-"
    return sign + b"%d" % counter.period.start_ms
