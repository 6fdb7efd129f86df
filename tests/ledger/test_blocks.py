"""Blocks: exact at the limit, given back, and a reservation wherever a share is more than plain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock, monotonic_s
from gateway.errors import UNKNOWN_RESERVATION, StoreError
from gateway.ledger import blocks
from gateway.ledger.audit import audit
from gateway.ledger.block import Block
from gateway.ledger.blocks import BlockLedger
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Adjusted, Denied, Granted, Line, Refused, Settled
from gateway.ledger.prepared import Prepared, is_granted, is_settled
from gateway.ledger.reservation import State
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.tasks import TaskSet
from tests.ledger.lively import until
from tests.ledger.lossy import Lossy
from tests.ledger.stage import METERS, NOON_MS

SIZES = {"storage": 100, "files": 10, "egress": 100, "slots": 5}


@dataclass
class House:
    """Gateways on one store whose clock the test moves."""

    store: Store
    terms: Terms
    now_ms: int = NOON_MS
    gateways: list[BlockLedger] = field(default_factory=list)

    def gateway(self, *, hot: int = 0) -> BlockLedger:
        made = BlockLedger(
            *(self.store.admission, self.store.settlement, StoreClock()),
            now_ms=lambda: self.now_ms,
            hot=hot,
        )
        self.gateways.append(made)
        return made

    @property
    def plain(self) -> Ledger:
        return Ledger(
            *(self.store.admission, self.store.settlement, StoreClock()),
            now_ms=lambda: self.now_ms,
        )

    async def standing(self, meter: str = "storage") -> str:
        snapshot = await self.plain.snapshot(self.terms)
        return next(str(q) for q in snapshot.quotas if q.meter.name == meter).split()[1]

    async def held(self) -> set[str]:
        """Ids of what is open; those of blocks are chance."""
        return {each.id.split("-")[0] for each in await self.plain.holders("acme", 1_000)}


@pytest.fixture
async def house(store: Store) -> AsyncIterator[House]:
    plan = Plan("test", limits={"storage": 1_000}, block=SIZES)
    made = House(store, Terms("acme", METERS, plan))
    await made.plain.open_books("acme")
    yield made
    for gateway in made.gateways:
        await gateway.stop()
    assert await audit(store.client, "acme", now_ms=made.now_ms) == ()


async def take(house: House, ledger: Ledger, name: str, **amounts: int) -> Granted:
    lines = [Line.exact(meter, amount) for meter, amount in amounts.items()]
    outcome = await ledger.reserve(house.terms, name, lines, lease_ms=10_000)
    assert isinstance(outcome, Granted)
    assert outcome.amounts == amounts
    return outcome


async def test_a_block_is_reserved_handed_out_charged_and_given_back(house: House) -> None:
    ledger = house.gateway()
    granted = await take(house, ledger, "A", storage=30, files=1)
    assert str(granted.quotas[0]) == "storage 0+100/1000"
    await take(house, ledger, "B", storage=20, files=1)
    assert await house.held() == {"block"}
    assert await house.standing() == "0+100/1000"
    settled = await ledger.commit(house.terms, "A", {"storage": 25, "files": 1})
    assert isinstance(settled, Settled)
    assert (settled.state, settled.late, settled.replayed) == (State.COMMITTED, False, False)
    released = await ledger.release("acme", "B", reason="client gone")
    assert isinstance(released, Settled)
    assert released.state is State.RELEASED
    # What came back is handed out again: 75 are left of the block.
    await take(house, ledger, "C", storage=75, files=1)
    await ledger.commit(house.terms, "C", {"storage": 70, "files": 1})
    assert await house.standing() == "0+100/1000"
    await ledger.stop()
    assert await house.standing() == "95+0/1000"
    assert await house.standing("files") == "2+0/∞"
    assert await house.held() == set()


async def test_what_a_block_has_no_room_for_is_asked_of_the_store(house: House) -> None:
    ledger = house.gateway()
    await take(house, ledger, "A", storage=60)
    await take(house, ledger, "B", storage=60)
    assert await house.standing() in {"0+160/1000", "0+200/1000"}
    await take(house, ledger, "C", storage=500)
    outcome = await ledger.reserve(house.terms, "D", [Line.exact("storage", 900)], lease_ms=10_000)
    assert isinstance(outcome, Denied)
    for name, amount in (("A", 60), ("B", 60), ("C", 500)):
        await ledger.commit(house.terms, name, {"storage": amount})
    await ledger.stop()
    assert await house.standing() == "620+0/1000"


async def test_a_block_serves_a_second_also_when_nobody_asks_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SERVES_S", 0.3)
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    await take(house, ledger, "B", storage=20)
    await ledger.commit(house.terms, "A", {"storage": 30})

    async def closed() -> bool:
        return await house.held() == {"B"}

    await until(closed)
    assert await house.standing() == "30+20/1000"
    assert await ledger.extend("acme", ["B"], 10_000) == ()
    committed = await ledger.commit(house.terms, "B", {"storage": 21})
    assert isinstance(committed, Settled)
    assert await house.standing() == "51+0/1000"


@pytest.mark.parametrize("more", ["grow", "extend", "asset", "above", "split"])
async def test_a_share_that_is_more_than_plain_becomes_a_reservation(
    house: House, more: str
) -> None:
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    actual, asset = {"storage": 30}, None
    match more:
        case "grow":
            grown = await ledger.grow(house.terms, "A", [Line.exact("storage", 40)])
            assert isinstance(grown, Granted)
            actual = {"storage": 40}
        case "extend":
            assert await ledger.extend("acme", ["A"], 60_000) == ()
        case "split":
            await ledger.split(house.terms, "A", [("A1", {"storage": 10})], lease_ms=10_000)
            await ledger.release("acme", "A1", reason="test")
        case "asset":
            asset = "x"
        case _:
            actual = {"storage": 31}
    if more in {"grow", "extend", "split"}:
        assert await house.held() == {"block", "A"}
    settled = await ledger.commit(house.terms, "A", actual, asset=asset)
    assert isinstance(settled, Settled)
    used = actual["storage"]
    assert await house.standing() == f"{used}+70/1000"
    again = await ledger.commit(house.terms, "A", actual, asset=asset)
    assert isinstance(again, Settled)
    assert again.replayed
    if asset:
        assert isinstance(await ledger.remove(house.terms, asset), Adjusted)
        assert await house.standing() == "0+70/1000"


async def test_a_dead_gateway_s_block_is_free_when_its_lease_ends(house: House) -> None:
    await take(house, house.gateway(), "A", storage=30)
    house.gateways.clear()
    assert await house.standing() == "0+100/1000"
    house.now_ms += blocks.LEASE_MS
    assert await house.standing() == "0+0/1000"


@pytest.mark.parametrize("closed_first", [False, True])
@pytest.mark.parametrize("asset", [None, "x"])
@pytest.mark.parametrize("limit", [1_000, 40])
async def test_what_a_gateway_handed_out_before_it_was_stopped_is_charged_all_the_same(
    house: House, limit: int, asset: str | None, closed_first: bool
) -> None:
    """Its block has ended meanwhile, and others have taken the room."""
    house.terms = replace(house.terms, plan=replace(house.terms.plan, limits={"storage": limit}))
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    await take(house, ledger, "B", storage=5)
    await take(house, ledger, "R", storage=5)
    await ledger.commit(house.terms, "B", {"storage": 5})
    house.now_ms += blocks.LEASE_MS
    other = await take(house, house.plain, "C", storage=40)
    assert other.state is State.OPEN
    if closed_first:
        await ledger.stop()
    settled = await ledger.commit(house.terms, "A", {"storage": 30}, asset=asset)
    assert isinstance(settled, Settled)
    assert settled.late == (closed_first or asset is not None)
    released = await ledger.release("acme", "R", reason="client gone")
    assert isinstance(released, Settled)
    await ledger.stop()
    assert await house.standing() == f"35+40/{limit}"
    await house.plain.release("acme", "C", reason="test")


async def test_only_what_is_plain_comes_out_of_a_block(house: House) -> None:
    ledger = house.gateway(hot=2)
    rate = RateLimit(100, 1)
    lines = [Line.exact("storage", 1)]
    await ledger.reserve(house.terms, "rate", lines, lease_ms=10_000, rate=rate)
    await ledger.reserve(
        house.terms, "named", lines, lease_ms=10_000, remember_denial=True, keep_ms=1
    )
    await ledger.reserve(house.terms, "range", [Line("storage", 1, 2)], lease_ms=10_000)
    await ledger.reserve(house.terms, "other", [Line.exact("requests", 1)], lease_ms=10_000)
    await ledger.reserve(house.terms, "none", [], lease_ms=10_000)
    await ledger.reserve(house.terms, "lasting", lines, lease_ms=10_000, plain=False)
    # Two more in this second: not hot yet.
    for name in ("first", "second"):
        await take(house, ledger, name, storage=1)
    assert await house.held() == {
        *("rate", "named", "range", "other", "lasting", "first", "second")
    }
    plain = replace(house.terms, plan=replace(house.terms.plan, block={}))
    cold = house.gateway()
    for number in range(3):
        await cold.reserve(plain, f"off{number}", lines, lease_ms=10_000)
    assert "block" not in await house.held()
    unknown = await ledger.commit(house.terms, "never", {"storage": 1})
    assert isinstance(unknown, Refused)
    assert unknown.error is UNKNOWN_RESERVATION


async def test_a_share_that_leaves_while_its_block_ends_leaves_once(house: House) -> None:
    """A heartbeat and the end of a block, a second after it was opened, may well meet."""
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    await take(house, ledger, "B", storage=20)
    kept = TaskSet().start(ledger.extend("acme", ["A"], 10_000), name="keep")
    await asyncio.sleep(0)
    await ledger.stop()
    assert await kept == ()
    assert await house.held() == {"A", "B"}
    for name, amount in (("A", 30), ("B", 20)):
        settled = await ledger.commit(house.terms, name, {"storage": amount})
        assert isinstance(settled, Settled)
        assert not settled.late
    assert await house.standing() == "50+0/1000"


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_a_share_that_is_leaving_is_not_given_back(house: House, verb: str) -> None:
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    kept = TaskSet().start(ledger.extend("acme", ["A"], 10_000), name="keep")
    await asyncio.sleep(0)
    if verb == "commit":
        await ledger.commit(house.terms, "A", {"storage": 30})
    else:
        await ledger.release("acme", "A", reason="test")
    await kept
    used = 30 if verb == "commit" else 0
    assert await house.standing() == f"{used}+70/1000"
    await take(house, ledger, "B", storage=70)
    await ledger.commit(house.terms, "B", {"storage": 70})
    await ledger.stop()
    assert await house.standing() == f"{used + 70}+0/1000"


async def test_a_share_leaves_also_when_who_asked_has_gone(house: House) -> None:
    ledger = house.gateway()
    await take(house, ledger, "A", storage=30)
    kept = TaskSet().start(ledger.extend("acme", ["A"], 10_000), name="keep")
    await asyncio.sleep(0)
    kept.cancel()
    settled = await ledger.commit(house.terms, "A", {"storage": 30})
    assert isinstance(settled, Settled)
    await ledger.stop()
    assert await house.standing() == "30+0/1000"


class Deaf(Lossy):
    """Hears of no reply."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.lose = "reply"
        return await super().run(script, keys, args)


async def test_a_block_that_was_opened_unheard_is_abandoned(house: House) -> None:
    lossy = Deaf(house.store.admission)
    ledger = BlockLedger(
        lossy, house.store.settlement, StoreClock(), now_ms=lambda: house.now_ms, hot=0
    )
    abandoned: list[tuple[str, str]] = []

    class Settler:
        commit = ledger.commit

        def abandon(self, account: str, reservation_id: str) -> None:
            abandoned.append((account, reservation_id))

    ledger.settler = Settler()
    with pytest.raises(StoreError):
        await take(house, ledger, "A", storage=30)
    assert [(account, name.split("-")[0]) for account, name in abandoned] == [("acme", "block")]
    for name in (abandoned[0][1], "A"):
        await house.plain.release("acme", name, reason="abandoned")


async def test_concurrency_is_free_again_with_the_request(house: House) -> None:
    ledger = house.gateway()
    for number in range(12):
        await take(house, ledger, f"r{number}", storage=1, slots=4)
        await ledger.commit(house.terms, f"r{number}", {"storage": 1, "slots": 4})
    await ledger.stop()
    assert (await house.standing(), await house.standing("slots")) == ("12+0/1000", "0+0/∞")


async def test_a_share_cannot_be_charged_what_is_no_amount(house: House) -> None:
    ledger = house.gateway()
    await take(house, ledger, "A", storage=5)
    for bad in ({"storage": -1}, {"none": 1}):
        assert isinstance(await ledger.commit(house.terms, "A", bad), Refused)
    assert isinstance(await ledger.commit(house.terms, "A", {"storage": 5}), Settled)


async def test_a_race_of_three_gateways_admits_exactly_what_there_is(house: House) -> None:
    """Sizes that fit the limit badly, while blocks come and go; in the end no unit is lost."""
    size, limit = 7, 1_000
    admitted = 0

    async def client(ledger: BlockLedger, name: str) -> None:
        nonlocal admitted
        denied, number = 0, 0
        while denied < 3:
            number += 1
            outcome = await ledger.reserve(
                house.terms, f"{name}-{number}", [Line.exact("storage", size)], lease_ms=10_000
            )
            if isinstance(outcome, Granted):
                admitted += 1
                await ledger.commit(house.terms, f"{name}-{number}", {"storage": size})
            else:
                denied += 1

    gateways = [house.gateway(hot=3) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for each, ledger in enumerate(gateways):
            for one in range(4):
                group.create_task(client(ledger, f"{each}-{one}"))
    assert size * admitted <= limit
    for ledger in gateways:
        await ledger.stop()
    assert await house.standing() == f"{size * admitted}+0/{limit}"
    # Blocks are back, so what they held too much is there for whoever asks.
    await client(house.gateway(hot=1 << 30), "last")
    assert admitted == limit // size
    assert await house.standing() == f"{size * admitted}+0/{limit}"


async def test_the_store_s_trouble_while_a_block_is_opened_is_told_by_the_request(
    house: House,
) -> None:
    ledger = house.gateway()
    redis: Any = house.store.client
    await redis.delete("qg:{acme}:books")
    with pytest.raises(StoreError):
        await take(house, ledger, "A", storage=1)
    await house.plain.open_books("acme")
    await take(house, ledger, "A", storage=1)


# -- as the fast path asks for it -----------------------------------------------------------------


@dataclass
class Ready:
    """Prepared calls of one kind of request, of a ledger that knows blocks."""

    house: House
    ledger: BlockLedger
    prepared: Prepared

    @classmethod
    def of(cls, house: House, ledger: BlockLedger, **sizes: int | None) -> "Ready":
        at_ms = house.now_ms or StoreClock().now_ms()
        prepared = Prepared(house.terms, sizes, at_ms, lease_ms=10_000, keep_ms=60_000,
                            note="test", with_asset=False)  # fmt: skip
        prepared.source = ledger.source(house.terms, tuple(sizes))
        return cls(house, ledger, prepared)

    async def reserve(self, name: str, size: int) -> Any:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ledger.reserve_prepared(self.prepared, name.encode(), size, reply.set_result)
        return await self._told(reply)

    async def commit(self, name: str, size: int, asset: str | None = None) -> Any:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ledger.commit_prepared(self.prepared, name.encode(), size, asset, reply.set_result)
        return await self._told(reply)

    async def _told(self, reply: asyncio.Future[Any]) -> Any:
        async with asyncio.timeout(5):
            return await reply

    async def opened(self) -> Block:
        """A block from which nothing was given yet."""
        await self.reserve("first", 0)  # It asks the store itself, whatever that says.
        await self.ledger.release("acme", "first", reason="test")
        source = self.prepared.source
        assert source is not None
        await true(lambda: source.block is not None)
        assert source.block is not None
        return source.block


async def true(condition: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return condition()

    await until(asked)


async def test_prepared_calls_are_answered_out_of_a_block_as_the_verbs_are(house: House) -> None:
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None, files=1, slots=2)
    await ready.opened()
    reply = await ready.reserve("A", 30)
    assert is_granted(reply)
    told = ready.prepared.reserved("A", 30, reply)
    by_verb = await ledger.reserve(
        house.terms, "B", ready.prepared.lines(30), lease_ms=10_000, note="test"
    )
    assert isinstance(told, Granted)
    assert isinstance(by_verb, Granted)
    assert (told.amounts, told.quotas) == (by_verb.amounts, by_verb.quotas)
    assert await house.held() == {"block"}
    settled = await ready.commit("A", 30)
    assert is_settled(settled)
    verb = await ledger.commit(house.terms, "B", ready.prepared.amounts(30))
    assert isinstance(verb, Settled)
    assert ready.prepared.committed("A", settled).quotas == verb.quotas
    assert [quota.meter.name for quota in verb.quotas] == ["storage", "files"]
    assert ledger._shares == {}
    await ledger.stop()
    assert await house.standing() == "60+0/1000"
    assert await house.standing("slots") == "0+0/∞"


async def test_concurrency_comes_back_to_a_block_that_is_asked_by_prepared_calls(
    house: House,
) -> None:
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None, slots=4)
    block = await ready.opened()
    for number in range(12):
        assert is_granted(await ready.reserve(f"r{number}", 1))
        assert is_settled(await ready.commit(f"r{number}", 1))
    assert (block.spent, block.free["slots"]) == ({"storage": 12, "slots": 0}, 5)


async def test_a_share_that_no_prepared_call_can_settle_is_for_the_verbs(house: House) -> None:
    house.now_ms = 0  # The store is asked by prepared calls, which take its own time.
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None)
    await ready.opened()
    for name in ("asset", "more", "closed"):
        assert is_granted(await ready.reserve(name, 10))
    assert await ready.commit("asset", 10, asset="x") is None
    assert await ready.commit("more", 11) is None
    assert await ready.commit("closed", 9) is not None
    assert is_granted(await ready.reserve("late", 10))
    await ledger.stop()
    assert await house.standing() == "9+30/1000"
    # Its share is a reservation by now, also for a prepared call.
    assert is_settled(await ready.commit("late", 10))
    for name, used, asset in (("asset", 10, "x"), ("more", 11, None)):
        settled = await ledger.commit(house.terms, name, {"storage": used}, asset=asset)
        assert isinstance(settled, Settled)
    assert await house.standing() == "40+0/1000"


async def test_many_that_come_at_once_open_one_block(house: House) -> None:
    ledger = house.gateway(hot=3)
    ready = Ready.of(house, ledger, storage=None)
    await asyncio.gather(*(ready.reserve(f"r{number}", 1) for number in range(20)))
    assert (
        len(ledger._blocks) + (ready.prepared.source.opening if ready.prepared.source else 0) == 1
    )
    for number in range(20):
        await ledger.commit(house.terms, f"r{number}", {"storage": 1})


async def test_what_is_larger_than_a_block_leaves_the_block_alone(house: House) -> None:
    house.now_ms = 0  # The store is asked by prepared calls, which take its own time.
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None)
    block = await ready.opened()
    await take(house, ledger, "verb", storage=101)
    assert is_granted(await ready.reserve("prepared", 102))
    assert (ready.prepared.source.block if ready.prepared.source else None) is block
    assert block.shares == {}
    for name, size in (("verb", 101), ("prepared", 102)):
        await ledger.commit(house.terms, name, {"storage": size})


async def test_a_block_that_is_over_takes_its_shares_back_for_a_moment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SERVES_S", 0.05)
    monkeypatch.setattr(blocks, "COMES_BACK_S", 60.0)
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None)
    block = await ready.opened()
    for name in ("A", "B"):
        assert is_granted(await ready.reserve(name, 10))
    await true(lambda: block.retired)
    assert is_settled(await ready.commit("A", 10))
    assert block.closed is None
    # The last one closes it.
    await ledger.release("acme", "B", reason="test")
    assert block.closed is not None
    await block.closed.wait()
    await ledger.stop()
    assert await house.standing() == "10+0/1000"


async def test_where_there_is_no_room_for_a_block_none_is_asked_for_again_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "AGAIN_S", 60.0)
    await take(house, house.plain, "full", storage=1_000)
    ledger = house.gateway()
    asked: list[str] = []
    ledger.on_reserving = asked.append
    lines = [Line.exact("storage", 1)]
    for number in range(5):
        outcome = await ledger.reserve(house.terms, f"r{number}", lines, lease_ms=1_000)
        assert isinstance(outcome, Denied)
    assert len(asked) == 1 + 5
    await house.plain.release("acme", "full", reason="test")


async def test_a_block_serves_no_longer_than_its_hour(house: House) -> None:
    """What it says of its quotas is true until then."""
    house.now_ms = NOON_MS + 3_600_000 - 200
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None)
    began_s = monotonic_s()
    block = await ready.opened()
    assert block.until_s <= began_s + 0.5
    await take(house, ledger, "A", storage=1)
    await ledger.commit(house.terms, "A", {"storage": 1})


async def test_a_block_that_is_being_opened_when_the_gateway_stops_is_given_back(
    house: House,
) -> None:
    ledger = house.gateway()
    ready = Ready.of(house, ledger, storage=None)
    ledger.reserve_prepared(ready.prepared, b"A", 1, lambda reply: None)
    source = ready.prepared.source
    assert source is not None
    assert source.opening
    await ledger.stop()
    assert not {each for each in await house.held() if each == "block"}
    await ledger.release("acme", "A", reason="test")
