"""The ledger in plain Python: what the scripts must do, told a second time and much more simply.

Everything is a dict; a verb is a method that answers the outcome the real ledger must give at the
same instant. Nothing here knows of Lua, Redis or retries. `damaged` stands for books that cannot
give back what an asset was charged, because an operator adjusted it away.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from gateway.catalog.meters import AMOUNT_END, MeterKind
from gateway.catalog.plans import RateLimit
from gateway.errors import (
    CONTENT_MISMATCH,
    INVALID_AMOUNT,
    RESERVATION_SETTLED,
    UNKNOWN_RESERVATION,
)
from gateway.ledger.frame import Counter, Frame, Terms, frame_at
from gateway.ledger.history import Level, Sum
from gateway.ledger.outcomes import (
    Adjusted,
    Denied,
    Expired,
    Granted,
    Line,
    RateLimited,
    RateState,
    Refused,
    Settled,
)
from gateway.ledger.quota import Quota, Snapshot
from gateway.ledger.reservation import State
from gateway.ledger.spans import Grain, Span

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BATCH = 16
ADJUSTMENT = "A"
REMOVED = "X"


class DamagedError(Exception):
    """More is to be given back than was used."""


@dataclass(slots=True)
class Balance:
    used: int = 0
    since: int = 0
    peak: int = 0
    reserved: int = 0


@dataclass(slots=True)
class Record:
    state: State | str
    content: object
    keep_ms: int
    held: dict[str, int] = field(default_factory=dict)
    charged: object = None
    outcome: Denied | Settled | None = None


class Model:
    def __init__(self) -> None:
        self.seen_ms = 0
        self.due_ms = 0
        """No lease ends before, and until then nobody looks for what may be forgotten."""
        self.swept_ms = 0
        self.balances: dict[str, Balance] = {}
        self.records: dict[str, Record] = {}
        self.leases: dict[str, int] = {}
        self.forget: dict[str, int] = {}
        self.assets: dict[str, dict[str, int]] = {}
        self.stored_ms: dict[str, int] = {}
        self.busy_us: dict[str | None, int] = {}
        self.frames: dict[Terms, Frame] = {}
        self.moves: dict[str, list[tuple[int, int]]] = {}
        """Counter → when it moved and by how much: its history."""

    # -- the verbs --------------------------------------------------------------------------------

    def reserve(
        self, at_ms: int, terms: Terms, name: str, lines: Sequence[Line], **options: object
    ) -> Granted | Denied | RateLimited | Refused:
        now, frame = self.at(at_ms, terms)
        limit, keep_ms = options.get("rate"), options["keep_ms"]
        lease_ms, remember = options["lease_ms"], options.get("remember_denial")
        assert isinstance(keep_ms, int)
        assert isinstance(lease_ms, int)
        assert isinstance(limit, RateLimit | None)
        content = (tuple(lines), terms.key_id, terms.subject)
        record = self.records.get(name) if lines else None
        if record is not None:
            if record.content != content:
                return Refused(CONTENT_MISMATCH, "", known_state(record.state))
            if isinstance(record.outcome, Denied):
                return self._denied_again(record.outcome, frame, self.rate(limit, terms, now))
            state = self.state_at(name, now)
            amounts = {line.meter: record.held[f"a/{line.meter}"] for line in lines}
            quotas = self.quotas(frame, amounts)
            return Granted(name, amounts, quotas, self.rate(limit, terms, now), state, True)
        if limit is not None and not self.count_rate(limit, terms, now):
            state_now = self.rate(limit, terms, now)
            assert state_now is not None
            return RateLimited(state_now)
        short = self._make_room(now, frame, lines, {}) if lines else None
        rate = self.rate(limit, terms, now)
        self.seen_ms = now
        if lines and self.swept_ms:
            self.due_ms = self.swept_ms
        if short is not None:
            denied = Denied(name, *short, rate)
            if remember:
                self.records[name] = Record(State.DENIED, content, keep_ms, outcome=denied)
                self.forget[name] = now + keep_ms
            return denied
        amounts = {line.meter: self._fits(frame, line, {}) for line in lines}
        if lines:
            record = Record(State.OPEN, content, keep_ms)
            self.hold(frame, record, amounts)
            self.records[name] = record
            self.lease(name, now + lease_ms)
        return Granted(name, amounts, self.quotas(frame, amounts), rate)

    def grow(
        self, at_ms: int, terms: Terms, name: str, lines: Sequence[Line]
    ) -> Granted | Denied | Refused:
        now, frame = self.at(at_ms, terms)
        if (refused := self.not_open(name, now)) is not None:
            return refused
        record = self.records[name]
        if (short := self._make_room(now, frame, lines, record.held)) is not None:
            return Denied(name, *short)
        amounts = {line.meter: self._fits(frame, line, record.held) for line in lines}
        if any(amount > record.held.get(f"a/{meter}", -1) for meter, amount in amounts.items()):
            self.seen_ms = now
            self.hold(frame, record, amounts)
        return Granted(name, amounts, self.quotas(frame, amounts))

    def extend(self, at_ms: int, names: Sequence[str], lease_ms: int) -> tuple[str, ...]:
        now = max(at_ms, self.seen_ms)
        gone = tuple(name for name in names if self.leases.get(name, 0) <= now)
        for name in set(names) - set(gone):
            self.lease(name, now + lease_ms)
            self.seen_ms = now
        return gone

    def commit(
        self,
        at_ms: int,
        terms: Terms,
        name: str,
        actual: Mapping[str, int],
        asset: str | None = None,
        age_ms: int = 0,
    ) -> Settled | Refused:
        now, frame = self.at(at_ms, terms)
        if (record := self.records.get(name)) is None:
            return Refused(UNKNOWN_RESERVATION, "")
        actual = {
            m: n for m, n in actual.items() if terms.meters[m].kind is not MeterKind.CONCURRENCY
        }
        if record.state is State.COMMITTED:
            if record.charged != (actual, asset):
                return Refused(CONTENT_MISMATCH, "", State.COMMITTED)
            assert isinstance(record.outcome, Settled)
            return replace(record.outcome, quotas=self.quotas(frame, actual), replayed=True)
        if record.state not in {State.OPEN, State.EXPIRED}:
            return Refused(RESERVATION_SETTLED, "", known_state(record.state))
        late = self.state_at(name, now) is State.EXPIRED
        counters = [counter for meter in actual for counter in frame.counters[meter]]
        moves = {counter.name: actual[counter.meter.name] for counter in counters}
        charge = {c.name: moves[c.name] for c in counters if c.meter.kind is MeterKind.LEVEL}
        if asset and self.changed_ms(asset) > now - age_ms:
            moves.update(dict.fromkeys(charge, 0))
            charge = {}
        if asset and charge:
            for counter, amount in self.assets.get(asset, {}).items():
                moves[counter] = moves.get(counter, 0) - amount
        if (refused := self._move(now, frame, moves)) is not None:
            return refused
        if asset and charge:
            self.assets[asset], self.stored_ms[asset] = charge, now - age_ms
        self.leave(name, now, State.COMMITTED)
        quotas = self.quotas(frame, actual)
        over = {meter: self._worst(quotas, meter) for meter in actual}
        over = {meter: excess for meter, excess in over.items() if excess}
        outcome = Settled(name, State.COMMITTED, late, over or None, quotas)
        record.charged, record.outcome = (actual, asset), outcome
        return outcome

    def release(self, at_ms: int, name: str) -> Settled | Refused:
        now = max(at_ms, self.seen_ms)
        if (record := self.records.get(name)) is None:
            return Refused(UNKNOWN_RESERVATION, "")
        if record.state in {State.RELEASED, State.EXPIRED}:
            assert isinstance(record.state, State)
            return Settled(name, record.state, replayed=record.state is State.RELEASED)
        if record.state is not State.OPEN:
            return Refused(RESERVATION_SETTLED, "", known_state(record.state))
        expired = self.state_at(name, now) is State.EXPIRED
        self.seen_ms = now
        self.leave(name, now, State.EXPIRED if expired else State.RELEASED)
        return Settled(name, State.EXPIRED if expired else State.RELEASED)

    def expire(self, at_ms: int, batch_max: int) -> Expired:
        now = max(at_ms, self.seen_ms)
        count = self.sweep(now, batch_max, always=True)
        ahead = min(self.leases.values(), default=None)
        return Expired(count, ahead is not None and ahead <= now, ahead)

    def adjust(
        self, at_ms: int, terms: Terms, name: str, deltas: Mapping[str, int]
    ) -> Adjusted | Refused:
        now, frame = self.at(at_ms, terms)
        if (record := self.records.get(name)) is not None:
            if record.state == ADJUSTMENT and record.content == dict(deltas):
                return Adjusted(name, deltas, replayed=True)
            return Refused(CONTENT_MISMATCH, "", known_state(record.state))
        counters = [counter for meter in deltas for counter in frame.counters[meter]]
        try:
            refused = self._move(now, frame, {c.name: deltas[c.meter.name] for c in counters})
        except DamagedError:
            refused = Refused(INVALID_AMOUNT, "")
        if refused is not None:
            return refused
        self.records[name] = Record(ADJUSTMENT, dict(deltas), DAY_MS)
        self.forget[name] = now + DAY_MS
        return Adjusted(name, deltas)

    def remove(self, at_ms: int, terms: Terms, asset: str, age_ms: int = 0) -> Adjusted | None:
        now, frame = self.at(at_ms, terms)
        if self.changed_ms(asset) > now - age_ms:
            return None
        charged = self.assets.get(asset, {})
        self._move(now, frame, {counter: -amount for counter, amount in charged.items()})
        self.records[f"removed {asset}"] = Record(REMOVED, now - age_ms, HOUR_MS)
        self.forget[f"removed {asset}"] = now + HOUR_MS
        if self.assets.pop(asset, None) is None:
            return None
        own = {c.removeprefix("a/"): -n for c, n in charged.items() if c.startswith("a/")}
        return Adjusted(asset, own)

    def snapshot(self, at_ms: int, terms: Terms) -> Snapshot:
        now, frame = self.at(at_ms, terms)
        while self.sweep(now, BATCH) == BATCH:
            pass
        ahead = min(self.leases.values(), default=None)
        quotas = self.quotas(frame, frame.counters)
        return Snapshot(terms.account, now, quotas, len(self.leases), ahead)

    # -- what they share --------------------------------------------------------------------------

    def changed_ms(self, asset: str) -> int:
        """When it was stored or removed, the later of the two."""
        stored_ms = self.stored_ms[asset] if asset in self.assets else 0
        removed = self.records.get(f"removed {asset}")
        removed_ms = 0 if removed is None else removed.content
        assert isinstance(removed_ms, int)
        return max(stored_ms, removed_ms)

    def at(self, at_ms: int, terms: Terms) -> tuple[int, Frame]:
        now = max(at_ms, self.seen_ms)
        frame = self.frames.get(terms)
        if frame is None or not frame.from_ms <= now < frame.until_ms:
            frame = self.frames[terms] = frame_at(terms, now)
        return now, frame

    def _balance(self, name: str) -> Balance:
        return self.balances.setdefault(name, Balance())

    def quota(self, counter: Counter) -> Quota:
        balance, kind = self.balances.get(counter.name, Balance()), counter.meter.kind
        over = balance.since < counter.period.start_ms
        used = 0 if over and kind is MeterKind.CUMULATIVE else balance.used
        peak = None if kind is not MeterKind.LEVEL else used if over else balance.peak
        return Quota(
            *(counter.meter, counter.scope, counter.limit, used, balance.reserved, peak),
            *(counter.rule, counter.period.end_ms),
        )

    def quotas(self, frame: Frame, meters: Iterable[str]) -> tuple[Quota, ...]:
        return tuple(self.quota(c) for meter in meters for c in frame.counters[meter])

    @staticmethod
    def _worst(quotas: Iterable[Quota], meter: str) -> int:
        return max(quota.overage for quota in quotas if quota.meter.name == meter)

    def _denied_again(self, first: Denied, frame: Frame, rate: RateState | None) -> Denied:
        """With the amounts of the first answer, in the period of this one."""
        counter = frame.counters[first.quota.meter.name][0]
        quota = first.quota._replace(resets_at_ms=counter.period.end_ms)
        return replace(first, quota=quota, rate=rate, replayed=True)

    def room(self, counter: Counter) -> int:
        quota = self.quota(counter)
        return (AMOUNT_END - 1 if quota.limit is None else quota.limit) - quota.effective

    def _fits(self, frame: Frame, line: Line, held: Mapping[str, int]) -> int:
        counters = frame.counters[line.meter]
        most = min(line.most, *(self.room(c) + held.get(c.name, 0) for c in counters))
        return max(held.get(f"a/{line.meter}", -1), most)

    def lease(self, name: str, end_ms: int) -> None:
        self.leases[name] = end_ms
        self.due_ms = min(self.due_ms, end_ms)

    def _make_room(
        self, now: int, frame: Frame, lines: Sequence[Line], held: Mapping[str, int]
    ) -> tuple[Quota, int] | None:
        """The first counter that binds when no due lease is left, if one does."""
        while True:
            ended = self.sweep(now, BATCH)
            for line in lines:
                for counter in frame.counters[line.meter]:
                    room = self.room(counter) + held.get(counter.name, 0)
                    if room < line.least and line.least > held.get(f"a/{line.meter}", -1):
                        short = self.quota(counter), line.least
                        break
                else:
                    continue
                break
            else:
                return None
            if ended < BATCH:
                return short

    def hold(self, frame: Frame, record: Record, amounts: Mapping[str, int]) -> None:
        for meter, amount in amounts.items():
            if amount > record.held.get(f"a/{meter}", -1):
                for counter in frame.counters[meter]:
                    more = amount - record.held.get(counter.name, 0)
                    self._balance(counter.name).reserved += more
                    record.held[counter.name] = amount

    def _move(self, now: int, frame: Frame, moves: Mapping[str, int]) -> Refused | None:
        starts = {
            meter: (counters[0].period.start_ms, counters[0].meter.kind)
            for meter, counters in frame.counters.items()
        }
        after: dict[str, Balance] = {}
        for name, move in moves.items():
            start, kind = starts[name.partition("/")[2]]
            balance = replace(self.balances.get(name, Balance()))
            if move:
                if balance.since < start:
                    balance.since, balance.peak = start, balance.used
                    if kind is MeterKind.CUMULATIVE:
                        balance.used = balance.peak = 0
                balance.used += move
                if kind is MeterKind.LEVEL:
                    balance.peak = max(balance.peak, balance.used)
            if balance.used < 0:
                raise DamagedError
            if balance.used >= AMOUNT_END:
                return Refused(INVALID_AMOUNT, "")
            after[name] = balance
        self.balances.update(after)
        self.seen_ms = now
        for name, move in moves.items():
            if move:
                self.moves.setdefault(name, []).append((now, move))
        return None

    def sums(self, counter: str, span: Span, grain: Grain) -> tuple[Sum, ...]:
        """What a cumulative counter moved by in each bucket."""
        moves = self.moves.get(counter, [])
        return tuple(
            Sum(start, sum(move for at, move in moves if start <= at < start + grain.ms))
            for start in span.buckets(grain)
        )

    def levels(self, counter: str, span: Span, grain: Grain) -> tuple[Level, ...]:
        """What a level counter held in each bucket."""
        moves, found = self.moves.get(counter, []), []
        for start in span.buckets(grain):
            opening = sum(move for at, move in moves if at < start)
            inside = [move for at, move in moves if start <= at < start + grain.ms]
            course = list(accumulate(inside, initial=opening))
            found.append(Level(start, opening, max(course), course[-1]))
        return tuple(found)

    def state_at(self, name: str, now: int) -> State:
        """A reservation has expired from its lease end on, whether or not it was swept."""
        state = self.records[name].state
        assert isinstance(state, State)
        return State.EXPIRED if state is State.OPEN and self.leases[name] <= now else state

    def not_open(self, name: str, now: int) -> Refused | None:
        if name not in self.records:
            return Refused(UNKNOWN_RESERVATION, "")
        if self.records[name].state == ADJUSTMENT:
            return Refused(RESERVATION_SETTLED, "")
        state = self.state_at(name, now)
        return None if state is State.OPEN else Refused(RESERVATION_SETTLED, "", state)

    def leave(self, name: str, now: int, state: State) -> None:
        """A record leaves OPEN, or EXPIRED by a late commit; what it held is given back once."""
        record = self.records[name]
        if record.state is State.OPEN:
            for counter, amount in record.held.items():
                self.balances[counter].reserved -= amount
            del self.leases[name]
        record.state = state
        keep_ms = max(record.keep_ms, DAY_MS) if state is State.EXPIRED else record.keep_ms
        self.forget[name] = now + keep_ms

    def sweep(self, now: int, batch: int, *, always: bool = False) -> int:
        """How many leases ended. What is due next is known at once if anything was to be done;
        else a verb that writes says so, from `swept_ms`."""
        self.swept_ms = 0
        if now < self.due_ms and not always:
            return 0
        ends = sorted((end, name) for name, end in self.leases.items())
        drops = sorted((end, name) for name, end in self.forget.items())
        due = [name for end, name in ends[:batch] if end <= now]
        old = [name for end, name in drops[:batch] if end <= now]
        later = [end for end, _ in ends[len(due) : len(due) + 1]]
        more = len(old) == batch and any(end <= now for end, _ in drops[batch : batch + 1])
        next_ms = min([now + 1_000, *later, *([now] if more else [])])
        for name in due:
            self.leave(name, now, State.EXPIRED)
        for name in old:
            del self.forget[name], self.records[name]
        if due or old:
            self.seen_ms, self.due_ms = now, next_ms
        self.swept_ms = next_ms
        return len(due)

    # -- the rate ---------------------------------------------------------------------------------

    def count_rate(self, limit: RateLimit, terms: Terms, now: int) -> bool:
        each = -(-limit.per_s * 1_000_000 // limit.requests)
        busy = max(self.busy_us.get(terms.key_id, 0), now * 1000) + each
        if busy - now * 1000 > each * limit.requests:
            return False
        self.busy_us[terms.key_id] = busy
        return True

    def rate(self, limit: RateLimit | None, terms: Terms, now: int) -> RateState | None:
        if limit is None:
            return None
        each = -(-limit.per_s * 1_000_000 // limit.requests)
        ahead = max(self.busy_us.get(terms.key_id, 0) - now * 1000, 0)
        left = max(0, (each * limit.requests - ahead) // each)
        retry = max(0, ahead + each - each * limit.requests)
        return RateState(limit, left, -(-ahead // 1000), -(-retry // 1000))


def known_state(state: State | str) -> State | None:
    return state if isinstance(state, State) else None
