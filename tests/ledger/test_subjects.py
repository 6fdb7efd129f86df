"""The index of subjects: listed with their first counter, paged at a bounded cost."""

import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.plans import Plan
from gateway.errors import StoreError
from gateway.ledger.address import Address
from gateway.ledger.audit import audit, repair
from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import client_of
from gateway.ledger.subjects import Subjects
from tests.ledger.stage import Stage
from tests.redis_server import RedisServer

KEY = keys_of("acme").subjects


def subjects_of(stage: Stage) -> Subjects:
    return Subjects(stage.store.client)


def concern(stage: Stage, subject_id: str, kind: str = "creator") -> None:
    stage.terms = replace(stage.terms, subject=(kind, subject_id))


@pytest.mark.parametrize(
    ("story", "listed"),
    [
        ("reserve A storage=1", True),
        ("reserve_many A storage=1 | B egress=1", True),
        ("adjust A storage=1", True),
        ("reserve A", False),
        ("reserve A storage=101", False),
        ("reserve_many A storage=60 | B storage=60", False),
        ("reserve A storage=101\nreserve B storage=1 egress=1", True),
        ("quota storage", False),
    ],
)  # fmt: skip
async def test_whoever_gets_a_counter_is_listed(stage: Stage, story: str, listed: bool) -> None:
    concern(stage, "ann")
    await stage.open(storage=100)
    await stage.tell(story)
    page = await subjects_of(stage).page("acme", "creator")
    assert page.ids == (("ann",) if listed else ())
    assert page.total == len(page.ids)
    assert await subjects_of(stage).exists("acme", "creator", "ann") is listed


@pytest.mark.parametrize("verb", ["grow A storage=1 egress=5", "commit A egress=5"])
async def test_a_first_counter_comes_also_by_growing_and_by_being_charged(
    stage: Stage, verb: str
) -> None:
    await stage.open(storage=100)
    await stage.do("reserve A storage=1")
    concern(stage, "ann")
    await stage.do(verb)
    assert (await subjects_of(stage).page("acme", "creator")).ids == ("ann",)


async def test_an_index_that_cannot_be_written_keeps_nothing_from_the_books(stage: Stage) -> None:
    concern(stage, "ann")
    await stage.open(storage=100)
    redis: Any = stage.store.client
    await redis.set(KEY, "text")
    await stage.tell(
        """
        reserve A storage=10            -> granted 0+10/100, 0+10/∞
        commit A storage=10 egress=5    -> committed 10+0/100, 10+0/∞, 5+0/∞, 5+0/∞
        """
    )
    with pytest.raises(StoreError):
        await subjects_of(stage).page("acme", "creator")
    await redis.delete(KEY)
    found = await audit(redis, "acme", now_ms=stage.store_ms)
    assert [str(each) for each in found] == [
        "acme: subject: creator:ann has counters and is not listed"
    ]
    changed = await repair(redis, "acme", now_ms=stage.store_ms)
    assert [(each.what, each.after) for each in changed] == [("subject creator:ann", "listed")]
    assert await subjects_of(stage).exists("acme", "creator", "ann")


IDS = ("a", "a:b", "a/b", "a b", "aé", "b", "b%20", "日本", "~", "\u202e", ";", ":", "'", '"')


async def test_ids_of_any_text_come_back_as_they_were(stage: Stage) -> None:
    await stage.open()
    for number, name in enumerate(IDS):
        concern(stage, name)
        await stage.do(f"adjust A{number} storage=1")
        concern(stage, name, kind="creators")
        await stage.do(f"adjust B{number} storage=1")
    subjects = subjects_of(stage)
    page = await subjects.page("acme", "creator")
    assert sorted(page.ids) == sorted(IDS)
    assert (page.total, page.first, page.next) == (len(IDS), 0, None)
    walked: list[str] = []
    after: str | None = None
    while True:
        page = await subjects.page("acme", "creator", after=after, count=3)
        assert page.first == len(walked)
        walked += page.ids
        if page.next is None:
            break
        assert page.next == page.ids[-1]
        after = page.next
    numbered = [await subjects.numbered("acme", "creator", n, 4) for n in range(1, 6)]
    assert [name for page in numbered for name in page.ids] == walked
    assert [page.next is None for page in numbered] == [False, False, False, True, True]
    assert numbered[-1].ids == ()
    assert (await subjects.page("acme", "creators", count=1)).total == len(IDS)
    assert (await subjects.page("acme", "creat")).total == 0


async def test_pages_hold_while_others_come(stage: Stage) -> None:
    """Nobody who was there at the first page is left out or told twice."""
    await stage.open()
    pick = random.Random(1)
    names = pick.sample(range(10_000), 400)
    subjects = subjects_of(stage)
    await subjects.add("acme", "creator", *(f"{name:04}" for name in names[:200]))
    walked: list[str] = []
    after: str | None = None
    for name in names[200:]:
        page = await subjects.page("acme", "creator", after=after, count=7)
        walked += page.ids
        if page.next is None:
            break
        after = page.next
        await subjects.add("acme", "creator", f"{name:04}")
    assert walked == sorted(set(walked))
    assert {f"{name:04}" for name in names[:200]} <= set(walked)


async def test_one_account_knows_nothing_of_anothers(stage: Stage) -> None:
    concern(stage, "ann")
    await stage.open()
    await stage.do("adjust A storage=1")
    subjects = subjects_of(stage)
    assert not await subjects.exists("acme2", "creator", "ann")
    assert (await subjects.page("acme2", "creator")).total == 0
    assert not await subjects.exists("acme", "creator:ann", "")


async def test_only_who_has_no_counters_is_dropped(stage: Stage) -> None:
    concern(stage, "ann")
    await stage.open()
    await stage.do("adjust A egress=1")
    subjects = subjects_of(stage)
    await subjects.add("acme", "creator", "ann", "bob")
    meters = list(stage.terms.meters)
    assert not await subjects.drop("acme", "creator", "ann", meters)
    assert await subjects.drop("acme", "creator", "bob", meters)
    assert not await subjects.drop("acme", "creator", "bob", meters)
    assert (await subjects.page("acme", "creator")).ids == ("ann",)


async def test_a_snapshot_of_an_unknown_subject_creates_none(stage: Stage) -> None:
    stage.plan(Plan("test", subject_limits={"creator": {"storage": 50}}))
    concern(stage, "ann")
    await stage.open(storage=100)
    await stage.tell(
        """
        adjust A storage=30                 -> adjusted storage=30
        reserve B storage=21                -> denied 21 of s:creator:ann 30+0/50
        quota storage s:creator:ann         -> 30+0/50 peak 30
        """
    )
    concern(stage, "bob")
    assert await stage.do("quota storage s:creator:bob") == "0+0/50 peak 0"
    subjects = subjects_of(stage)
    assert not await subjects.exists("acme", "creator", "bob")
    redis: Any = stage.store.client
    assert [name for name in await redis.hkeys(keys_of("acme").books) if b"bob" in name] == []


COUNT = 100_000
COST_MAX_US = 1_000
"""Of a page of 100 names, by Redis's own watch; it takes about 60."""


async def test_a_page_of_many_costs_what_a_page_of_few_does(redis_server: RedisServer) -> None:
    """Wherever it begins, by name and by number; the least of some runs, for the sake of others
    that share this machine."""
    redis: Any = client_of(Address(path=str(redis_server.socket)))
    subjects = Subjects(redis)
    for start in range(0, COUNT, 5_000):
        await subjects.add("acme", "creator", *(f"c{n:06}" for n in range(start, start + 5_000)))
    assert (await subjects.page("acme", "creator", count=1)).total == COUNT

    async def least_us(read: Any) -> int:
        costs = []
        for _ in range(5):
            await redis.config_resetstat()
            await read()
            costs.append((await redis.info("commandstats"))["cmdstat_eval"]["usec"])
        return int(min(costs))

    begins = await least_us(lambda: subjects.page("acme", "creator", count=100))
    ends = await least_us(lambda: subjects.page("acme", "creator", after="c099800", count=100))
    last = await least_us(lambda: subjects.numbered("acme", "creator", COUNT // 100, 100))
    assert (await subjects.numbered("acme", "creator", COUNT // 100, 100)).ids[-1] == "c099999"
    assert max(begins, ends, last) < COST_MAX_US
    assert max(ends, last) < 5 * begins
    print(f"a page of 100 among {COUNT}: {begins} us, {ends} us at the end, {last} us by number")
    await redis.aclose()
