"""One random life of an account, lived by the ledger and by the model side by side.

Every step picks a verb, sometimes moves the clock or breaks something, and compares the outcome and
the books with the model's. All of it follows from the seed. The transport loses what it is told to
lose: a request before it runs, or a reply after it ran; the ledger repeats both with the same id.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.history import History
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Adjusted, Line
from gateway.ledger.packed import unpacked
from gateway.ledger.spans import Grain, Span
from gateway.ledger.transport import Transport
from tests.ledger import model_batches
from tests.ledger.choices import shares
from tests.ledger.compare import UNKNOWN, assert_same, or_damaged
from tests.ledger.lossy import Lossy
from tests.ledger.model import DAY_MS, DamagedError, Model
from tests.ledger.scripts import script

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
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia")
START_MS = 1_740_000_000_000  # in February 2025
READ_BOOKS = script("read_books", "return redis.call('HGETALL', KEYS[1])")
SINGLE = {"lease_ms": 10_000, "keep_ms": 120_000, "rate": None, "remember_denial": False}
"""How an id of a batch is reserved by itself, which is refused while it is known as the batch's."""
NEW_PERIOD_STEP_MS = (3_600_000, DAY_MS, 20 * DAY_MS)


@dataclass(slots=True)
class Simulation:
    """`steps` verbs on one account. Raises AssertionError at the first difference."""

    seed: int
    transport: Transport
    flush: Callable[[], Any] | None = None
    """Forgets all scripts, as a restarted server would."""
    client: Any = None
    """Of redis-py, to read history by."""
    account: str = ""
    pick: random.Random = field(init=False)
    model: Model = field(init=False)
    lossy: Lossy = field(init=False)
    ledger: Ledger = field(init=False)
    store_ms: int = START_MS
    terms: list[Terms] = field(init=False)
    rate: RateLimit | None = field(init=False)
    largest: int = field(init=False)
    """Of one line; small ones let many reservations be open at once."""
    reserved: list[tuple[str, Terms, list[Line], dict[str, Any]]] = field(default_factory=list)
    grown: list[tuple[str, Terms, list[Line]]] = field(default_factory=list)
    committed: list[tuple[Any, ...]] = field(default_factory=list)
    batches: list[tuple[Any, ...]] = field(default_factory=list)
    splits: list[tuple[Any, ...]] = field(default_factory=list)
    adjusted: list[tuple[Any, ...]] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    added: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self.pick = random.Random(self.seed)
        self.account = self.account or f"sim-{self.seed}"
        self.model = Model()
        self.lossy = Lossy(self.transport)
        self.ledger = Ledger(self.lossy, self.lossy, StoreClock(), now_ms=lambda: self.store_ms)
        self.store_ms += self.pick.randrange(400 * DAY_MS)
        self.rate = self.pick.choice([None, None, RateLimit(5, 1), RateLimit(3, 7)])
        self.largest = self.pick.choice([4, 120])
        self.terms = self._terms()

    async def run(self, steps: int) -> int:
        """Returns how many operations were made."""
        await self.ledger.open_books(self.account)
        self.model.seen_ms = self.store_ms
        verbs, weights = zip(*_WEIGHTS.items(), strict=True)
        for verb in self.pick.choices(verbs, weights, k=steps):
            await self._disturb()
            try:
                await getattr(self, f"_{verb}")()
                await self._compare_books()
            except AssertionError as failure:
                raise AssertionError(
                    f"seed {self.seed}, operation {self.count}, {verb}: {failure}"
                ) from failure
        return self.count

    # -- the verbs ---------------------------------------------------------------------------------

    async def _reserve(self) -> None:
        pick = self.pick
        if self.reserved and pick.random() < 0.15:
            name, terms, lines, options = pick.choice(self.reserved[-40:])
            if pick.random() < 0.3 and lines:
                lines = [replace(lines[0], most=lines[0].most + 1), *lines[1:]]
        else:
            name, terms = f"r{len(self.reserved)}", pick.choice(self.terms)
            lines = self._lines(pick.choice([0, 1, 1, 2, 3, 5]) if self.rate else None)
            options = {
                "lease_ms": pick.choice([1_000, 10_000, 10_000, 600_000, 3 * DAY_MS]),
                "keep_ms": pick.choice([2_000, 120_000, DAY_MS]),
                "rate": self.rate,
                "remember_denial": pick.random() < 0.4,
            }
            self.reserved.append((name, terms, lines, options))
        real = await self._verb(self.ledger.reserve(terms, name, lines, **options))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.reserve(self.store_ms, terms, name, lines, **options)
        assert_same(real, expected)

    async def _reserve_many(self) -> None:
        pick = self.pick
        if self.batches and pick.random() < 0.3:
            terms, items, options = pick.choice(self.batches[-8:])
            if pick.random() < 0.2:
                items = [*items[:-1], (items[-1][0], [Line.exact("files", 7)])]
        else:
            terms = pick.choice(self.terms)
            items = []
            for _ in range(pick.choice([1, 2, 3, 5, 9])):
                name = f"r{len(self.reserved)}"
                if self.reserved and pick.random() < 0.02:
                    name = pick.choice(self.reserved[-40:])[0]
                lines = [Line.exact(line.meter, line.least) for line in self._lines(None)]
                items.append((name, lines))
                self.reserved.append((name, terms, lines, SINGLE))
            items = list(dict(items).items())
            options = {
                "lease_ms": pick.choice([1_000, 10_000, 600_000]),
                "keep_ms": pick.choice([2_000, 120_000, DAY_MS]),
                "rate": self.rate,
                "partial": pick.random() < 0.5,
            }
            self.batches.append((terms, items, options))
        real = await self._verb(self.ledger.reserve_many(terms, items, **options))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = model_batches.reserve_many(
                self.model, self.store_ms, terms, items, **options
            )
        assert_same(real, expected)

    async def _split(self) -> None:
        pick = self.pick
        if self.splits and pick.random() < 0.3:
            terms, name, items, lease_ms = pick.choice(self.splits[-8:])
            if pick.random() < 0.2:
                items = [*items[:-1], (items[-1][0], {"files": 7})]
        else:
            name, terms = self._any_name()
            items = shares(pick, self.model.records.get(name), self._new_or_known)
            items = [each for each in items if each[0] != name] or [("r", {"files": 1})]
            lease_ms = pick.choice([1_000, 10_000, 600_000])
            self.reserved += ((each, terms, [Line.exact("files", 1)], SINGLE) for each, _ in items)
            self.splits.append((terms, name, items, lease_ms))
        real = await self._verb(self.ledger.split(terms, name, items, lease_ms=lease_ms))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = model_batches.split(
                self.model, self.store_ms, name, items, lease_ms=lease_ms
            )
        assert_same(real, expected)

    async def _grow(self) -> None:
        if self.grown and self.pick.random() < 0.2:
            name, terms, lines = self.pick.choice(self.grown[-5:])
        else:
            name, terms = self._any_name()
            lines = self._lines(None)
            self.grown.append((name, terms, lines))
        real = await self._verb(self.ledger.grow(terms, name, lines))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.grow(self.store_ms, terms, name, lines)
        assert_same(real, expected)

    async def _extend(self) -> None:
        names = [self._any_name()[0] for _ in range(self.pick.randint(1, 4))]
        lease_ms = self.pick.choice([1_000, 10_000, 60_000])
        real = await self._verb(self.ledger.extend(self.account, names, lease_ms))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.extend(self.store_ms, names, lease_ms)
        assert_same(real, expected)

    async def _commit(self) -> None:
        pick = self.pick
        if self.committed and pick.random() < 0.15:
            name, terms, actual, asset, age_ms = pick.choice(self.committed[-20:])
            if pick.random() < 0.3:
                actual = {**actual, "storage": actual.get("storage", 0) + 1}
        else:
            name, terms = self._any_name()
            actual = {line.meter: line.most for line in self._lines(None)}
            asset = pick.choice([None, None, f"asset-{pick.randrange(12)}"])
            if asset is not None:
                self.assets.append(asset)
            age_ms = self._age_ms()
            self.committed.append((name, terms, actual, asset, age_ms))
        real = await self._verb(self.ledger.commit(terms, name, actual, asset=asset, age_ms=age_ms))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = or_damaged(
                lambda: self.model.commit(self.store_ms, terms, name, actual, asset, age_ms)
            )
        assert_same(real, expected)

    async def _release(self) -> None:
        name, _ = self._any_name()
        real = await self._verb(self.ledger.release(self.account, name, reason="done"))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.release(self.store_ms, name)
        assert_same(real, expected)

    async def _expire(self) -> None:
        batch = self.pick.choice([1, 3, 64])
        real = await self._verb(self.ledger.expire(self.account, batch))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.expire(self.store_ms, batch)
        assert_same(real, expected)

    async def _adjust(self) -> None:
        pick = self.pick
        if self.adjusted and pick.random() < 0.3:
            name, terms, deltas = pick.choice(self.adjusted[-10:])
            if pick.random() < 0.3:
                deltas = {**deltas, "egress": deltas.get("egress", 0) + 1}
        else:
            name, terms = f"j{len(self.adjusted)}", self.terms[0]
            deltas = {"egress": pick.randint(-30, 30)}
            if pick.random() < 0.5:
                # Taken away is only what was added: the rest is the assets', to give back.
                deltas["storage"] = pick.randint(-min(self.added, 20), 20)
                self.added += min(deltas["storage"], 0)
            self.adjusted.append((name, terms, deltas))
        real = await self._verb(self.ledger.adjust(terms, name, deltas, reason="count"))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.adjust(self.store_ms, terms, name, deltas)
        assert_same(real, expected)
        if isinstance(real, Adjusted) and deltas.get("storage", 0) > 0 and not real.replayed:
            self.added += deltas["storage"]

    async def _remove(self) -> None:
        asset = self.pick.choice(self.assets or ["asset-0"])
        terms, age_ms = self.pick.choice(self.terms), self._age_ms()
        real = await self._verb(self.ledger.remove(terms, asset, age_ms=age_ms))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = or_damaged(lambda: self.model.remove(self.store_ms, terms, asset, age_ms))
        assert_same(real, expected)

    async def _history(self) -> None:
        """Of any counter, over hours or days around a move of it."""
        self.count += 1
        pick, moves = self.pick, self.model.moves
        names = sorted(name for name in moves if not name.startswith("k:")) or ["a/storage"]
        counter = pick.choice(names)
        grain = pick.choice(list(Grain))
        around_ms = pick.choice([at for at, _ in moves.get(counter, [])] + [self.model.seen_ms])
        start = around_ms // grain.ms * grain.ms - pick.randrange(4) * grain.ms
        span = Span(start, start + pick.randint(1, 9) * grain.ms)
        history = History(self.client, lambda: self.model.seen_ms)
        if METERS[counter.partition("/")[2]].kind is MeterKind.LEVEL:
            levels = await history.levels(self.account, counter, span, grain)
            assert levels == self.model.levels(counter, span, grain), counter
        else:
            sums = await history.sums(self.account, counter, span, grain)
            assert sums == self.model.sums(counter, span, grain), counter

    async def _snapshot(self) -> None:
        terms = self.pick.choice(self.terms)
        real = await self._verb(self.ledger.snapshot(terms))
        expected: Any = None
        for _ in range(self.lossy.ran):
            expected = self.model.snapshot(self.store_ms, terms)
        assert_same(real, expected)

    # -- what happens around them ------------------------------------------------------------------

    async def _disturb(self) -> None:
        chance = self.pick.random()
        if chance < 0.5:
            self.store_ms += self.pick.randint(0, 400)
        elif chance < 0.7:
            self.store_ms += self.pick.randint(0, 5_000)
        elif chance < 0.715:
            self.store_ms += self.pick.choice(NEW_PERIOD_STEP_MS)
        elif chance < 0.735:
            self.store_ms -= self.pick.choice([500, 5_000, 60_000])
        elif chance < 0.736:
            # The books stand still for as long; longer steps would make lives of nothing else.
            self.store_ms -= 3_600_000
        elif chance < 0.77:
            # To the very instant at which a lease ends, or just before it.
            ends = self.pick.choice([*self.model.leases.values(), 0])
            self.store_ms = max(self.store_ms, ends - self.pick.choice([0, 0, 1]))
        elif chance < 0.776:
            self._change_limits()
        elif chance < 0.778 and self.flush is not None:
            await self.flush()

    async def _verb(self, verb: Any) -> Any:
        self.count += 1
        self.lossy.ran = 0
        self.lossy.lose = self.pick.choices(("", "request", "reply"), (90, 4, 6))[0]
        try:
            return await verb
        except StoreError as error:
            if error.transient:
                # The repeat came too late: whoever asked cannot know what happened. The model can.
                return UNKNOWN
            if "damaged" in str(error):
                return DamagedError
            raise

    async def _compare_books(self) -> None:
        reply = await self.transport.run(READ_BOOKS, (f"qg:{{{self.account}}}:books".encode(),), ())
        books = dict(zip(reply[::2], reply[1::2], strict=True))
        expected = {
            name.encode(): b"%d %d %d %d" % (each.used, each.since, each.peak, each.reserved)
            for name, each in self.model.balances.items()
        }
        books = {name: _standing(name, value) for name, value in books.items()}
        expected[b"now"] = b"%d" % self.model.seen_ms
        if self.model.due_ms:
            expected[b"due"] = b"%d" % self.model.due_ms
        for key, busy_us in self.model.busy_us.items():
            expected[f"g:{key or ''}".encode()] = b"%d" % busy_us
        assert books == expected, sorted(books.items() ^ expected.items())

    # -- the choices -------------------------------------------------------------------------------

    def _terms(self) -> list[Terms]:
        pick = self.pick
        rules = {
            meter: PeriodRule(pick.choice(list(PeriodKind)), pick.choice(ZONES))
            for meter in ("storage", "egress", "requests")
        }
        plan = Plan(
            "sim",
            limits={"storage": 1_000, "egress": 3_000, "slots": 6, "requests": 10_000},
            key_limits={"storage": 400} if pick.random() < 0.5 else {},
            subject_limits={"creator": {"storage": 300, "egress": 500}},
            periods=rules,
        )
        anchor_ms = START_MS - pick.randrange(400 * DAY_MS)
        plain = Terms(self.account, METERS, plan, anchor_ms=anchor_ms)
        return [
            plain,
            replace(plain, key_id="k1"),
            replace(plain, key_id="k2", key_limits={"egress": 700}),
            replace(plain, key_id="k1", subject=("creator", "ann/1")),
        ]

    def _change_limits(self) -> None:
        limits = {"storage": self.pick.choice([0, 300, 1_000, 2_000, None])}
        self.terms = [replace(terms, limits=limits) for terms in self.terms]

    def _lines(self, count: int | None) -> list[Line]:
        pick = self.pick
        meters = pick.sample(sorted(METERS), pick.choice([1, 1, 2, 3]) if count is None else count)
        lines = []
        for meter in meters:
            least = pick.choice([0, 1, 3]) if meter == "slots" else pick.randint(0, self.largest)
            most = least + (pick.randint(0, 300) if pick.random() < 0.2 else 0)
            lines.append(Line(meter, least, most))
        return lines

    def _new_or_known(self, ahead: int) -> str:
        """Mostly an id that was never used; the one so far ahead of all that were."""
        known = self.reserved and self.pick.random() < 0.01
        return self.pick.choice(self.reserved)[0] if known else f"r{len(self.reserved) + ahead}"

    def _age_ms(self) -> int:
        """How late a settlement comes; mostly it does not."""
        return self.pick.choice([0, 0, 0, self.pick.randint(1, 100_000)])

    def _any_name(self) -> tuple[str, Terms]:
        """Mostly an open reservation; sometimes one that has ended or never was."""
        pick = self.pick
        if self.model.leases and pick.random() < 0.75:
            return pick.choice(sorted(self.model.leases)), pick.choice(self.terms)
        if self.reserved and pick.random() < 0.8:
            return pick.choice(self.reserved[-60:])[0], pick.choice(self.terms)
        return pick.choice(["unknown", "j0", "j1"]), self.terms[0]


def _standing(name: bytes, value: bytes) -> bytes:
    """A counter as the model has it. What history lacks is told by those who read history."""
    if b"/" not in name:
        return value
    packed = unpacked(value)
    assert packed is not None, f"{name!r} is {value!r}"
    kind = METERS[name.decode().partition("/")[2]].kind
    peaked = packed.most if kind is MeterKind.LEVEL else 0
    return b"%d %d %d %d" % (packed.used, packed.since, peaked, packed.reserved)


_WEIGHTS = {
    "reserve": 35,
    "reserve_many": 5,
    "split": 3,
    "commit": 20,
    "grow": 12,
    "release": 7,
    "extend": 5,
    "snapshot": 5,
    "history": 3,
    "remove": 5,
    "adjust": 4,
    "expire": 2,
}
