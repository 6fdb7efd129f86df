"""Calls that are made as one: each gets its own answer, and moves its account as if alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.arguments import RESERVES_OWN
from gateway.ledger.audit import audit
from gateway.ledger.connection import FLUSH_AT, Connection
from gateway.ledger.frame import Terms
from gateway.ledger.joined import Joined
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Settled
from gateway.ledger.prepared import Prepared, is_granted, is_settled
from gateway.ledger.resp import command, script_call
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store, connect
from gateway.ledger.template import Call
from tests.ledger.test_connection import connected
from tests.redis_server import RedisServer

METERS = {
    "storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
    "uploads": Meter("uploads", MeterKind.CUMULATIVE, "count"),
}
SIZES = {"storage_bytes": None, "uploads": 1}
EIGHT = [f"a{n}" for n in range(8)]


def terms(account: str, *, plan: str = "p", subject: tuple[str, str] | None = None) -> Terms:
    limits = {"storage_bytes": 100 if plan == "p" else 200}
    of = Plan(plan, limits=limits, rate=RateLimit(100, 60))
    return Terms(account, METERS, of, key_id=f"key-of-{account}", subject=subject)


def prepared(of: Terms) -> Prepared:
    return Prepared(of, SIZES, StoreClock().now_ms(), lease_ms=10_000, keep_ms=60_000,
                    note="", with_asset=False)  # fmt: skip


@dataclass
class House:
    store: Store
    ledger: Ledger
    ready: dict[str, Prepared] = field(default_factory=dict)

    async def open(self, *accounts: str) -> None:
        for account in accounts:
            await self.ledger.open_books(account)
            self.ready[account] = prepared(terms(account))

    def reserve(self, account: str, size: int, name: str = "r") -> Call:
        return self.ready[account].reserve(name.encode(), size)

    def commit(self, account: str, size: int, name: str = "r") -> Call:
        return self.ready[account].commit(name.encode(), size, None)

    async def together(
        self, calls: Iterable[Call], begin: Callable[[Call, Callable[[Any], None]], None]
    ) -> list[Any]:
        """The replies. One goes before, alone, so that the others have something to wait for."""
        loop = asyncio.get_running_loop()
        ahead = loop.create_future()
        begin(self.reserve("ahead", 0, "none"), ahead.set_result)
        replies = []
        for each in calls:
            replies.append(loop.create_future())
            begin(each, replies[-1].set_result)
        async with asyncio.timeout(5):
            await ahead
            return list(await asyncio.gather(*replies))

    async def reserved(self, *calls: Call) -> list[Any]:
        return await self.together(calls, self.ledger.begin_reserve)

    async def committed(self, *calls: Call) -> list[Any]:
        return await self.together(calls, self.ledger.begin_commit)

    async def standing(self, account: str) -> list[tuple[int, int]]:
        """Used and reserved of each counter."""
        snapshot = await self.ledger.snapshot(self.ready[account]._terms)
        return [(quota.used, quota.reserved) for quota in snapshot.quotas]

    async def scripts_run(self) -> int:
        redis: Any = self.store.client
        return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


@pytest.fixture
async def house(redis_server: RedisServer) -> AsyncIterator[House]:
    async with housed(f"unix://{redis_server.socket}") as opened:
        yield opened


@asynccontextmanager
async def housed(url: str) -> AsyncIterator[House]:
    store = await connect(url, op_timeout_s=5)
    house = House(store, Ledger(store.admission, store.settlement, StoreClock()))
    await house.open("ahead")
    # The scripts are known to the server from here on, by both ways.
    of = terms("ahead")
    await house.ledger.reserve(of, "first", [], lease_ms=10_000)
    await house.ledger.commit(of, "first", {})
    yield house
    await store.close()


async def test_accounts_of_one_plan_are_asked_in_one_script(house: House) -> None:
    await house.open(*EIGHT)
    before = await house.scripts_run()
    replies = await house.reserved(*(house.reserve(name, 10 + n) for n, name in enumerate(EIGHT)))
    assert await house.scripts_run() == before + 2  # the one ahead, and all others
    assert all(map(is_granted, replies))
    for n, name in enumerate(EIGHT):
        outcome = house.ready[name].reserved("r", 10 + n, replies[n])
        assert isinstance(outcome, Granted)
        assert outcome.amounts == {"storage_bytes": 10 + n, "uploads": 1}
        assert await house.standing(name) == [(0, 10 + n), (0, 1)]
    before = await house.scripts_run()
    # In another order, and of other sizes than was reserved.
    replies = await house.committed(*(house.commit(f"a{n}", n) for n in reversed(range(8))))
    assert await house.scripts_run() == before + 2
    assert all(map(is_settled, replies))
    redis: Any = house.store.client
    for n, name in enumerate(EIGHT):
        assert await house.standing(name) == [(n, 0), (1, 0)]
        assert await audit(redis, name) == ()


async def test_one_account_many_times_is_counted_many_times(house: House) -> None:
    """The limit holds within a script as between scripts."""
    await house.open("a")
    replies = await house.reserved(*(house.reserve("a", 40, f"r{n}") for n in range(5)))
    assert [reply[0] for reply in replies] == [b"granted"] * 2 + [b"denied"] * 3
    assert await house.standing("a") == [(0, 80), (0, 2)]
    again = await house.reserved(*(house.reserve("a", 40, f"r{n}") for n in range(2)))
    assert [reply[2] for reply in again] == [1, 1], "replayed"
    settled = await house.committed(house.commit("a", 40, "r0"), house.commit("a", 40, "r0"))
    assert [reply[2] for reply in settled] == [0, 1]
    assert await house.standing("a") == [(40, 40), (1, 1)]


async def test_each_answer_is_what_it_would_be_alone(house: House) -> None:
    """A grant, a denial, a mismatch, books that are lost: side by side."""
    await house.open(*EIGHT, "lost")
    redis: Any = house.store.client
    await redis.delete(keys_of("lost").books)
    await house.reserved(house.reserve("a1", 10))
    calls = [("a0", 10), ("a1", 11), ("a2", 101), ("lost", 1), ("a3", 100)]
    joined = await house.reserved(*(house.reserve(name, size) for name, size in calls))
    assert [reply[0] for reply in joined] == \
        [b"granted", b"mismatch", b"denied", b"lost", b"granted"]  # fmt: skip
    alone = [await told(house, name, size) for name, size in calls]
    # What was granted is replayed; the rest is said again.
    assert [reply[:1] for reply in alone] == [reply[:1] for reply in joined]
    assert alone[2][5:] == joined[2][5:]


async def told(house: House, account: str, size: int) -> Any:
    reply = asyncio.get_running_loop().create_future()
    house.ledger.begin_reserve(house.reserve(account, size), reply.set_result)
    async with asyncio.timeout(5):
        return await reply


async def test_what_is_damaged_stops_itself_alone(house: House) -> None:
    """failure row 26"""
    await house.open(*EIGHT)
    redis: Any = house.store.client
    await redis.set(keys_of("a2").reservations, "text")
    before = await redis.hgetall(keys_of("a2").books)
    replies = await house.reserved(*(house.reserve(name, 10) for name in EIGHT))
    assert replies.pop(2) == [b"apart"]
    assert all(map(is_granted, replies))
    assert await redis.hgetall(keys_of("a2").books) == before
    assert house.ready["a2"].reserved("r", 10, [b"apart"]) is None, "to be asked alone"
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await house.ledger.reserve(terms("a2"), "r", house.ready["a2"].lines(10), lease_ms=9_000)
    await redis.delete(keys_of("a5").leases)
    replies = await house.committed(*(house.commit(f"a{n}", 10) for n in (4, 5, 6)))
    assert [reply[0] for reply in replies] == [b"settled", b"damaged", b"settled"]


async def test_a_full_store_admits_none_of_them_and_settles_all(house: House) -> None:
    """failure row 20"""
    await house.open(*EIGHT)
    redis: Any = house.store.client
    assert all(map(is_granted, await house.reserved(*(house.reserve(n, 10) for n in EIGHT))))
    await redis.config_set("maxmemory", 1)
    try:
        replies = await house.reserved(*(house.reserve(name, 10, "s") for name in EIGHT))
        assert replies == [[b"apart"]] * 8
        assert all(map(is_settled, await house.committed(*(house.commit(n, 7) for n in EIGHT))))
    finally:
        await redis.config_set("maxmemory", 0)
    for name in EIGHT:
        assert await house.standing(name) == [(7, 0), (1, 0)]


async def test_other_plans_and_other_counters_are_not_joined(house: House) -> None:
    await house.open("a0", "a1")
    house.ready["a2"] = prepared(terms("a2", plan="q"))
    house.ready["a3"] = prepared(terms("a3", subject=("creator", "ann")))
    for name in ("a2", "a3"):
        await house.ledger.open_books(name)
    assert len({ready._reserve.family for ready in house.ready.values()}) == 3
    before = await house.scripts_run()
    replies = await house.reserved(*(house.reserve(f"a{n}", 150 if n == 2 else 5)
                                     for n in range(4)))  # fmt: skip
    assert all(map(is_granted, replies))
    assert await house.scripts_run() == before + 4
    assert await house.standing("a2") == [(0, 150), (0, 1)]


async def test_subjects_are_listed_for_each(house: House) -> None:
    for number in range(3):
        account = f"s{number}"
        house.ready[account] = prepared(terms(account, subject=("creator", "ann")))
        await house.ledger.open_books(account)
    replies = await house.reserved(*(house.reserve(f"s{n}", 5) for n in range(3)))
    assert all(map(is_granted, replies))
    redis: Any = house.store.client
    for number in range(3):
        assert await redis.zrange(keys_of(f"s{number}").subjects, 0, -1) == [b"creator:ann"]


async def test_a_first_commit_of_an_hour_is_asked_alone_for_its_keys(house: House) -> None:
    """Joined calls have no keys of history; `stale` has the verb ask again with them."""
    await house.open("a0", "a1")
    redis: Any = house.store.client
    assert all(map(is_granted, await house.reserved(*(house.reserve(n, 5) for n in EIGHT[:2]))))
    assert all(map(is_settled, await house.committed(*(house.commit(n, 5) for n in EIGHT[:2]))))
    counter = await redis.hget(keys_of("a0").books, "a/storage_bytes")
    old = counter[:24] + b"2025010100" + counter[34:]
    await redis.hset(keys_of("a0").books, "a/storage_bytes", old)
    assert all(
        map(is_granted, await house.reserved(*(house.reserve(n, 5, "s") for n in EIGHT[:2])))
    )
    first, second = await house.committed(*(house.commit(n, 5, "s") for n in EIGHT[:2]))
    assert first[0] == b"stale"
    assert is_settled(second)
    amounts = {"storage_bytes": 5, "uploads": 1}
    assert isinstance(await house.ledger.commit(terms("a0"), "s", amounts), Settled)
    assert await house.standing("a0") == await house.standing("a1") == [(10, 0), (2, 0)]


# -- on the way ------------------------------------------------------------------------------------


def answered(words: list[bytes]) -> bytes:
    """Each call of a joined one is answered with its id, another command with its last word."""
    if words[0] != b"EVALSHA":
        return b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1])
    ids = [words[at] for at in range(len(words)) if words[at].startswith(b"id-")]
    replies = [b"*1\r\n$%d\r\n%b\r\n" % (len(each), each) for each in ids]
    return replies[0] if len(ids) == 1 else b"*%d\r\n" % len(ids) + b"".join(replies)


def call(number: int) -> Call:
    return prepared(terms(f"a{number}")).reserve(b"id-%d" % number, 9)


def joined(connection: Connection, calls: Iterable[Call]) -> list[asyncio.Future[Any]]:
    replies = []
    for each in calls:
        replies.append(asyncio.get_running_loop().create_future())
        connection.join(each, replies[-1].set_result)
    return replies


async def all_of(replies: Iterable[asyncio.Future[Any]]) -> list[Any]:
    async with asyncio.timeout(5):
        return list(await asyncio.gather(*replies))


async def test_as_many_as_wait_go_together_and_each_hears_its_own_reply() -> None:
    async with connected(answered) as (connection, server):
        replies = joined(connection, map(call, range(5)))
        echoed = connection.call(command(b"ECHO", b"x"))
        replies += joined(connection, [call(5)])
        assert await echoed == b"x"
        assert await all_of(replies) == [[b"id-%d" % n] for n in range(6)]
        assert sum(server.reads) == 3  # one at once, the others as one, and the echo


async def test_no_more_are_joined_than_are_written_together() -> None:
    async with connected(answered) as (connection, server):
        replies = await all_of(joined(connection, map(call, range(1 + FLUSH_AT + 3))))
        assert replies == [[b"id-%d" % n] for n in range(1 + FLUSH_AT + 3)]
        assert sum(server.reads) == 3


async def test_room_is_for_calls_and_comes_back_with_the_reply_to_all() -> None:
    async with connected(answered, pending_max=4) as (connection, _):
        first = joined(connection, map(call, range(3)))
        assert not connection.full
        last = joined(connection, [call(3)])
        assert connection.full
        await all_of(first + last)
        assert not connection.full
        await all_of(joined(connection, map(call, range(3))))


async def test_an_error_reply_is_for_all_of_them() -> None:
    async with connected(lambda words: b"-NOSCRIPT no such script\r\n") as (connection, _):
        replies = await all_of(joined(connection, map(call, range(3))))
        assert all("NOSCRIPT" in str(each) for each in replies)


async def test_who_measures_hears_of_every_call_before_those_who_asked() -> None:
    heard: list[tuple[str, int, Any]] = []

    def hear(script: Script, calls: int, seconds: float, reply: Any) -> None:
        assert 0 < seconds < 5
        assert not any(each.done() for each in replies[: sum(h[1] for h in heard) + calls][-calls:])
        heard.append((script.name, calls, type(reply)))

    async with connected(answered, heard=hear) as (connection, _):
        replies = joined(connection, map(call, range(4)))
        await all_of(replies)
        assert heard == [("reserve", 1, list), ("reserve", 3, list)]
        heard.clear()
        replies = joined(connection, map(call, range(3)))
        connection.drop("in the middle")
        await all_of(replies)
        assert heard == [("reserve", 3, StoreError)]


async def test_what_was_not_written_has_not_happened_to_any() -> None:
    async with connected(answered) as (connection, _):
        replies = joined(connection, map(call, range(3)))
        connection.drop("in the middle")
        told = await all_of(replies)
        assert [each.indeterminate for each in told] == [True, False, False]


def test_replies_that_are_too_few_are_nobodys() -> None:
    told: list[Any] = []
    few = Joined(call(0), told.append, None)
    for number in (1, 2):
        few.add(call(number), told.append)
    few([[b"granted"], [b"granted"]])
    assert [type(each) for each in told] == [StoreError] * 3
    assert all(each.indeterminate for each in told)


def test_one_command_for_many_has_the_words_of_each() -> None:
    calls = [call(number) for number in range(3)]
    words = [each.words() for each in calls]
    shared = len(words[0][1]) - RESERVES_OWN - len(SIZES)
    keys = [key for of, _ in words for key in of]
    args = [*words[0][1][:shared], *(word for _, of in words for word in of[shared:])]
    packed = script_call(b"EVALSHA", calls[0].template.script.sha, keys, args)
    assert calls[0].template.family.packed(calls) == packed


async def test_in_a_cluster_only_calls_of_one_account_are_joined() -> None:
    async with connected(answered, one_slot=True) as (connection, server):
        replies = joined(connection, map(call, range(4)))
        same = prepared(terms("a0"))
        replies += joined(connection, [same.reserve(b"id-%d" % n, 9) for n in range(4, 8)])
        assert await all_of(replies) == [[b"id-%d" % n] for n in range(8)]
        assert sum(server.reads) == 5
