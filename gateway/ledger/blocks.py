"""Blocks: what a hot account is about to use, reserved at once and handed out without the store.

The remedy for one account that asks more than its slot's one core can answer; plans have it off
unless they name a `block`. A block is a reservation like any other, with a lease: snapshots show
it as reserved, the limit holds at every instant, and it is free within the bound when its gateway
dies.
It serves for a second; then what was used of it is charged and the rest given back, in one commit.
What it has no room for is reserved as ever, so that a denial is always the store's.

A share of a block that turns out to be more than plain (it grows, its lease is extended, it leaves
an asset, it outlasts the block) is split off first, under its own id, and is a reservation then. A
gateway that dies takes with it what it handed out since the block was opened: a second's use at
most goes uncharged. One that was stopped for longer than the lease charges by an adjustment what it
had handed out, without writing the asset down.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import RateLimit
from gateway.clock import StoreClock, monotonic_s
from gateway.errors import StoreError
from gateway.ledger.arguments import BATCH_MAX, Shares, bad_amounts
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger, ask_redis
from gateway.ledger.outcomes import Denied, Granted, Line, RateLimited, Refused, Settled, Split
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State
from gateway.ledger.transport import Transport
from gateway.tasks import TaskSet

LEASE_MS = 10_000
SERVES_S = 1.0
"""Much shorter than its lease: also a gateway that was stopped for a while hands out nothing of a
block that has ended."""
HOT = 32
"""Reserves in one second, after which an account is hot."""
COUNTED_MAX = 10_000
AGAIN_S = 0.1

Name = tuple[Terms, tuple[str, ...]]
Settle = Callable[[Terms, str, Mapping[str, int]], Awaitable[object]]


@dataclass(slots=True, eq=False)
class _Block:
    name: Name
    id: str
    free: dict[str, int]
    quotas: tuple[Quota, ...]
    """As they stood when it was opened."""
    until_s: float
    spent: dict[str, int]
    shares: dict[str, dict[str, int]] = field(default_factory=dict)
    closed: "asyncio.Event | None" = None
    """There from when it serves no more; set when its shares stand for themselves."""
    expired: bool = False
    """Its lease ended before its shares were split off: they hold nothing any more."""

    def take(self, reservation_id: str, amounts: dict[str, int]) -> Granted | None:
        if any(self.free[meter] < amount for meter, amount in amounts.items()):
            return None
        for meter, amount in amounts.items():
            self.free[meter] -= amount
        self.shares[reservation_id] = amounts
        return Granted(reservation_id, amounts, self.quotas)

    def give_back(self, reservation_id: str, used: Mapping[str, int]) -> None:
        for meter, amount in self.shares.pop(reservation_id).items():
            self.spent[meter] += used.get(meter, 0)
            self.free[meter] += amount - used.get(meter, 0)


class BlockLedger(Ledger):
    """A ledger that knows blocks. `settle` commits what was used of one, and must bring that to its
    end; `hot` is the number of reserves in a second that makes an account hot."""

    def __init__(
        self,
        admission: Transport,
        settlement: Transport,
        clock: StoreClock,
        *,
        now_ms: Callable[[], int] = ask_redis,
        hot: int = HOT,
    ) -> None:
        super().__init__(admission, settlement, clock, now_ms=now_ms)
        self.settle: Settle = self.commit
        self.hot = hot
        self._counts: dict[Name, tuple[int, int, int]] = {}
        """The second, reserves in it, and in the one before."""
        self._blocks: dict[Name, _Block] = {}
        self._opening: set[Name] = set()
        self._shares: dict[str, _Block] = {}
        self._tasks = TaskSet()

    async def stop(self) -> None:
        """Give all blocks back."""
        for block in tuple(self._blocks.values()):
            self._close(block)
        await self._tasks.join(SERVES_S)
        await self._tasks.stop()

    # -- verbs ------------------------------------------------------------------------------------

    async def reserve(  # noqa: PLR0913 - as the ledger's own
        self,
        terms: Terms,
        reservation_id: str,
        lines: Sequence[Line],
        *,
        lease_ms: int,
        rate: RateLimit | None = None,
        note: str = "",
        keep_ms: int = 120_000,
        remember_denial: bool = False,
        plain: bool = True,
    ) -> Granted | Denied | RateLimited | Refused:
        """Not `plain` is what is known to grow, to last or to leave an asset."""
        if plain and terms.plan.block and rate is None and not remember_denial:
            granted = await self._from_block(terms, reservation_id, lines)
            if granted is not None:
                return granted
        return await super().reserve(
            terms,
            reservation_id,
            lines,
            lease_ms=lease_ms,
            rate=rate,
            note=note,
            keep_ms=keep_ms,
            remember_denial=remember_denial,
        )

    async def commit(
        self,
        terms: Terms,
        reservation_id: str,
        actual: Mapping[str, int],
        *,
        asset: str | None = None,
        age_ms: int = 0,
    ) -> Settled | Refused:
        block = self._shares.get(reservation_id)
        if block is None:
            return await super().commit(terms, reservation_id, actual, asset=asset, age_ms=age_ms)
        if refused := bad_amounts(terms, actual):
            return refused
        share = block.shares[reservation_id]
        plain = asset is None and all(n <= share.get(meter, -1) for meter, n in actual.items())
        if plain and block.closed is None:
            used = {meter: n for meter, n in actual.items() if _is_charged(terms, meter)}
            self._shares.pop(reservation_id).give_back(reservation_id, used)
            quotas = tuple(quota for quota in block.quotas if quota.meter.name in used)
            return Settled(reservation_id, State.COMMITTED, quotas=quotas)
        await self._split_off(reservation_id)
        if not block.expired:
            return await super().commit(terms, reservation_id, actual, asset=asset, age_ms=age_ms)
        # The work was done, so it is charged, whoever has the room by now.
        used = {meter: n for meter, n in actual.items() if _is_charged(terms, meter)}
        await self.adjust(terms, reservation_id, used, reason="block")
        self._shares.pop(reservation_id, None)
        return Settled(reservation_id, State.COMMITTED, late=True)

    async def release(self, account: str, reservation_id: str, *, reason: str) -> Settled | Refused:
        block = self._shares.get(reservation_id)
        if block is None:
            return await super().release(account, reservation_id, reason=reason)
        if block.closed is None:
            self._shares.pop(reservation_id).give_back(reservation_id, {})
            return Settled(reservation_id, State.RELEASED)
        await self._split_off(reservation_id)
        if block.expired:
            self._shares.pop(reservation_id, None)
            return Settled(reservation_id, State.EXPIRED)
        return await super().release(account, reservation_id, reason=reason)

    async def grow(
        self, terms: Terms, reservation_id: str, lines: Sequence[Line]
    ) -> Granted | Denied | Refused:
        await self._split_off(reservation_id)
        return await super().grow(terms, reservation_id, lines)

    async def split(
        self, terms: Terms, reservation_id: str, items: Shares, *, lease_ms: int
    ) -> Split | Refused:
        await self._split_off(reservation_id)
        return await super().split(terms, reservation_id, items, lease_ms=lease_ms)

    async def extend(
        self, account: str, ids: Sequence[str], lease_ms: int, *, no_sooner: bool = False
    ) -> tuple[str, ...]:
        for each in ids:
            await self._split_off(each)
        return await super().extend(account, ids, lease_ms, no_sooner=no_sooner)

    # -- blocks -----------------------------------------------------------------------------------

    async def _from_block(
        self, terms: Terms, reservation_id: str, lines: Sequence[Line]
    ) -> Granted | None:
        """A share, if there is a block with room for it, or one can be had."""
        sizes = terms.plan.block
        known = all(line.meter in sizes and line.least == line.most for line in lines)
        if not lines or not known or reservation_id in self._shares:
            return None
        amounts = {line.meter: line.most for line in lines}
        name = (terms, tuple(sorted(amounts)))
        hot = self._is_hot(name)
        block = self._blocks.get(name)
        granted = None
        if block is not None and monotonic_s() < block.until_s:
            granted = block.take(reservation_id, amounts)
        if granted is None:
            if block is not None:
                self._close(block)
            block = await self._open(name, amounts) if hot else None
            granted = None if block is None else block.take(reservation_id, amounts)
        if granted is not None and block is not None:
            self._shares[reservation_id] = block
        return granted

    def _is_hot(self, name: Name) -> bool:
        """Counts a reserve. What was hot a second ago is so still."""
        second = int(monotonic_s())
        counted_in, count, before = self._counts.get(name, (second, 0, 0))
        if second != counted_in:
            count, before = 0, count if second == counted_in + 1 else 0
        if len(self._counts) >= COUNTED_MAX:
            self._counts.clear()
        self._counts[name] = (second, count + 1, before)
        return max(count + 1, before) > self.hot

    async def _open(self, name: Name, amounts: Mapping[str, int]) -> _Block | None:
        """While one request does, the others go to the store."""
        if name in self._opening:
            return None
        terms, _ = name
        sizes = terms.plan.block
        wanted = [Line(meter, n, max(n, sizes[meter])) for meter, n in amounts.items()]
        until_s = monotonic_s() + SERVES_S
        self._opening.add(name)
        try:
            outcome = await super().reserve(
                terms, f"block-{token_hex(10)}", wanted, lease_ms=LEASE_MS, note="block"
            )
        except StoreError:
            return None  # The request asks for itself, and is told.
        finally:
            self._opening.discard(name)
        if not isinstance(outcome, Granted):
            return None
        free = dict(outcome.amounts)
        block = _Block(name, outcome.id, free, outcome.quotas, until_s, dict.fromkeys(free, 0))
        self._blocks[name] = block
        asyncio.get_running_loop().call_later(SERVES_S, self._close, block)
        return block

    def _close(self, block: _Block) -> None:
        if block.closed is None:
            block.closed = asyncio.Event()
            if self._blocks.get(block.name) is block:
                del self._blocks[block.name]
            self._tasks.start(self._settle_block(block), name=f"settle {block.id}")

    async def _settle_block(self, block: _Block) -> None:
        """Its shares first, then what was used of it; the rest is given back by the same commit."""
        terms, _ = block.name
        assert block.closed is not None
        left = list(block.shares.items())
        try:
            for start in range(0, len(left), BATCH_MAX):
                await self._part(block, left[start : start + BATCH_MAX])
        except StoreError:
            block.expired = True  # Whoever settles a share is told, and goes on trying.
        finally:
            block.closed.set()
        used = {meter: n for meter, n in block.spent.items() if _is_charged(terms, meter)}
        await self.settle(terms, block.id, used)

    async def _part(self, block: _Block, items: Shares) -> None:
        """Make shares reservations; the same again does nothing twice."""
        while True:
            try:
                outcome = await super().split(block.name[0], block.id, items, lease_ms=LEASE_MS)
            except StoreError as failure:
                if not failure.transient:
                    raise
                await asyncio.sleep(AGAIN_S)
                continue
            if isinstance(outcome, Refused):
                block.expired = True
                return
            for each, _ in items:
                block.shares.pop(each, None)
                self._shares.pop(each, None)
            return

    async def _split_off(self, reservation_id: str) -> None:
        """A share, if it is one, becomes a reservation of its own."""
        block = self._shares.get(reservation_id)
        if block is None:
            return
        if block.closed is not None:
            await block.closed.wait()
            return
        await self._part(block, [(reservation_id, block.shares[reservation_id])])


def _is_charged(terms: Terms, meter: str) -> bool:
    return terms.meters[meter].kind is not MeterKind.CONCURRENCY
