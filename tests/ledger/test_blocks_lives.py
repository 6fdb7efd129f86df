"""Hot accounts at random: several gateways with blocks that come and go, calls that are lost, and
shares that turn out to be more than plain. No unit is lost, none is charged twice, limits hold."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger import blocks
from gateway.ledger.audit import audit
from gateway.ledger.blocks import BlockLedger
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Line, Refused, Settled
from gateway.ledger.prepared import Prepared, is_granted, is_settled
from gateway.ledger.reservation import State
from gateway.ledger.store import Store
from gateway.tasks import TaskSet
from tests.ledger.lossy import Lossy
from tests.ledger.stage import METERS

SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(5, 100))]
LIMIT = 400
SIZES: Mapping[str, int | None] = {"storage": None, "files": 1, "slots": 1}
PLAN = Plan("hot", limits={"storage": LIMIT}, block={"storage": 60, "files": 9, "slots": 9})
GATEWAYS, CLIENTS, REQUESTS = 3, 3, 25


class Hot:
    """An account, and what its clients believe to have used."""

    def __init__(self, store: Store, seed: int) -> None:
        self.dice = random.Random(seed)
        self.terms = Terms("acme", METERS, PLAN)
        self.plain = Ledger(store.admission, store.settlement, StoreClock())
        self.gateways = [Gate(self, store) for _ in range(GATEWAYS)]
        self.used = 0
        self.files = 0
        self.over = False

    async def client(self, gate: "Gate", name: str) -> None:
        for number in range(REQUESTS):
            await gate.request(f"{name}-{number}", self.dice.choice((0, 1, 7, 20, 59, 61)))

    async def trouble(self) -> None:
        """Blocks end and calls are lost; whatever happens, the limit holds."""
        while not self.over:
            gate = self.dice.choice(self.gateways)
            for block in tuple(gate.ledger._blocks):
                if self.dice.random() < 0.2:
                    self.dice.choice((gate.ledger._retire, gate.ledger._close))(block)
            for way in gate.ways:
                way.lose = self.dice.choice(("", "", "", "request", "reply"))
            snapshot = await self.plain.snapshot(self.terms)
            assert snapshot.quotas[0].effective <= LIMIT, snapshot
            await asyncio.sleep(0)


class Gate:
    def __init__(self, hot: Hot, store: Store) -> None:
        self._hot = hot
        self._dice = hot.dice
        self.ways = (Lossy(store.admission), Lossy(store.settlement))
        self.ledger = BlockLedger(*self.ways, StoreClock(), hot=hot.dice.choice((0, 2)))
        self.ledger.settler = self
        self.tasks = TaskSet()
        now_ms = StoreClock().now_ms()
        self._prepared = Prepared(hot.terms, SIZES, now_ms, lease_ms=10_000, keep_ms=60_000,
                                  note="hot", with_asset=False)  # fmt: skip
        self._prepared.source = self.ledger.source(hot.terms, tuple(SIZES))

    async def request(self, name: str, size: int) -> None:
        if not await self._reserved(name, size):
            return
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)
        if self._dice.random() < 0.1:
            await self._sure(lambda: self.ledger.extend("acme", [name], 10_000))
        used, end = self._dice.choice((size, size, size // 2)), self._dice.random()
        if end < 0.2:
            released = await self._sure(
                lambda: self.ledger.release("acme", name, reason="client gone")
            )
            assert isinstance(released, Settled)
            assert released.state is State.RELEASED
            return
        asset = name if end < 0.3 else None
        if end < 0.6 or not is_settled(
            await self._told(self.ledger.commit_prepared, name, used, asset)
        ):
            settled = await self.commit(self._hot.terms, name, self._prepared.amounts(used), asset)
            assert isinstance(settled, Settled)
            assert not settled.late
        self._hot.used += used
        self._hot.files += 1

    async def _reserved(self, name: str, size: int) -> bool:
        asked = False
        if self._dice.random() < 0.5:
            reply = await self._told(self.ledger.reserve_prepared, name, size)
            if is_granted(reply):
                return True
            if isinstance(reply, list) and reply[0] == b"denied":
                return False
            asked = True
        # As the ordinary path goes on, with the same id.
        lines = self._prepared.lines(size)
        try:
            outcome = await self.ledger.reserve(
                *(self._hot.terms, name, lines),
                lease_ms=10_000, note="hot", keep_ms=60_000, plain=not asked,
            )  # fmt: skip
        except StoreError:
            await self._sure(lambda: self.ledger.release("acme", name, reason="abandoned"))
            return False
        return isinstance(outcome, Granted)

    async def _told(self, ask: Any, name: str, size: int, *asset: str | None) -> Any:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ask(self._prepared, name.encode(), size, *asset, reply.set_result)
        async with asyncio.timeout(5):
            return await reply

    async def commit(
        self, terms: Terms, name: str, used: Mapping[str, int], asset: str | None = None
    ) -> object:
        return await self._sure(lambda: self.ledger.commit(terms, name, used, asset=asset))

    def abandon(self, account: str, name: str) -> None:
        self.tasks.start(
            self._sure(lambda: self.ledger.release(account, name, reason="abandoned")), name=name
        )

    async def _sure(self, ask: Any) -> Any:
        """Again and again, as the settler does."""
        while True:
            try:
                return await ask()
            except StoreError:
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SERVES_S", 0.05), ("COMES_BACK_S", 0.005), ("AGAIN_S", 0.001)):
        monkeypatch.setattr(blocks, name, seconds)


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_unit_is_lost_and_none_is_charged_twice(store: Store, seed: int) -> None:
    hot = Hot(store, seed)
    await hot.plain.open_books("acme")
    async with asyncio.TaskGroup() as all_of_it:
        all_of_it.create_task(hot.trouble())
        async with asyncio.TaskGroup() as clients:
            for number, gate in enumerate(hot.gateways):
                for each in range(CLIENTS):
                    clients.create_task(hot.client(gate, f"{number}-{each}"))
        hot.over = True
    for gate in hot.gateways:
        assert gate.ledger._shares == {}
        await gate.ledger.stop()
        await gate.tasks.join()
    standing = {
        q.meter.name: (q.used, q.reserved) for q in (await hot.plain.snapshot(hot.terms)).quotas
    }
    assert standing["storage"] == (hot.used, 0)
    assert standing["files"] == (hot.files, 0)
    assert standing["slots"] == (0, 0)
    assert hot.used > LIMIT / 2
    left = await hot.plain.reserve(
        hot.terms, "rest", [Line.exact("storage", LIMIT - hot.used)], lease_ms=1_000
    )
    assert isinstance(left, Granted)
    assert not isinstance(await hot.plain.release("acme", "rest", reason="test"), Refused)
    assert await audit(store.client, "acme") == ()
