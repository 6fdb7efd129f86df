"""The ledger when the store misbehaves: what is lost is asked again, and charged once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock, wall_ms
from gateway.errors import STORE_FULL, StoreError
from gateway.ledger.audit import audit
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line, Settled
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from tests.ledger.lossy import Lossy
from tests.ledger.stage import NOON_MS, Stage
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
    line, terms = Line.exact("storage", 20), stage.terms
    for asked in (
        stage.ledger.reserve(terms, "G", [line], lease_ms=1_000),
        stage.ledger.reserve_many(terms, [("G", [line]), ("H", [line])], lease_ms=1_000),
        stage.ledger.grow(terms, "A", [line]),
        stage.ledger.split(terms, "A", [("G", {"storage": 5})], lease_ms=1_000),
    ):
        with pytest.raises(StoreError) as caught:
            await asked
        assert caught.value.error is STORE_FULL
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


async def test_a_full_store_answers_a_repeat_as_it_did_before(
    real: tuple[Stage, RedisServer],
) -> None:
    """failure row 22: only what is new needs room, whether or not leases are due."""
    stage, server = real
    await stage.open(storage=100)
    await stage.do("reserve A storage=10")
    await stage.do("reserve B storage=10 lease 1s")
    server.run("CONFIG", "SET", "maxmemory", 1)
    for moment in ("", "tick 1s"):
        await stage.tell(
            f"""
            {moment}
            reserve A storage=10 -> granted 0+20/100 again
            reserve A storage=11 -> refused content-mismatch (open)
            """
        )
        asked = stage.ledger.reserve(stage.terms, "C", [Line.exact("storage", 1)], lease_ms=1_000)
        with pytest.raises(StoreError) as caught:
            await asked
        assert caught.value.error is STORE_FULL


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


async def test_books_that_are_ahead_are_no_news_of_the_store_s_clock(store: Store) -> None:
    """failure row 48: nor are those of others taken to be ahead; each is met where it is."""

    class Counting:
        runs = 0

        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            self.runs += 1
            return await store.admission.run(script, keys, args)

        async def close(self) -> None: ...

    stage, clock, way = Stage(store), StoreClock(), Counting()
    ledger = Ledger(way, way, clock)
    other = replace(stage.terms, account="other")
    for terms in (stage.terms, other):
        await ledger.open_books(terms.account)
    redis: Any = store.client
    await redis.hset(keys_of("acme").books, "now", clock.now_ms() + 7_200_000)
    line = Line.exact("storage", 7)
    runs = []
    for number in range(3):
        for terms in (stage.terms, other):
            before = way.runs
            outcome = await ledger.reserve(terms, f"r{number}", [line], lease_ms=60_000)
            assert isinstance(outcome, Granted)
            runs.append(way.runs - before)
    assert runs == [2, 1, 1, 1, 1, 1]
    assert abs(clock.now_ms() - wall_ms()) < 1_000


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
