"""What the scripts' replies mean: tagged lists become outcomes; trouble becomes StoreError.

`lost`, `damaged` and what must never be answered are the world failing; all else is an outcome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from gateway.catalog.meters import AMOUNT_END, MeterKind
from gateway.catalog.plans import RateLimit
from gateway.errors import (
    CONTENT_MISMATCH,
    INVALID_AMOUNT,
    RESERVATION_SETTLED,
    STORE_LOST,
    STORE_UNAVAILABLE,
    UNKNOWN_RESERVATION,
    StoreError,
)
from gateway.ledger.arguments import Items, Shares, meters_of
from gateway.ledger.frame import Counter, Frame
from gateway.ledger.outcomes import (
    Adjusted,
    Batch,
    Denied,
    Expired,
    Granted,
    Line,
    RateLimited,
    RateState,
    Refused,
    Settled,
    Split,
)
from gateway.ledger.packed import standing
from gateway.ledger.quota import ACCOUNT_SCOPE, OpenReservation, Quota, Snapshot
from gateway.ledger.reservation import State

Reply = list[Any]

_DENIAL_WORDS = 6

_STATE_WORDS = {
    State.OPEN: "is open",
    State.COMMITTED: "was committed",
    State.RELEASED: "was released",
    State.EXPIRED: "has expired",
    State.DENIED: "was denied",
}


def _trouble(account: str, reply: Reply) -> StoreError:
    """What a reply says that is no outcome."""
    match reply:
        case [b"lost"]:
            return StoreError(
                STORE_LOST, f"account {account} has no books in the store", transient=False
            )
        case [b"damaged", what]:
            return _damaged(account, what.decode())
        case [b"below", counter, used]:
            return _damaged(account, f"{counter.decode()}:u is {int(used)}, less than its assets")
    raise AssertionError(f"a script answered {reply!r}")


def _refused(account: str, reservation_id: str, reply: Reply) -> Refused:
    """A reply that is neither success nor denial; raises StoreError when it is trouble."""
    match reply:
        case [b"invalid", amount]:
            return Refused(INVALID_AMOUNT, f"{amount.decode()} is no amount")
        case [b"unknown"]:
            return Refused(UNKNOWN_RESERVATION, f"there is no reservation {reservation_id}")
        case [b"mismatch", state]:
            return Refused(
                CONTENT_MISMATCH,
                f"the id {reservation_id} was used before with other content",
                _state_or_none(state),
            )
        case [b"settled_as", letter]:
            state = _state_or_none(letter)
            words = _STATE_WORDS[state] if state else "is no reservation's"
            return Refused(RESERVATION_SETTLED, f"reservation {reservation_id} {words}", state)
    raise _trouble(account, reply)


def reserved(
    reservation_id: str, frame: Frame, lines: Sequence[Line], rate: RateLimit | None, reply: Reply
) -> Granted | Denied | RateLimited | Refused:
    match reply:
        case [b"granted", state, replayed, left, reset_ms, retry_ms, *words]:
            return Granted(
                reservation_id,
                *_amounts_and_quotas(frame, lines, words),
                rate=RateState(rate, left, reset_ms, retry_ms) if rate else None,
                state=State(state.decode()),
                replayed=bool(replayed),
            )
        case [b"denied", replayed, left, reset_ms, retry_ms, *words]:
            return Denied(
                reservation_id,
                *_quota_and_asked(frame, words),
                rate=RateState(rate, left, reset_ms, retry_ms) if rate else None,
                replayed=bool(replayed),
            )
        case [b"limited", left, reset_ms, retry_ms]:
            assert rate is not None, "only a rate limit refuses for rate"
            return RateLimited(RateState(rate, left, reset_ms, retry_ms))
    return _refused(frame.account, reservation_id, reply)


def reserved_many(
    frame: Frame, items: Items, rate: RateLimit | None, partial: bool, reply: Reply
) -> Batch | RateLimited | Refused:
    match reply:
        case [b"batch", left, reset_ms, retry_ms, letters, short, *words]:
            state = RateState(rate, left, reset_ms, retry_ms) if rate else None
            return _batch(frame, items, letters.decode(), (short, partial, state), words)
        case [b"mismatch", _, name]:
            return _refused(frame.account, name.decode(), reply[:2])
    name = items[0][0]
    outcome = reserved(name, frame, items[0][1], rate, reply)
    assert isinstance(outcome, RateLimited | Refused), f"of a batch: {reply!r}"
    return outcome


def grown(
    reservation_id: str, frame: Frame, lines: Sequence[Line], reply: Reply
) -> Granted | Denied | Refused:
    match reply:
        case [b"granted", *words]:
            return Granted(reservation_id, *_amounts_and_quotas(frame, lines, words))
        case [b"denied", *words]:
            return Denied(reservation_id, *_quota_and_asked(frame, words))
    return _refused(frame.account, reservation_id, reply)


def split(account: str, reservation_id: str, items: Shares, reply: Reply) -> Split | Refused:
    match reply:
        case [b"split", letters, left, *records]:
            state, known = letters.decode()[:1], letters.decode()[1:]
            rest = by_account_meter(lines_of(left.decode())) if state == State.OPEN.value else {}
            states = known or State.OPEN.value * len(items)
            granted = (
                _share(*item, record.decode(), State(letter), replayed=bool(known))
                for item, record, letter in zip(items, records, states, strict=True)
            )
            return Split(reservation_id, tuple(granted), rest, replayed=bool(known))
        case [b"short", name, asked, held]:
            what = f"{int(asked)} of {name.decode()} is more than the {int(held)} that are left"
            return Refused(INVALID_AMOUNT, f"{what} of {reservation_id}", State.OPEN)
        case [b"mismatch", _, name]:
            return _refused(account, name.decode(), reply[:2])
        case [b"forgotten", name]:
            return _refused(account, name.decode(), [b"unknown"])
    return _refused(account, reservation_id, reply)


def gone(account: str, reply: Reply) -> tuple[str, ...]:
    match reply:
        case [b"extended", *ids]:
            return tuple(each.decode() for each in ids)
    raise _trouble(account, reply)


def committed(
    reservation_id: str, frame: Frame, meters: Sequence[str], reply: Reply
) -> Settled | Refused:
    match reply:
        case [b"settled", late, replayed, overage, *values]:
            return Settled(
                reservation_id,
                State.COMMITTED,
                late=late == b"1",
                overage=_overage(overage.decode()),
                quotas=_quotas(frame, meters, values),
                replayed=bool(replayed),
            )
    return _refused(frame.account, reservation_id, reply)


def released(account: str, reservation_id: str, reply: Reply) -> Settled | Refused:
    match reply:
        case [b"settled", state, replayed]:
            return Settled(reservation_id, State(state.decode()), replayed=bool(replayed))
    return _refused(account, reservation_id, reply)


def expired(account: str, reply: Reply) -> Expired:
    match reply:
        case [b"expired", count, more, next_end_ms]:
            return Expired(count, bool(more), _lease_end(next_end_ms))
    raise _trouble(account, reply)


def adjusted(
    account: str, adjustment_id: str, deltas: Mapping[str, int], reply: Reply
) -> Adjusted | Refused:
    match reply:
        case [b"adjusted", replayed]:
            return Adjusted(adjustment_id, dict(deltas), replayed=bool(replayed))
        case [b"below", counter, used]:
            detail = f"{counter.decode()} stands at {int(used)} and cannot go below zero"
            return Refused(INVALID_AMOUNT, detail)
    return _refused(account, adjustment_id, reply)


def removed(account: str, asset: str, reply: Reply) -> Adjusted | None:
    match reply:
        case [b"none"]:
            return None
        case [b"removed", row]:
            charged = charged_by(row.decode())
            return Adjusted(asset, {meter: -amount for meter, amount in charged.items()})
    raise _trouble(account, reply)


def snapshot(frame: Frame, reply: Reply) -> Snapshot:
    match reply:
        case [b"snapshot", now_ms, open_count, next_end_ms, *values]:
            quotas = _quotas(frame, frame.counters, values)
            return Snapshot(frame.account, now_ms, quotas, open_count, _lease_end(next_end_ms))
    raise _trouble(frame.account, reply)


def holders(account: str, reply: Reply) -> tuple[OpenReservation, ...]:
    match reply:
        case [b"holders", *words]:
            found = zip(words[::3], words[1::3], words[2::3], strict=True)
            return tuple(_open_reservation(*each) for each in found)
    raise _trouble(account, reply)


def lines_of(text: str) -> dict[str, int]:
    """`name=amount,name=amount` as in records, asset rows and overages; `-` for none."""
    if text in {"", "-"}:
        return {}
    parts = (part.partition("=") for part in text.removesuffix(",").split(","))
    return {name: int(amount) for name, _, amount in parts}


def by_account_meter(lines: Mapping[str, int]) -> dict[str, int]:
    """Meter → amount, from counter → amount: what the account's own scope has of it."""
    prefix = f"{ACCOUNT_SCOPE}/"
    return {n.removeprefix(prefix): amount for n, amount in lines.items() if n.startswith(prefix)}


def charged_by(row: str) -> dict[str, int]:
    """Meter → amount of what an asset's row says that the account's own scope was charged."""
    return by_account_meter(lines_of(without_instant(row)))


def without_instant(row: str) -> str:
    """The lines of an asset's row. Before them stands when it was stored (`@1767268800000,`), where
    it was written by a gateway that knew to say so."""
    return row.partition(",")[2] if row.startswith("@") else row


def _batch(
    frame: Frame,
    items: Items,
    letters: str,
    how: tuple[int, bool, RateState | None],
    words: Sequence[bytes],
) -> Batch:
    """`how`: number of the item that was denied first (0: none), whether partial, the rate."""
    short, partial, rate = how
    left = {name for (name, _), letter in zip(items, letters, strict=True) if letter == "-"}
    denied = None
    if short:
        quota, asked = _quota_and_asked(frame, words[:_DENIAL_WORDS])
        words = words[_DENIAL_WORDS:]
        if not partial:
            waiting = (line for name, lines in items if name in left for line in lines)
            asked = sum(line.most for line in waiting if line.meter == quota.meter.name)
        denied = Denied(items[short - 1][0], quota, asked, rate)
    meters = meters_of(items)
    count = sum(len(frame.counters[meter]) for meter in meters)
    standing = _by_meter(_quotas(frame, meters, words[:count]))
    records = iter(words[count:])
    granted = []
    for (name, lines), letter in zip(items, letters, strict=True):
        if letter == "-":
            continue
        amounts = {line.meter: line.most for line in lines}
        if letter != "g":
            held = by_account_meter(lines_of(next(records).decode()))
            amounts = {meter: held[meter] for meter in amounts}
        quotas = tuple(quota for meter in amounts for quota in standing[meter])
        known = State(letter) if letter != "g" else State.OPEN
        granted.append(Granted(name, amounts, quotas, rate, known, letter != "g"))
    return Batch(tuple(granted), tuple(name for name, _ in items if name in left), denied, rate)


def _share(
    name: str, asked: Mapping[str, int], lines: str, state: State, *, replayed: bool
) -> Granted:
    held = by_account_meter(lines_of(lines))
    amounts = {meter: held[meter] for meter in asked}
    return Granted(name, amounts, (), state=state, replayed=replayed)


def _by_meter(quotas: Iterable[Quota]) -> dict[str, tuple[Quota, ...]]:
    found: dict[str, tuple[Quota, ...]] = {}
    for quota in quotas:
        found[quota.meter.name] = (*found.get(quota.meter.name, ()), quota)
    return found


def _amounts_and_quotas(
    frame: Frame, lines: Sequence[Line], words: Sequence[bytes]
) -> tuple[dict[str, int], tuple[Quota, ...]]:
    """`words`: what each line has, then the counters of them all."""
    meters = [line.meter for line in lines]
    amounts = {meter: int(amount) for meter, amount in zip(meters, words, strict=False)}
    return amounts, _quotas(frame, meters, words[len(meters) :])


def _quota_and_asked(frame: Frame, words: Sequence[bytes]) -> tuple[Quota, int]:
    """`words`: counter, what was asked of it, its limit; used, peak and reserved at the time."""
    name, (asked, limit, used, peak, reserved) = words[0], map(int, words[1:])
    scope, meter = name.decode().split("/")
    # The counter of a remembered denial may be gone from the terms; its meter is asked for still.
    of_meter = frame.counters[meter]
    counter = next((c for c in of_meter if c.scope == scope), of_meter[0])
    limited = limit if limit < AMOUNT_END - 1 else None
    quota = _quota(replace(counter, scope=scope, limit=limited), used, peak, reserved)
    return quota, asked


def _quotas(frame: Frame, meters: Iterable[str], values: Iterable[bytes]) -> tuple[Quota, ...]:
    counters = [counter for meter in meters for counter in frame.counters[meter]]
    return tuple(map(_standing, counters, values))


def _standing(counter: Counter, value: bytes) -> Quota:
    """What belongs to an earlier period is over."""
    used, reserved, top, since, peak = standing(value)
    most = max(top, peak)
    if since < counter.period.start_ms:
        if counter.meter.kind is MeterKind.CUMULATIVE:
            used = 0.0
        most = used
    return _quota(counter, int(used), int(most), int(reserved))


def _quota(counter: Counter, used: int, peak: int, reserved: int) -> Quota:
    return Quota(
        counter.meter,
        counter.scope,
        counter.limit,
        used,
        reserved,
        peak if counter.meter.kind is MeterKind.LEVEL else None,
        counter.rule,
        counter.period.end_ms,
    )


def _overage(text: str) -> dict[str, int] | None:
    """Meter → the most it is over on any of its counters."""
    worst: dict[str, int] = {}
    for name, amount in lines_of(text).items():
        meter = name.partition("/")[2]
        worst[meter] = max(amount, worst.get(meter, 0))
    return worst or None


def _open_reservation(reservation_id: bytes, lease_end_ms: int, record: bytes) -> OpenReservation:
    _, opened, _, _, note, lines = record.decode().split(" ")
    return OpenReservation(
        reservation_id.decode(),
        int(opened),
        lease_end_ms,
        "" if note == "-" else unquote(note),
        lines_of(lines),
    )


def _lease_end(ms: int) -> int | None:
    return ms if ms >= 0 else None


def _state_or_none(letter: bytes) -> State | None:
    text = letter.decode()
    return State(text) if text in {state.value for state in State} else None


def _damaged(account: str, what: str) -> StoreError:
    return StoreError(
        STORE_UNAVAILABLE,
        f"the books of account {account} are damaged ({what}): audit and repair them",
        transient=False,
    )
