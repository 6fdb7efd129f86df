"""What the ledger does to many reservations at once, told a second time in plain Python.

As in the model that it works on, everything is a dict and nothing knows of Lua or Redis.
"""

from collections.abc import Iterable, Mapping

from gateway.catalog.plans import RateLimit
from gateway.errors import (
    CONTENT_MISMATCH,
    INVALID_AMOUNT,
    UNKNOWN_RESERVATION,
)
from gateway.ledger.arguments import Items, Shares
from gateway.ledger.frame import Frame, Terms
from gateway.ledger.outcomes import Batch, Denied, Granted, RateLimited, Refused, Split
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State
from tests.ledger.model import Model, Record, known_state

SWEPT_MAX = 64


def reserve_many(
    model: Model,
    at_ms: int,
    terms: Terms,
    items: Items,
    *,
    lease_ms: int,
    keep_ms: int,
    rate: RateLimit | None,
    partial: bool,
) -> Batch | RateLimited | Refused:
    now, frame = model.at(at_ms, terms)
    content = (
        tuple((name, tuple(lines)) for name, lines in items),
        partial,
        terms.key_id,
        terms.subject,
    )
    known = {name: model.records[name] for name, _ in items if name in model.records}
    for record in known.values():
        if record.content != content:
            return Refused(CONTENT_MISMATCH, "", known_state(record.state))
    states = {name: model.state_at(name, now) for name in known}
    if not known and rate is not None and not model.count_rate(rate, terms, now):
        limited = model.rate(rate, terms, now)
        assert limited is not None
        return RateLimited(limited)
    new = [(name, lines) for name, lines in items if name not in known]
    while new:
        ended = model.sweep(now, SWEPT_MAX)
        admitted, short = _share_out(model, frame, new, partial)
        if short is None or ended < SWEPT_MAX:
            break
    standing = model.rate(rate, terms, now)
    denied = None
    if new:
        model.seen_ms, model.due_ms = now, model.swept_ms or model.due_ms
        denied = None if short is None else Denied(*short, standing)
        for name, amounts in admitted.items():
            record = model.records[name] = Record(State.OPEN, content, keep_ms)
            model.hold(frame, record, amounts)
            model.lease(name, now + lease_ms)
            states[name] = State.OPEN
    granted = []
    for name, state in ((name, states[name]) for name, _ in items if name in states):
        record = known.get(name) or model.records[name]
        amounts = _own(record, [line.meter for line in dict(items)[name]])
        quotas = model.quotas(frame, amounts)
        granted.append(Granted(name, amounts, quotas, standing, state, name in known))
    left = tuple(name for name, _ in items if name not in states)
    return Batch(tuple(granted), left, denied, standing)


def split(model: Model, at_ms: int, name: str, items: Shares, *, lease_ms: int) -> Split | Refused:
    now = max(at_ms, model.seen_ms)
    content = ("split", name, [(each, dict(amounts)) for each, amounts in items])
    known = {each: model.records[each] for each, _ in items if each in model.records}
    for each, record in known.items():
        if record.content != content:
            return Refused(CONTENT_MISMATCH, "", _state_now(model, each, now))
    if known:
        return _split_again(model, now, name, items, known)
    if (refused := model.not_open(name, now)) is not None:
        return refused
    original = model.records[name]
    left = dict(original.held)
    shares: dict[str, dict[str, int]] = {}
    for each, amounts in items:
        shares[each] = {c: n for m, n in amounts.items() for c in left if c.endswith(f"/{m}")}
        for counter, amount in shares[each].items():
            left[counter] -= amount
    asked = {f"a/{meter}" for _, amounts in items for meter in amounts}
    if not asked <= left.keys() or min(left.values()) < 0:
        return Refused(INVALID_AMOUNT, "", State.OPEN)
    model.seen_ms, original.held = now, left
    for each, held in shares.items():
        model.records[each] = Record(State.OPEN, content, original.keep_ms, held)
        model.lease(each, now + lease_ms)
    new = tuple(Granted(each, dict(amounts), ()) for each, amounts in items)
    return Split(name, new, _own(original))


def _split_again(
    model: Model, now: int, name: str, items: Shares, known: Mapping[str, Record]
) -> Split | Refused:
    if len(known) < len(items):
        return Refused(UNKNOWN_RESERVATION, "")
    done = tuple(
        Granted(each, _own(known[each], amounts), (), None, model.state_at(each, now), True)
        for each, amounts in items
    )
    is_open = name in model.records and _state_now(model, name, now) is State.OPEN
    return Split(name, done, _own(model.records[name]) if is_open else {}, replayed=True)


def _own(record: Record, meters: Iterable[str] | None = None) -> dict[str, int]:
    """Meter → amount that is held: of these meters, or of all."""
    own = {c.removeprefix("a/"): amount for c, amount in record.held.items() if c.startswith("a/")}
    return own if meters is None else {meter: own[meter] for meter in meters}


def _state_now(model: Model, name: str, now: int) -> State | None:
    state = known_state(model.records[name].state)
    return state and model.state_at(name, now)


def _share_out(
    model: Model, frame: Frame, items: Items, partial: bool
) -> tuple[dict[str, dict[str, int]], tuple[str, Quota, int] | None]:
    """What is admitted of a batch; and the first item that is not, if any, with who says no."""
    taken: dict[str, int] = {}
    admitted: dict[str, dict[str, int]] = {}
    first = None
    for name, lines in items:
        asked = [(counter, line.most) for line in lines for counter in frame.counters[line.meter]]
        short = [(c, n) for c, n in asked if model.room(c) - taken.get(c.name, 0) < n]
        if short and not partial:
            counter, _ = short[0]
            total = sum(x.most for _, each in items for x in each if x.meter == counter.meter.name)
            return {}, (name, model.quota(counter), total)
        if short:
            counter, amount = short[0]
            quota = model.quota(counter)
            then = quota._replace(reserved=quota.reserved + taken.get(counter.name, 0))
            first = first or (name, then, amount)
            continue
        admitted[name] = {line.meter: line.most for line in lines}
        for counter, amount in asked:
            taken[counter.name] = taken.get(counter.name, 0) + amount
    return admitted, first
