"""Books that are damaged: a verb stops before its first write, so nothing is written by half."""

from typing import Any

import pytest

from gateway.ledger.keys import keys_of
from tests.ledger.stage import Stage, everything
from tests.packed import packed

KEYS = keys_of("acme")


SPLIT = "split A into C storage=1 | D storage=1"
EVERY_VERB = (
    "reserve_many B storage=1 files=1 | C storage=1",
    "reserve B storage=1 files=1",
    "grow A storage=50",
    "commit A storage=45 egress=3 files=1 as y",
    "release A",
    "adjust J storage=5",
    "remove x",
    "expire",
    "quota storage",
)


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
        (KEYS.books, (*EVERY_VERB, SPLIT)),
        (KEYS.reservations, (*(v for v in EVERY_VERB if not v.startswith("remove")), SPLIT)),
        (KEYS.leases, (*EVERY_VERB[:5], "expire", "quota storage", SPLIT)),
        (KEYS.forget, (*EVERY_VERB[:6], "expire", "quota storage")),
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


@pytest.mark.parametrize(
    "value",
    [
        *(b"text", b"", packed("20 50 20 0 0 20 -")[:-1], packed("20 50 20 0 0 20 1:2:3:4") + b"0"),
        *(packed("1 -4 3 0 0 0 -"), packed("-1 50 3 0 0 0 -"), packed("20 50 -3 0 0 0 -")),
        *(packed("20.5 49.5 20 0 0 0 -"), packed("20 nan 20 0 0 0 -"), packed("inf 50 20 0 0 0 -")),
        *(packed(f"20 50 {1 << 53} 0 0 0 -"), packed(f"{1 << 53} 50 20 0 0 0 -")),
        *(packed("20 5 20 0 -1 0 -"), packed("20 5 20 0 0 nan -"), packed("20 5 20 0 0 0 0:.5")),
    ],
)
async def test_a_counter_that_cannot_be_read_stops_a_verb_before_its_first_write(
    stage: Stage, value: bytes
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
        for words in (
            *("reserve A storage=40 egress=9", "grow A storage=1", "commit A", "release A"),
            *("reserve_many B storage=1 | A storage=1", "split A into B storage=1"),
            "split X into A storage=1",
        ):
            outcome = await stage.do(words)
            assert outcome.startswith(("damaged", "refused")), f"{words} -> {outcome}"
            assert await everything(stage.store) == before, words


async def test_books_that_hold_less_than_is_to_be_given_back_are_damaged(stage: Stage) -> None:
    """Nothing is clamped: a counter that would go below zero stops the verb."""
    stage.audited = False
    await prepared(stage)
    redis: Any = stage.store.client
    await redis.hset(KEYS.books, "a/storage", packed("19 5 20 0 0 20 -"))
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
