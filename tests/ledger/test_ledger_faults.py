"""The ledger when the store misbehaves: nothing is charged twice, nothing is written by half."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import INVALID_AMOUNT, STORE_FULL, UNKNOWN_METER, StoreError
from gateway.ledger import scripts
from gateway.ledger.audit import audit
from gateway.ledger.frame import Terms
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line, Refused, Settled
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from tests.ledger.simulation import Lossy
from tests.ledger.stage import METERS, NOON_MS, Stage
from tests.redis_server import RedisServer
from tests.stores import REAL, Flavour, RedisServers, Via, open_flavour


@pytest.fixture
async def lossy(stage: Stage) -> Lossy:
    """The stage's way to the store, which loses what it is told to lose."""
    way = Lossy(stage.store.settlement)
    stage.ledger = Ledger(way, way, StoreClock(), now_ms=lambda: stage.store_ms)
    return way


@pytest.mark.parametrize("what", ["request", "reply"])
async def test_what_gets_lost_is_asked_again_with_the_same_id(
    stage: Stage, lossy: Lossy, what: str
) -> None:
    """failure row 16: each verb takes effect once, whether its request or its reply was lost."""
    await stage.open(storage=100)
    again = " again" if what == "reply" else ""
    for line in (
        f"reserve A storage=60        -> granted 0+60/100{again}",
        "grow A storage=70           -> granted 0+70/100",
        "extend A 1m                 -> extended",
        f"commit A storage=45 as x    -> committed 45+0/100{again}",
        "reserve B storage=20        -> ",
        f"release B                   -> released{again}",
        f"adjust J storage=5          -> adjusted storage=5{again}",
        "quota storage               -> 50+0/100 peak 50",
    ):
        lossy.lose = what
        await stage.tell(line)
        assert lossy.lose == "", line
    lossy.lose = what
    await stage.do("remove x")
    await stage.tell("quota storage -> 5+0/100 peak 50")


async def test_a_store_that_stays_away_is_told_to_the_caller(stage: Stage) -> None:
    class Away:
        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            raise StoreError(STORE_FULL, "no", transient=True)

        async def close(self) -> None:
            pass

    ledger = Ledger(Away(), Away(), StoreClock())
    with pytest.raises(StoreError):
        await ledger.reserve(stage.terms, "A", [Line.exact("storage", 1)], lease_ms=1)
    with pytest.raises(StoreError):
        await ledger.commit(stage.terms, "A", {"storage": 1})
    stage.audited = False


async def test_a_store_that_hangs_is_given_up_in_time(stage: Stage) -> None:
    """A reserve is answered within 300 ms, its repeat included."""

    class HangsOnce:
        calls = 0

        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            self.calls += 1
            if self.calls == 1:
                raise StoreError(STORE_FULL, "lost", transient=True, indeterminate=True)
            await asyncio.Event().wait()

        async def close(self) -> None:
            pass

    way = HangsOnce()
    ledger = Ledger(way, way, StoreClock())
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreError) as caught:
        await ledger.reserve(stage.terms, "A", [Line.exact("storage", 1)], lease_ms=1)
    assert caught.value.indeterminate
    assert asyncio.get_running_loop().time() - began < 0.4
    assert way.calls == 2
    stage.audited = False


async def test_scripts_that_are_flushed_under_load_come_back_unnoticed(store: Store) -> None:
    """failure row 18"""
    stage = Stage(store)
    await stage.open(storage=100_000)
    redis: Any = store.client
    line = Line.exact("storage", 10)

    async def one(number: int) -> None:
        name = f"r{number}"
        if number % 10 == 0:
            await redis.script_flush()
        granted = await stage.ledger.reserve(stage.terms, name, [line], lease_ms=60_000)
        assert isinstance(granted, Granted)
        settled = await stage.ledger.commit(stage.terms, name, {"storage": 7})
        assert isinstance(settled, Settled)

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number))
    assert await stage.do("quota storage") == "1400+0/100000 peak 1400"
    assert await stage.findings() == []


@pytest.fixture(params=REAL, ids=str)
async def real(
    request: pytest.FixtureRequest, redis_servers: RedisServers
) -> AsyncIterator[tuple[Stage, RedisServer]]:
    """A stage on a real server, and the server."""
    flavour: Flavour = request.param
    assert flavour.binary is not None
    store = await open_flavour(flavour, redis_servers)
    server = redis_servers._running[flavour.binary]
    yield Stage(store), server
    server.run("CONFIG", "SET", "maxmemory", 0)
    await store.close()


async def test_a_full_store_refuses_reservations_and_lets_all_others_settle(
    real: tuple[Stage, RedisServer],
) -> None:
    """failure row 22"""
    stage, server = real
    await stage.open(storage=1_000)
    for name in "ABCDEF":
        await stage.do(f"reserve {name} storage=10")
    await stage.do("reserve S storage=10 lease 1s")
    await stage.do("reserve T storage=10 lease 2s")
    await stage.do("commit F storage=10 as x")
    await stage.do("tick 1s")
    server.run("CONFIG", "SET", "maxmemory", 1)
    for verb in ("reserve G storage=10", "grow A storage=20"):
        with pytest.raises(StoreError) as caught:
            await _raising(stage, verb)
        assert caught.value.error is STORE_FULL, verb
    await stage.tell(
        """
        quota storage       -> 10+60/1000 peak 10
        commit A storage=9 as y -> committed 19+50/1000
        release B           -> released
        extend C 1m         -> extended
        adjust J storage=-1 -> adjusted storage=-1
        remove x            -> adjusted storage=-10
        tick 1s
        expire              -> expired 1
        tick 30s
        commit D storage=8  -> committed late 16+20/1000
        """
    )
    server.run("CONFIG", "SET", "maxmemory", 0)
    assert await stage.findings() == []
    await stage.tell("reserve G storage=10 -> granted 16+20/1000")


async def _raising(stage: Stage, words: str) -> Any:
    verb, name, amount = words.split()
    line = Line.exact("storage", int(amount.partition("=")[2]))
    if verb == "grow":
        return await stage.ledger.grow(stage.terms, name, [line])
    return await stage.ledger.reserve(stage.terms, name, [line], lease_ms=1_000)


KEYS = keys_of("acme")
EVERY_VERB = (
    "reserve B storage=1 files=1",
    "grow A storage=50",
    "commit A storage=45 egress=3 files=1 as y",
    "release A",
    "adjust J storage=5",
    "remove x",
    "expire",
    "quota storage",
)


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


async def prepared(stage: Stage) -> None:
    await stage.open(storage=100, egress=100)
    await stage.tell(
        """
        reserve X storage=20 files=1        -> granted 0+20/100, 0+1/∞
        commit X storage=20 files=1 as x    -> committed 20+0/100, 1+0/∞
        reserve A storage=40 egress=9       -> granted 20+40/100, 0+9/100
        reserve D storage=10 lease 1s       -> granted 20+50/100
        tick 1s
        """
    )


@pytest.mark.parametrize(
    ("broken", "verbs"),
    [
        (KEYS.books, EVERY_VERB),
        (KEYS.reservations, tuple(v for v in EVERY_VERB if not v.startswith("remove"))),
        (KEYS.leases, (*EVERY_VERB[:4], "expire", "quota storage")),
        (KEYS.forget, (*EVERY_VERB[:5], "expire", "quota storage")),
        (KEYS.assets, ("commit A storage=45 as y", "remove x")),
    ],
    ids=["books", "reservations", "leases", "forget", "assets"],
)  # fmt: skip
async def test_a_key_of_the_wrong_type_stops_a_verb_before_its_first_write(
    stage: Stage, broken: bytes, verbs: tuple[str, ...]
) -> None:
    """failure row 26"""
    stage.audited = False
    await prepared(stage)
    redis: Any = stage.store.client
    await redis.delete(broken)
    await redis.set(broken, "text")
    before = await everything(stage.store)
    for words in verbs:
        outcome = await stage.do(words)
        assert outcome.startswith("damaged"), f"{words} -> {outcome}"
        assert await everything(stage.store) == before, words


@pytest.mark.parametrize("value", ["text", "12", "1 2 3 x", "1 2 3 -4", "1e3 0 0 40", ""])
async def test_a_counter_that_cannot_be_read_stops_a_verb_before_its_first_write(
    stage: Stage, value: str
) -> None:
    """failure row 26"""
    stage.audited = False
    await prepared(stage)
    redis: Any = stage.store.client
    await redis.hset(KEYS.books, "a/storage", value)
    before = await everything(stage.store)
    for words in EVERY_VERB:
        outcome = await stage.do(words)
        assert outcome.startswith("damaged"), f"{words} -> {outcome}"
        assert await everything(stage.store) == before, words


async def test_a_record_that_cannot_be_read_stops_a_verb_before_its_first_write(
    stage: Stage,
) -> None:
    """failure row 26"""
    stage.audited = False
    await prepared(stage)
    redis: Any = stage.store.client
    for damage in ("text", "O 1 2 3", "X 1 2 p - a/storage=1,"):
        await redis.hset(KEYS.reservations, "A", damage)
        before = await everything(stage.store)
        for words in ("reserve A storage=40 egress=9", "grow A storage=1", "commit A", "release A"):
            outcome = await stage.do(words)
            assert outcome.startswith(("damaged", "refused")), f"{words} -> {outcome}"
            assert await everything(stage.store) == before, words


async def test_books_that_hold_less_than_is_to_be_given_back_are_damaged(stage: Stage) -> None:
    """Nothing is clamped: a counter that would go below zero stops the verb."""
    stage.audited = False
    await prepared(stage)
    redis: Any = stage.store.client
    await redis.hset(KEYS.books, "a/storage", "19 0 20 5")
    before = await everything(stage.store)
    for words in ("commit A storage=1", "release A", "expire", "remove x", "quota storage"):
        assert (await stage.do(words)).startswith("damaged"), words
        assert await everything(stage.store) == before, words


async def test_history_that_cannot_be_written_keeps_nothing_from_the_books(stage: Stage) -> None:
    await prepared(stage)
    redis: Any = stage.store.client
    for key in (KEYS.hours("20260101"), KEYS.days("202601")):
        await redis.delete(key)
        await redis.set(key, "text")
    await stage.tell("commit A storage=40 egress=9 -> committed 60+10/100, 9+0/100")


@pytest.mark.parametrize("skew_ms", [600_000, -600_000, 40 * 86_400_000])
async def test_a_gateway_whose_clock_is_off_counts_in_the_store_s_period(
    store: Store, skew_ms: int
) -> None:
    """failure row 47: only Redis TIME decides, and a script that says so is listened to."""
    stage = Stage(store)
    stage.plan(Plan("test", periods={"egress": PeriodRule(PeriodKind.HOUR)}))
    right, wrong = StoreClock(), StoreClock()
    wrong.learn(wrong.now_ms() + skew_ms)
    here = Ledger(store.admission, store.settlement, right)
    there = Ledger(store.admission, store.settlement, wrong)
    await here.open_books("acme")
    line = Line.exact("egress", 7)
    assert isinstance(await there.reserve(stage.terms, "A", [line], lease_ms=60_000), Granted)
    assert isinstance(await there.commit(stage.terms, "A", {"egress": 7}), Settled)
    mine, theirs = [await each.snapshot(stage.terms) for each in (here, there)]
    assert mine.quotas == theirs.quotas
    assert [q.used for q in mine.quotas if q.meter.name == "egress"] == [7]
    assert abs(theirs.at_ms - right.now_ms()) < 5_000
    resets = next(q.resets_at_ms for q in theirs.quotas if q.meter.name == "egress")
    assert resets is not None
    assert 0 < resets - theirs.at_ms <= 3_600_000


@pytest.mark.parametrize("flavour", [f for f in REAL if f.via is Via.PIPELINED], ids=str)
async def test_a_race_for_the_last_byte_admits_exactly_what_fits(
    flavour: Flavour, redis_servers: RedisServers
) -> None:
    """failure row 61: 20,000 reservations of one size by three ledgers, room for 7,000."""
    store = await open_flavour(flavour, redis_servers)
    stage = Stage(store)
    await stage.open(storage=7_000 * 4_096 + 4_095)
    ledgers = [
        Ledger(way, store.settlement, StoreClock(), now_ms=lambda: NOON_MS)
        for way in (store.admission, store.settlement, store.admission)
    ]
    line = Line.exact("storage", 4_096)
    waiting = list(range(20_000))
    granted: list[str] = []

    async def client() -> None:
        while waiting:
            number = waiting.pop()
            name, ledger = f"r{number}", ledgers[number % 3]
            outcome = await ledger.reserve(stage.terms, name, [line], lease_ms=600_000)
            if isinstance(outcome, Granted):
                granted.append(name)
                if number % 2:
                    await ledger.commit(stage.terms, name, {"storage": 4_096})
            else:
                assert isinstance(outcome, Denied)

    async with asyncio.TaskGroup() as group:
        for _ in range(128):
            group.create_task(client())
    assert len(granted) == 7_000
    snapshot = await stage.ledger.snapshot(stage.terms)
    assert snapshot.quotas[0].effective == 7_000 * 4_096
    assert await audit(store.client, "acme", now_ms=NOON_MS) == ()
    await store.close()


BAD_AMOUNTS = [
    -1, AMOUNT_END, AMOUNT_END + 1, 1 << 63, 1 << 64, 1.0, 1.5, float("nan"), float("inf"),
    "5", " 5 ", "1e3", "0x10", "nan", "", "-0", "٣", b"5", None, True, False, [1],
]  # fmt: skip
BAD_TEXTS = [
    b"-1", b"-0", b"+1", b"9007199254740992", b"9223372036854775808", b"1e3", b"1E3", b"0x10",
    b"nan", b"inf", b" 5 ", b"5 ", b"5\n", b"1.5", b"1_000", b"", "٣".encode(), b"5\x00",
]  # fmt: skip


@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=repr)
async def test_what_is_no_amount_is_refused_before_redis_hears_of_it(amount: Any) -> None:
    """failure row 62"""

    class Deaf:
        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            raise AssertionError("Redis was asked")

        async def close(self) -> None:
            pass

    ledger = Ledger(Deaf(), Deaf(), StoreClock())
    terms = Terms("acme", METERS, Plan("test"))
    bad = [Line("storage", amount, amount)]
    for outcome in (
        await ledger.reserve(terms, "A", bad, lease_ms=1),
        await ledger.reserve(terms, "A", [Line("storage", 0, amount)], lease_ms=1),
        await ledger.grow(terms, "A", bad),
        await ledger.commit(terms, "A", {"storage": amount}),
        await ledger.adjust(terms, "A", {"storage": amount}, reason="x")
        if amount != -1
        else Refused(INVALID_AMOUNT, ""),
    ):
        assert isinstance(outcome, Refused)
        assert outcome.error is INVALID_AMOUNT
    unknown = await ledger.commit(terms, "A", {"nonsense": 1})
    assert isinstance(unknown, Refused)
    assert unknown.error is UNKNOWN_METER
    twice = await ledger.reserve(terms, "A", [Line.exact("files", 1)] * 2, lease_ms=1)
    assert isinstance(twice, Refused)
    upside_down = await ledger.reserve(terms, "A", [Line("files", 2, 1)], lease_ms=1)
    assert isinstance(upside_down, Refused)


@pytest.mark.parametrize("verb", ["RESERVE", "GROW", "COMMIT", "ADJUST"])
async def test_what_is_no_amount_never_gets_past_a_script(stage: Stage, verb: str) -> None:
    """failure row 62: the second line of defence, for whoever calls the scripts otherwise."""
    await stage.open(storage=100)
    await stage.do("reserve A storage=10")
    calls: list[tuple[Script, Sequence[bytes], Sequence[bytes]]] = []

    class Listening:
        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            calls.append((script, keys, args))
            raise StoreError(STORE_FULL, "listening only", transient=False)

        async def close(self) -> None:
            pass

    listener = Ledger(Listening(), Listening(), StoreClock(), now_ms=lambda: stage.store_ms)
    line = Line.exact("storage", 77)
    asking = {
        "RESERVE": listener.reserve(stage.terms, "B", [line], lease_ms=1_000),
        "GROW": listener.grow(stage.terms, "A", [line]),
        "COMMIT": listener.commit(stage.terms, "A", {"storage": 77}),
        "ADJUST": listener.adjust(stage.terms, "J", {"storage": 77}, reason="x"),
    }
    asked = asking.pop(verb)
    for other in asking.values():
        other.close()
    with pytest.raises(StoreError):
        await asked
    script, keys, args = calls[0]
    assert script is getattr(scripts, verb)
    before = await everything(stage.store)
    for bad in BAD_TEXTS:
        if verb == "ADJUST" and bad in {b"-1", b"-0"}:
            continue
        spoilt = [bad if word == b"77" else word for word in args]
        reply = await stage.store.settlement.run(script, keys, spoilt)
        assert reply == [b"invalid", bad], bad
        assert await everything(stage.store) == before, bad


async def test_the_largest_amounts_are_counted_to_the_unit(stage: Stage) -> None:
    """failure row 62: 2^53 - 1 is an amount; no counter goes beyond, whoever asks."""
    most = AMOUNT_END - 1
    await stage.open()
    await stage.tell(
        f"""
        reserve A storage={most}        -> granted 0+{most}/∞
        reserve B storage=0             -> granted 0+{most}/∞
        reserve C storage=1             -> denied 1 of 0+{most}/∞
        commit A storage={most - 1}     -> committed {most - 1}+0/∞
        reserve D storage=0..{most}     -> granted storage=1 {most - 1}+1/∞
        commit D storage=2              -> refused invalid-amount
        quota storage                   -> {most - 1}+1/∞ peak {most - 1}
        commit D storage=1              -> committed {most}+0/∞
        adjust J storage=1              -> refused invalid-amount
        adjust K storage=-{most}        -> adjusted storage=-{most}
        quota storage                   -> 0+0/∞ peak {most}
        """
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, AMOUNT_END - 1), min_size=1, max_size=6))
def test_sums_near_the_end_of_amounts_are_exact(amounts: list[int]) -> None:
    """failure row 62: against Python's own integers, on fakeredis."""

    async def run() -> None:
        store = Store.fake()
        stage = Stage(store)
        stage.terms = replace(stage.terms, key_id=None)
        await stage.open()
        used = 0
        for number, amount in enumerate(amounts):
            outcome = await stage.do(f"reserve r{number} storage={amount}")
            if used + amount >= AMOUNT_END:
                assert outcome == f"denied {amount} of {used}+0/∞"
                continue
            assert outcome == f"granted {used}+{amount}/∞"
            used += amount
            done = await stage.do(f"commit r{number} storage={amount}")
            assert done == f"committed {used}+0/∞"
        assert await stage.findings() == []
        await store.close()

    asyncio.run(run())
