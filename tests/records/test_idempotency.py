"""Rows of named requests: claimed once, answered for a day."""

import pytest

from gateway.ledger.store import Store
from gateway.records.idempotency import (
    Charge,
    Claim,
    Done,
    Idempotency,
    Pending,
    StoredAnswer,
)

ANSWER = StoredAnswer(
    201,
    (("Content-Type", "application/json"),),
    b'{"a":\n1}\xff',
    Charge("r-1", {"bytes": 5}, "files/a", "k1", ("creator", "a:b")),
)


@pytest.fixture
def rows(store: Store) -> Idempotency:
    return Idempotency(store.client)


async def test_a_key_is_claimed_once(rows: Idempotency) -> None:
    assert await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-1") == Claim(1)
    assert await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-2") == Pending("print")
    assert await rows.claim("acme", "other", "print", pending_ms=60_000, by="r-3") == Claim(1)
    assert await rows.claim("rival", "k", "print", pending_ms=60_000, by="r-4") == Claim(1)


async def test_an_answer_is_given_again_whatever_bytes_it_has(rows: Idempotency) -> None:
    await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-5")
    assert await rows.answered("acme", "k", 1, ANSWER)
    assert await rows.claim("acme", "k", "x", pending_ms=60_000, by="r-6") == Done(
        "print", 1, ANSWER
    )
    assert not await rows.give_up("acme", "k", 1)


async def test_an_answer_too_large_to_keep_and_one_that_charges_nothing(rows: Idempotency) -> None:
    bare = StoredAnswer(403, (), None, None)
    await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-7")
    assert await rows.answered("acme", "k", 1, bare)
    assert await rows.claim("acme", "k", "print", pending_ms=1, by="r-8") == Done("print", 1, bare)


async def test_what_is_given_up_or_not_kept_is_carried_out_anew(rows: Idempotency) -> None:
    assert await rows.claim("acme", "k", "one", pending_ms=60_000, by="r-9") == Claim(1)
    assert await rows.give_up("acme", "k", 1)
    assert await rows.claim("acme", "k", "two", pending_ms=0, by="r-10") == Claim(2)
    assert await rows.claim("acme", "k", "two", pending_ms=60_000, by="r-11") == Claim(3)


async def test_a_lost_claim_has_no_say(rows: Idempotency) -> None:
    await rows.claim("acme", "k", "print", pending_ms=0, by="r-12")
    await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-13")
    assert not await rows.keep("acme", "k", 1, pending_ms=60_000)
    assert not await rows.answered("acme", "k", 1, ANSWER)
    assert await rows.keep("acme", "k", 2, pending_ms=60_000)


async def test_rows_end_after_a_day(rows: Idempotency, store: Store) -> None:
    await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-14")
    await rows.answered("acme", "k", 1, ANSWER)
    (key,) = [key async for key in store.client.scan_iter("qg:{acme}:idempotency:*")]
    assert 86_000_000 < await store.client.pttl(key) <= 86_400_000


async def test_a_claim_whose_reply_was_lost_is_made_once_more(rows: Idempotency) -> None:
    assert await rows.claim("acme", "k", "print", pending_ms=60_000, by="me") == Claim(1)
    assert await rows.claim("acme", "k", "print", pending_ms=60_000, by="me") == Claim(2)
    assert await rows.claim("acme", "k", "print", pending_ms=60_000, by="you") == Pending("print")
    assert not await rows.answered("acme", "k", 1, ANSWER)
    assert await rows.answered("acme", "k", 2, ANSWER)
    done = await rows.claim("acme", "k", "print", pending_ms=60_000, by="me")
    assert done == Done("print", 2, ANSWER)


async def test_a_claim_in_doubt_ends_with_its_doubt_and_not_before(rows: Idempotency) -> None:
    await rows.claim("acme", "k", "print", pending_ms=0, by="r-1")
    assert await rows.doubt("acme", "k", 1, "r-1")
    doubtful = Pending("print", "r-1")
    for settled in ("", "r-0"):
        found = await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-2", settled=settled)
        assert found == doubtful
    for _ in range(2):  # once more, as if the reply had been lost
        found = await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-2", settled="r-1")
        assert isinstance(found, Claim)
    found = await rows.claim("acme", "k", "print", pending_ms=60_000, by="r-3", settled="r-1")
    assert found == Pending("print")
    assert not await rows.doubt("acme", "k", 1, "r-1")


async def test_a_doubt_that_is_settled_answers_or_frees_the_claim(rows: Idempotency) -> None:
    for name in ("kept", "free"):
        await rows.claim("acme", name, "print", pending_ms=60_000, by="r-1")
        await rows.doubt("acme", name, 1, "r-1")
    assert await rows.answered("acme", "kept", 1, ANSWER)
    assert await rows.give_up("acme", "free", 1)
    kept = await rows.claim("acme", "kept", "print", pending_ms=60_000, by="r-2")
    assert kept == Done("print", 1, ANSWER)
    free = await rows.claim("acme", "free", "print", pending_ms=60_000, by="r-2")
    assert free == Claim(2)
