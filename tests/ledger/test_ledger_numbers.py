"""Amounts: only integers below 2^53 get into the books, and they are exact to the unit."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import INVALID_AMOUNT, STORE_FULL, UNKNOWN_METER, StoreError
from gateway.ledger import scripts
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Line, Refused
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from tests.ledger.stage import METERS, Stage, everything

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
    for unknown in (
        await ledger.reserve(terms, "A", [Line.exact("nonsense", 1)], lease_ms=1),
        await ledger.commit(terms, "A", {"nonsense": 1}),
        await ledger.adjust(terms, "A", {"nonsense": 1}, reason="x"),
    ):
        assert isinstance(unknown, Refused)
        assert unknown.error is UNKNOWN_METER
    twice = await ledger.reserve(terms, "A", [Line.exact("files", 1)] * 2, lease_ms=1)
    assert isinstance(twice, Refused)
    upside_down = await ledger.reserve(terms, "A", [Line("files", 2, 1)], lease_ms=1)
    assert isinstance(upside_down, Refused)


@pytest.mark.parametrize("verb", ["RESERVE", "RESERVE_MANY", "SPLIT", "GROW", "COMMIT", "ADJUST"])
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
        "RESERVE_MANY": listener.reserve_many(stage.terms, [("B", [line])], lease_ms=1_000),
        "SPLIT": listener.split(stage.terms, "A", [("B", {"storage": 77})], lease_ms=1_000),
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
