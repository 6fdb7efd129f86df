"""A claim lasts while its request runs, and its answer is stored when the store is back."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import fakeredis
import pytest

from gateway.admission.head import Head, judge
from gateway.catalog.routes import Policy, Route
from gateway.ledger.store import Store
from gateway.proxy import named
from gateway.proxy.named import Named
from gateway.records.idempotency import Claim, Done, Idempotency, Pending, StoredAnswer
from gateway.tasks import TaskSet

ROUTE = Route("r", frozenset({"PUT"}), "/a", "u", Policy.UPLOAD)
ANSWER = StoredAnswer(201, (), b"done", None)


def head(length: int) -> Head:
    fields = [(b"Host", b"here"), (b"Content-Length", b"%d" % length)]
    judged = judge("PUT", "/a", (1, 1), fields)
    assert isinstance(judged, Head)
    return judged


class House:
    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()
        self.store = Store.fake(self.server)
        self.rows = Idempotency(self.store.client)
        self.tasks = TaskSet()
        self._numbers = itertools.count(1)

    async def named(self, *, pending_ms: int = 60_000, length: int = 0) -> Named:
        claim = await self.claim(pending_ms=pending_ms)
        assert isinstance(claim, Claim)
        return Named(self.rows, self.tasks, ("acme", "k", claim.attempt), head(length), ROUTE)

    async def claim(self, *, pending_ms: int = 60_000) -> Claim | Pending | Done:
        """By somebody else each time."""
        by = f"r-{next(self._numbers)}"
        return await self.rows.claim("acme", "k", "print", pending_ms=pending_ms, by=by)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    opened = House()
    yield opened
    await opened.tasks.stop()
    await opened.store.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.01)


async def test_a_claim_is_kept_while_its_request_runs(house: House) -> None:
    claimed = await house.named(pending_ms=300)
    claimed.hold(0.3)
    loop = asyncio.get_running_loop()
    over = loop.time() + 0.7
    while loop.time() < over:
        assert await house.claim() == Pending("print")
        await asyncio.sleep(0.02)
    claimed.let_go()
    async with asyncio.timeout(5):
        while await house.claim() == Pending("print"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_short_request_starts_no_task(house: House) -> None:
    claimed = await house.named()
    claimed.hold(60.0)
    await claimed.answered(ANSWER)
    assert len(house.tasks) == 0
    assert await house.claim() == Done("print", 1, ANSWER)


async def test_trouble_while_a_claim_is_kept_does_no_harm(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = await house.named()
    house.server.connected = False
    claimed.hold(0.03)
    await until(lambda: "a claim could not be kept" in caplog.text)
    house.server.connected = True
    await claimed.answered(ANSWER)
    assert await house.claim() == Done("print", 1, ANSWER)


async def test_an_answer_is_stored_once_the_store_is_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "RETRIES_S", (0.01,) * 1_000)
    claimed = await house.named()
    house.server.connected = False
    await claimed.answered(ANSWER)
    assert len(house.tasks) == 1
    house.server.connected = True
    await until(lambda: len(house.tasks) == 0)
    assert await house.claim() == Done("print", 1, ANSWER)


async def test_an_answer_is_given_up_when_the_store_stays_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "RETRIES_S", (0.01, 0.01))
    claimed = await house.named()
    house.server.connected = False
    await claimed.answered(ANSWER)
    await until(lambda: len(house.tasks) == 0)
    house.server.connected = True
    assert await house.claim() == Pending("print")


async def test_an_answer_to_a_lost_claim_changes_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = await house.named(pending_ms=0)
    await house.claim()
    await claimed.answered(ANSWER)
    assert "a claim had ended" in caplog.text
    assert await house.claim() == Pending("print")


async def test_what_may_have_been_carried_out_is_not_given_up(house: House) -> None:
    claimed = await house.named()
    claimed.in_doubt = True
    await claimed.give_up()
    assert await house.claim() == Pending("print")
    claimed.in_doubt = False
    await claimed.give_up()
    assert await house.claim() == Claim(2)


async def test_a_claim_that_cannot_be_given_up_ends_by_itself(house: House) -> None:
    claimed = await house.named(pending_ms=0)
    house.server.connected = False
    await claimed.give_up()
    house.server.connected = True
    assert await house.claim() == Claim(2)


async def test_only_a_body_that_was_seen_whole_is_compared(house: House) -> None:
    claimed = await house.named(length=5)
    claimed.saw(b"hel")
    assert claimed.body_print is None
    claimed.saw(b"lo")
    hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert claimed.body_print == hello
