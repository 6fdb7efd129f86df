"""What the scripts' replies mean, where the stories do not tell."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.frame import Terms, frame_at
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line
from gateway.ledger.replies import committed, gone, lines_of, reserved
from gateway.ledger.scripts import Script
from tests.ledger.stage import METERS, NOON_MS
from tests.packed import packed

TERMS = Terms("acme", METERS, Plan("test", limits={"storage": 100}))
FRAME = frame_at(TERMS, NOON_MS)
LINE = Line.exact("storage", 5)
GRANTED = [b"granted", b"O", 0, 0, 0, 0, b"5", packed("0 5 0 0 0 0 -")]


class Answering:
    """A transport that answers as it is told."""

    def __init__(self, *replies: list[Any]) -> None:
        self.replies = list(replies)
        self.asked: list[Sequence[bytes]] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.asked.append(args)
        return self.replies.pop(0)

    async def close(self) -> None:
        pass


def ledger(way: Answering) -> Ledger:
    return Ledger(way, way, StoreClock(), now_ms=lambda: NOON_MS)


async def test_a_script_that_has_only_made_room_so_far_is_run_on() -> None:
    way = Answering([b"again"], [b"again"], GRANTED)
    outcome = await ledger(way).reserve(TERMS, "A", [LINE], lease_ms=1)
    assert isinstance(outcome, Granted)
    assert len(way.asked) == 3


async def test_a_script_that_is_in_another_hour_is_run_in_that() -> None:
    later = NOON_MS + 7_200_000
    way = Answering([b"clock", later], GRANTED)
    await ledger(way).reserve(TERMS, "A", [LINE], lease_ms=1)
    assert [struct.unpack_from("<2d", args[0]) for args in way.asked] == [
        (NOON_MS, NOON_MS + 3_600_000),
        (later, later + 3_600_000),
    ]


async def test_a_clock_that_never_settles_is_given_up() -> None:
    way = Answering(*([b"clock", NOON_MS + hour * 3_600_000] for hour in range(9)))
    with pytest.raises(StoreError) as caught:
        await ledger(way).reserve(TERMS, "A", [LINE], lease_ms=1)
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)


async def test_frames_of_terms_that_are_gone_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.runner.FRAMES_MAX", 3)
    way = Answering(*([*GRANTED] for _ in range(9)))
    subject = ledger(way)
    for number in range(9):
        terms = Terms("acme", METERS, Plan(f"plan {number}"))
        await subject.reserve(terms, "A", [LINE], lease_ms=1)
    assert len(subject._scripts._frames) == 3


def test_a_reply_that_no_script_gives_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="nonsense"):
        reserved("A", FRAME, [LINE], None, [b"nonsense"])
    with pytest.raises(AssertionError, match="extended"):
        committed("A", FRAME, ["storage"], [b"extended"])
    with pytest.raises(StoreError):
        gone("acme", [b"lost"])


def test_a_denial_by_a_counter_that_is_gone_from_the_terms_is_told_with_its_limit() -> None:
    words = [b"k:old/storage", b"5", b"60", b"58", b"59", b"1"]
    denied = reserved("A", FRAME, [LINE], None, [b"denied", 1, 0, 0, 0, *words])
    assert isinstance(denied, Denied)
    assert (denied.quota.scope, str(denied.quota)) == ("k:old", "storage 58+1/60")
    assert (denied.requested, denied.quota.peak, denied.replayed) == (5, 59, True)


def test_lists_of_lines_end_with_a_comma_or_not() -> None:
    assert lines_of("a/x=1,k:y/x=2,") == lines_of("a/x=1,k:y/x=2") == {"a/x": 1, "k:y/x": 2}
    assert lines_of("-") == lines_of("") == {}
