"""The audit finds every kind of damage, nothing else, and a repair leaves nothing to be found."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.plans import Plan, RateLimit
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.audit import PAGE, WHOLE_MAX, Finding, Repaired, audit, audit_all, repair
from gateway.ledger.keys import keys_of
from gateway.ledger.outcomes import Granted, Line
from gateway.ledger.store import Store
from tests.ledger.stage import NOON_MS, Stage
from tests.packed import packed
from tests.stores import REAL, Flavour, RedisServers, Via, open_flavour

KEYS = keys_of("acme")
NO_STAMP = "0" * 16
RECORD = f"O {NOON_MS} 120000 p - a/storage=5,"


@pytest.fixture
async def busy(stage: Stage) -> Stage:
    """An account with something of everything."""
    stage.rate = RateLimit(100, 1)
    plan = Plan("test", key_limits={"storage": 1_000})
    stage.terms = replace(stage.terms, plan=plan, key_id="k1", subject=("creator", "ann"))
    await stage.open(storage=1_000, egress=1_000)
    await stage.tell(
        """
        reserve A storage=60 egress=1
        reserve B storage=40
        reserve C storage=10 slots=1
        reserve D storage=5000 remembered
        reserve E storage=7 lease 1s
        commit B storage=30 files=1 egress=30 as x
        release C
        adjust J storage=3
        tick 1s
        expire
        """
    )
    stage.audited = False
    return stage


async def findings(stage: Stage) -> list[tuple[str, str]]:
    found = await audit(stage.store.client, "acme", now_ms=stage.store_ms)
    return [(finding.rule, finding.what) for finding in found]


async def mended(stage: Stage) -> list[str]:
    """What a repair changed; afterwards the books are in order, and work."""
    changed = await repair(stage.store.client, "acme", now_ms=stage.store_ms)
    assert await findings(stage) == []
    assert await repair(stage.store.client, "acme", now_ms=stage.store_ms) == ()
    assert (await stage.do("reserve Z storage=1")).startswith("granted")
    assert (await stage.do("release Z")) == "released"
    return sorted(each.what for each in changed)


async def test_books_in_order_have_no_findings_and_need_no_repair(busy: Stage) -> None:
    assert await findings(busy) == []
    assert await mended(busy) == []
    assert await busy.do("quota storage a") == "33+60/1000 peak 33"


Damage = Callable[[Any], Awaitable[Any]]
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "reserved-too-much": (
        lambda redis: redis.hset(KEYS.books, "a/storage", packed(f"33 {60 + 1} 33 0 0 33 -")),
        "I1",
        "a/storage",
    ),
    "reserved-too-little": (
        lambda redis: redis.hset(KEYS.books, "a/storage", packed("33 0 33 0 0 33 -")),
        "I1",
        "a/storage",
    ),
    "counter-lost": (lambda redis: redis.hdel(KEYS.books, "a/egress"), "I1", "a/egress"),
    "negative": (
        lambda redis: redis.hset(KEYS.books, "a/storage", packed("33 -1 33 0 0 33 -")),
        "I2",
        "a/storage",
    ),
    "too-large": (
        lambda redis: redis.hset(KEYS.books, "a/storage", packed(f"{1 << 53} 60 33 0 0 33 -")),
        "I7",
        "a/storage",
    ),
    "no-number": (lambda redis: redis.hset(KEYS.books, "a/storage", "text"), "I7", "a/storage"),
    "settled-with-a-lease": (
        lambda redis: redis.zadd(KEYS.leases, {"B": NOON_MS + 60_000}), "I4", "lease B"
    ),
    "open-without-a-lease": (lambda redis: redis.zrem(KEYS.leases, "A"), "I5", "lease A"),
    "lease-of-nothing": (
        lambda redis: redis.zadd(KEYS.leases, {"none": NOON_MS + 60_000}), "I5", "lease none"
    ),
    "never-forgotten": (lambda redis: redis.zrem(KEYS.forget, "B"), "record", "forget B"),
    "open-and-forgotten": (
        lambda redis: redis.zadd(KEYS.forget, {"A": NOON_MS + 60_000}), "record", "forget A"
    ),
    "forgotten-and-gone": (
        lambda redis: redis.zadd(KEYS.forget, {"none": NOON_MS}), "record", "forget none"
    ),
    "record-unreadable": (
        lambda redis: redis.hset(KEYS.reservations, "B", "C 1 2 3"), "record", "reservation B"
    ),
    "record-of-an-unknown-state": (
        lambda redis: redis.hset(KEYS.reservations, "B", RECORD.replace("O", "Q")),
        "record",
        "reservation B",
    ),
    "subject-not-listed": (
        lambda redis: redis.zrem(KEYS.subjects, "creator:ann"), "subject", "subject creator:ann"
    ),
    "due-too-late": (
        lambda redis: redis.hset(KEYS.books, "due", NOON_MS + 31_000), "I5", "due"
    ),
    "due-unreadable": (lambda redis: redis.hset(KEYS.books, "due", "soon"), "I5", "due"),
    "due-ahead": (
        lambda redis: redis.hset(KEYS.books, "due", NOON_MS + 3_000), "clock", "due"
    ),
    "clock-ahead": (
        lambda redis: redis.hset(KEYS.books, "now", NOON_MS + 3_600_000), "clock", "now"
    ),
    "clock-unreadable": (lambda redis: redis.hset(KEYS.books, "now", "soon"), "clock", "now"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DAMAGES))
async def test_each_damage_is_found_and_repaired(busy: Stage, name: str) -> None:
    damage, rule, what = DAMAGES[name]
    await damage(busy.store.client)
    assert rule in {found for found, _ in await findings(busy)}
    assert what in await mended(busy)


async def test_a_repair_says_what_was_and_what_is(busy: Stage) -> None:
    redis: Any = busy.store.client
    await redis.hset(KEYS.books, "a/storage", packed("33 999 33 0 0 33 -"))
    changed = await repair(busy.store.client, "acme", now_ms=busy.store_ms)
    assert changed == (
        Repaired("a/storage", f"33 999 33 {NO_STAMP} 0 33 -", f"33 60 33 {NO_STAMP} 0 33 -"),
    )


async def test_a_counter_that_cannot_be_read_becomes_what_its_assets_were_charged(
    busy: Stage,
) -> None:
    redis: Any = busy.store.client
    await redis.hset(KEYS.books, "a/storage", "text")
    await mended(busy)
    assert await busy.do("quota storage a") == "30+60/1000 peak 30"
    assert await busy.do("remove x") == "adjusted storage=-30 files=-1"


async def test_books_that_ran_ahead_are_set_back_with_all_that_was_reckoned_from_them(
    busy: Stage,
) -> None:
    """failure row 48: a store whose clock was wrong for a while, and is right again."""
    right_ms = busy.store_ms
    await busy.do("tick 90d")
    await busy.do("reserve F storage=100 lease 30s")
    busy.store_ms = right_ms
    assert [rule for rule, _ in await findings(busy)] == ["clock"]
    assert await busy.do("reserve G storage=900") == "denied 900 of 33+100/1000"
    await repair(busy.store.client, "acme", now_ms=busy.store_ms)
    assert await findings(busy) == []
    await busy.do("tick 30s")
    assert await busy.do("quota storage a") == "33+0/1000 peak 33"


async def test_assets_charged_more_than_is_used_are_told_and_left_to_an_adjustment(
    busy: Stage,
) -> None:
    await busy.do("adjust K storage=-33")
    assert [rule for rule, _ in await findings(busy)] == ["asset"] * 3
    await busy.do("adjust L storage=30")
    assert await findings(busy) == []
    redis: Any = busy.store.client
    await redis.hset(KEYS.assets, "x", "a/storage=many")
    assert await findings(busy) == [("asset", "x: 'a/storage=many' cannot be read")]


async def test_reservations_without_books_are_found_and_cannot_be_repaired(busy: Stage) -> None:
    redis: Any = busy.store.client
    await redis.delete(KEYS.books)
    assert {rule for rule, _ in await findings(busy)} == {"record"}
    with pytest.raises(StoreError) as caught:
        await repair(busy.store.client, "acme")
    assert caught.value.error is STORE_LOST
    await redis.delete(KEYS.reservations, KEYS.leases, KEYS.forget, KEYS.assets)
    assert await findings(busy) == []


async def test_all_accounts_are_audited_one_after_the_other(busy: Stage) -> None:
    redis: Any = busy.store.client
    for account in ("b", "c"):
        await busy.ledger.open_books(account)
        await redis.hset(keys_of(account).books, "a/storage", packed("0 5 0 0 0 0 -"))
    found = [
        finding
        async for finding in audit_all(busy.store.client, ["acme", "b", "c"], now_ms=busy.store_ms)
    ]
    what = "a/storage: reserved is 5, open reservations hold 0"
    assert found == [Finding("b", "I1", what), Finding("c", "I1", what)]
    assert str(found[0]) == f"b: I1: {what}"


async def test_a_key_of_the_wrong_type_is_told_as_an_error(busy: Stage) -> None:
    redis: Any = busy.store.client
    await redis.delete(KEYS.leases)
    await redis.set(KEYS.leases, "text")
    for work in (audit(busy.store.client, "acme"), repair(busy.store.client, "acme")):
        with pytest.raises(StoreError):
            await work


@pytest.mark.parametrize("flavour", [f for f in REAL if f.via is Via.PIPELINED], ids=str)
async def test_a_large_account_is_audited_while_it_moves(
    flavour: Flavour, redis_servers: RedisServers
) -> None:
    """Its pages do not fit together, its one transaction does; damage is still found."""
    store = await open_flavour(flavour, redis_servers)
    stage = Stage(store)
    await stage.open(storage=1 << 40)
    line = Line.exact("storage", 3)
    going = True

    async def reserve(name: str) -> None:
        outcome = await stage.ledger.reserve(stage.terms, name, [line], lease_ms=600_000)
        assert isinstance(outcome, Granted)

    async def traffic() -> None:
        number = 0
        while going:
            number += 1
            await reserve(f"t{number}")
            await stage.ledger.commit(stage.terms, f"t{number}", {"storage": 2})

    for at in range(0, WHOLE_MAX + PAGE, 100):
        await asyncio.gather(*(reserve(f"r{at + n}") for n in range(100)))
    async with asyncio.TaskGroup() as group:
        busy = group.create_task(traffic())
        assert await audit(store.client, "acme", now_ms=stage.store_ms) == ()
        redis: Any = store.client
        await redis.zrem(KEYS.leases, "r7")
        found = await audit(store.client, "acme", now_ms=stage.store_ms)
        going = False
        await busy
    assert found == (Finding("acme", "I5", "r7 is open and has no lease"),)
    assert await audit(store.client, "acme", now_ms=stage.store_ms) == found
    await store.close()


async def test_a_quiet_large_account_needs_no_transaction(store: Store) -> None:
    """Its pages fit together, so they will do."""
    redis: Any = store.client
    stage = Stage(store)
    await stage.open()
    settled = {f"r{n}": RECORD.replace("O", "R") for n in range(WHOLE_MAX + 1)}
    await redis.hset(KEYS.reservations, mapping=settled)
    await redis.zadd(KEYS.forget, dict.fromkeys(settled, NOON_MS))
    assert await audit(store.client, "acme", now_ms=stage.store_ms) == ()
