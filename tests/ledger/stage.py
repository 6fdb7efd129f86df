"""A ledger with a clock of its own, and the small language in which its tests are told.

    reserve A storage=60            -> granted 0+60/100
    reserve B storage=10..60        -> granted storage=40 0+100/100
    tick 31s
    commit A storage=45 as x.bin    -> committed late 45+0/100
    reserve_many A storage=60 | B storage=60    -> denied 120 of 0+0/100 left A B
    split A into B storage=10 | C storage=20    -> split B C rest storage=30

A line is a verb, its words, and after `->` the outcome in words; without `->` any outcome will do.
The store's time moves by `tick` and `at` alone.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.audit import audit
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import (
    Adjusted,
    Batch,
    Denied,
    Expired,
    Granted,
    Line,
    RateLimited,
    Refused,
    Settled,
    Split,
)
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State
from gateway.ledger.store import Store

METERS = {
    meter.name: meter
    for meter in (
        Meter("storage", MeterKind.LEVEL, "bytes"),
        Meter("files", MeterKind.LEVEL, "count"),
        Meter("egress", MeterKind.CUMULATIVE, "bytes"),
        Meter("requests", MeterKind.CUMULATIVE, "count"),
        Meter("slots", MeterKind.CONCURRENCY, "count"),
    )
}
NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def ms_of(text: str) -> int:
    """`31s`, `250ms`, `2h`; or an instant, `2026-03-01T00:00:00Z`."""
    if found := re.fullmatch(r"(-?\d+)(ms|s|m|h|d)", text):
        return int(found[1]) * _UNITS_MS[found[2]]
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass(slots=True)
class Stage:
    """`store_ms` is the store's time. Account, plan and keys are those of `terms`."""

    store: Store
    store_ms: int = NOON_MS
    terms: Terms = field(default_factory=lambda: Terms("acme", METERS, Plan("test")))
    rate: RateLimit | None = None
    lease_ms: int = 30_000
    ledger: Ledger = field(init=False)
    audited: bool = True
    latest_ms: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            self.store.admission, self.store.settlement, StoreClock(), now_ms=lambda: self.store_ms
        )

    @property
    def account(self) -> str:
        return self.terms.account

    def plan(self, plan: Plan) -> None:
        self.terms = replace(self.terms, plan=plan)

    async def open(self, **limits: int) -> None:
        """Open the account's books, on a plan with these limits."""
        self.plan(replace(self.terms.plan, limits=limits))
        await self.ledger.open_books(self.account)

    async def tell(self, text: str) -> None:
        """Tell a story; fails at the first line whose outcome is another."""
        for number, line in enumerate(text.strip().splitlines(), 1):
            words, _, expected = (part.strip() for part in line.partition("->"))
            if not words or words.startswith("#"):
                continue
            outcome = await self.do(words)
            wanted = " ".join(expected.split())
            assert not expected or outcome == wanted, f"line {number}: {words} -> {outcome}"

    async def do(self, words: str) -> str:
        """One line of a story; its outcome in words."""
        verb, *rest = words.split()
        try:
            return await _VERBS[verb](self, rest)
        except StoreError as error:
            return "lost" if error.error is STORE_LOST else f"damaged: {error}"

    async def findings(self) -> list[str]:
        """What an audit finds now, were the store's clock at the latest time of the story."""
        latest_ms = max(self.store_ms, self.latest_ms)
        found = await audit(self.store.client, self.account, now_ms=latest_ms)
        return [str(finding) for finding in found]

    def move_clock(self, to_ms: int) -> None:
        self.latest_ms = max(self.latest_ms, self.store_ms)
        self.store_ms = to_ms


async def everything(store: Store) -> dict[bytes, Any]:
    """All of the store, to be compared."""
    redis: Any = store.client
    found: dict[bytes, Any] = {}
    for key in await redis.keys():
        match await redis.type(key):
            case b"hash":
                found[key] = await redis.hgetall(key)
            case b"zset":
                found[key] = await redis.zrange(key, 0, -1, withscores=True)
            case _:
                found[key] = await redis.get(key)
    return found


def _lines(words: list[str]) -> list[Line]:
    lines = []
    for word in words:
        meter, _, amounts = word.partition("=")
        least, _, most = amounts.partition("..")
        lines.append(Line(meter, int(least), int(most or least)))
    return lines


def _amounts(words: list[str]) -> dict[str, int]:
    return {meter: int(amount) for meter, _, amount in (word.partition("=") for word in words)}


def _options(words: list[str], *names: str) -> tuple[list[str], dict[str, str]]:
    """Splits `a=1 lease 5s` into its lines and its named options."""
    lines, found = list(words), dict[str, str]()
    for name in names:
        if name in lines:
            at = lines.index(name)
            found[name] = lines[at + 1]
            del lines[at : at + 2]
    return lines, found


async def _reserve(stage: Stage, words: list[str]) -> str:
    remember = "remembered" in words
    words = [word for word in words if word != "remembered"]
    (name, *rest), options = _options(words, "lease", "keep")
    lines = _lines(rest)
    outcome = await stage.ledger.reserve(
        stage.terms,
        name,
        lines,
        lease_ms=ms_of(options["lease"]) if "lease" in options else stage.lease_ms,
        rate=stage.rate,
        keep_ms=ms_of(options.get("keep", "2m")),
        remember_denial=remember,
    )
    return _said(outcome, lines)


def _items(words: list[str]) -> list[tuple[str, list[str]]]:
    """`A storage=1 | B storage=2`"""
    parts = (part.split() for part in " ".join(words).split("|"))
    return [(name, rest) for name, *rest in parts]


async def _reserve_many(stage: Stage, words: list[str]) -> str:
    """Begins with `partial` if it may be."""
    partial = words[0] == "partial"
    words, options = _options(words[partial:], "lease", "keep")
    outcome = await stage.ledger.reserve_many(
        stage.terms,
        [(name, _lines(rest)) for name, rest in _items(words)],
        lease_ms=ms_of(options["lease"]) if "lease" in options else stage.lease_ms,
        rate=stage.rate,
        keep_ms=ms_of(options.get("keep", "2m")),
        partial=partial,
    )
    return _said(outcome)


async def _split(stage: Stage, words: list[str]) -> str:
    (name, _, *rest), options = _options(words, "lease")
    items = [(each, _amounts(amounts)) for each, amounts in _items(rest)]
    lease_ms = ms_of(options["lease"]) if "lease" in options else stage.lease_ms
    return _said(await stage.ledger.split(stage.terms, name, items, lease_ms=lease_ms))


async def _grow(stage: Stage, words: list[str]) -> str:
    lines = _lines(words[1:])
    return _said(await stage.ledger.grow(stage.terms, words[0], lines), lines)


async def _commit(stage: Stage, words: list[str]) -> str:
    (name, *rest), options = _options(words, "as", "of")
    outcome = await stage.ledger.commit(
        stage.terms,
        name,
        _amounts(rest),
        asset=options.get("as"),
        age_ms=_age_ms(options),
    )
    return _said(outcome)


def _age_ms(options: dict[str, str]) -> int:
    """`of 5s`: what comes so late."""
    return ms_of(options.get("of", "0s"))


async def _release(stage: Stage, words: list[str]) -> str:
    return _said(await stage.ledger.release(stage.account, words[0], reason="client gone"))


async def _extend(stage: Stage, words: list[str]) -> str:
    *names, lease = words
    gone = await stage.ledger.extend(stage.account, names, ms_of(lease))
    return f"gone {' '.join(gone)}" if gone else "extended"


async def _expire(stage: Stage, words: list[str]) -> str:
    return _said(await stage.ledger.expire(stage.account, int(words[0]) if words else 64))


async def _adjust(stage: Stage, words: list[str]) -> str:
    deltas = _amounts(words[1:])
    return _said(await stage.ledger.adjust(stage.terms, words[0], deltas, reason="count"))


async def _remove(stage: Stage, words: list[str]) -> str:
    (asset,), options = _options(words, "of")
    removed = await stage.ledger.remove(stage.terms, asset, age_ms=_age_ms(options))
    return "nothing" if removed is None else _said(removed)


async def _quota(stage: Stage, words: list[str]) -> str:
    """`quota storage`: all its counters; `quota storage k:key1`: one of them."""
    snapshot = await stage.ledger.snapshot(stage.terms)
    meter, *scopes = words
    return ", ".join(
        _standing(quota) + (f" peak {quota.peak}" if quota.peak is not None else "")
        for quota in snapshot.quotas
        if quota.meter.name == meter and (not scopes or quota.scope in scopes)
    )


async def _holders(stage: Stage, words: list[str]) -> str:
    return " ".join(held.id for held in await stage.ledger.holders(stage.account))


async def _tick(stage: Stage, words: list[str]) -> str:
    stage.move_clock(stage.store_ms + ms_of(words[0]))
    return ""


async def _at(stage: Stage, words: list[str]) -> str:
    stage.move_clock(ms_of(words[0]))
    return ""


async def _limit(stage: Stage, words: list[str]) -> str:
    limits = {**stage.terms.plan.limits, **_amounts(words)}
    stage.plan(replace(stage.terms.plan, limits=limits))
    return ""


_VERBS: dict[str, Callable[[Stage, list[str]], Awaitable[str]]] = {
    "reserve": _reserve,
    "reserve_many": _reserve_many,
    "split": _split,
    "grow": _grow,
    "commit": _commit,
    "release": _release,
    "extend": _extend,
    "expire": _expire,
    "adjust": _adjust,
    "remove": _remove,
    "quota": _quota,
    "holders": _holders,
    "tick": _tick,
    "at": _at,
    "limit": _limit,
}

Outcome = Granted | Denied | Batch | Split | RateLimited | Refused | Settled | Expired | Adjusted


def _said(outcome: Outcome, lines: list[Line] | None = None) -> str:
    """An outcome in words; see the stories for examples."""
    return " ".join(word for word in _words(outcome, lines or []) if word)


def _words(outcome: Outcome, lines: list[Line]) -> Iterator[str]:
    match outcome:
        case Granted(amounts=amounts, quotas=quotas, state=state):
            yield "granted"
            yield from (f"{x.meter}={amounts[x.meter]}" for x in lines if x.least != x.most)
            yield ", ".join(map(_standing, quotas))
            yield "" if state is State.OPEN else f"({state.name.lower()})"
        case Denied(quota=quota, requested=requested):
            yield f"denied {requested} of"
            yield "" if quota.scope == "a" else quota.scope
            yield _standing(quota)
        case Batch(granted=granted, left=left, denied=denied):
            yield "granted" if granted else ""
            yield from (each.id + _ended(each.state) for each in granted)
            yield ", ".join(dict.fromkeys(_standing(q) for each in granted for q in each.quotas))
            yield "" if denied is None else _said(denied)
            yield " ".join(("left", *left)) if left else ""
            yield "again" if any(each.replayed for each in granted) else ""
        case Split(items=items, rest=rest):
            yield "split"
            yield from (each.id + _ended(each.state) for each in items)
            yield "rest" if rest else ""
            yield from (f"{meter}={amount}" for meter, amount in rest.items())
        case RateLimited(rate=rate):
            yield f"limited for {rate.retry_after_ms}ms"
        case Refused(error=error, state=state):
            yield f"refused {error.code}"
            yield "" if state is None else f"({state.name.lower()})"
        case Settled(state=state, late=late, overage=overage, quotas=quotas):
            yield state.name.lower()
            yield "late" if late else ""
            yield ", ".join(map(_standing, quotas))
            yield from (f"over {meter}={amount}" for meter, amount in (overage or {}).items())
        case Expired(count=count, more=more):
            yield f"expired {count}"
            yield "more" if more else ""
        case Adjusted(deltas=deltas):
            yield "adjusted"
            yield from (f"{meter}={delta}" for meter, delta in deltas.items())
    yield "again" if getattr(outcome, "replayed", False) else ""


def _ended(state: State) -> str:
    return "" if state is State.OPEN else f"({state.name.lower()})"


def _standing(quota: Quota) -> str:
    return str(quota).split(" ", 1)[1]
