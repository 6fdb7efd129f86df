"""Blocks: what a hot account is about to use, reserved at once and handed out without the store.

The remedy for one account that asks more than its slot's one core can answer; plans have it off
unless they name a `block`. A block is a reservation like any other, with a lease: snapshots show
it as reserved, the limit holds at every instant, and it is free within the bound when its gateway
dies.
It serves for a second; its shares then have a moment to come back, what was used of it is charged
and the rest given back, in one commit. What it has no room for is reserved as ever, so that a
denial is always the store's.

A share of a block that turns out to be more than plain (it grows, its lease is extended, it leaves
an asset, it outlasts the block) is split off first, under its own id, and is a reservation then. A
gateway that dies takes with it what it handed out since the block was opened: a second's use at
most goes uncharged. One that was stopped for longer than the lease charges by an adjustment what it
had handed out, without writing the asset down.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from secrets import token_hex
from typing import Protocol

from gateway.catalog.plans import RateLimit
from gateway.clock import MS_PER_S, StoreClock, monotonic_s
from gateway.errors import StoreError
from gateway.ledger.arguments import BATCH_MAX, Shares, bad_amounts
from gateway.ledger.block import Block, Counted, Given, Source, Sources
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger, ask_redis
from gateway.ledger.outcomes import Denied, Granted, Line, RateLimited, Refused, Settled, Split
from gateway.ledger.prepared import Prepared
from gateway.ledger.reservation import State
from gateway.ledger.transport import Then, Transport
from gateway.tasks import TaskSet

LEASE_MS = 10_000
SERVES_S = 1.0
"""Much shorter than its lease: also a gateway that was stopped for a while hands out nothing of a
block that has ended."""
COMES_BACK_S = 0.2
"""After that, what is still out of a block is split off: a call of its own, and the block waits."""
HOT = 32
"""Reserves in one second, after which an account is hot."""
AGAIN_S = 0.1


class Settles(Protocol):
    """Brings a commit to its end, whatever the store does."""

    def commit(
        self, terms: Terms, reservation_id: str, actual: Mapping[str, int]
    ) -> Awaitable[object]: ...

    def abandon(self, account: str, reservation_id: str) -> None:
        """Release what may have been reserved without our hearing of it."""


class BlockLedger(Ledger):
    """A ledger that knows blocks. `settler` settles them; `hot` is the number of reserves in a
    second that makes an account hot."""

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
        self.settler: Settles | None = None
        self.given: Counted = Given()
        """Shares, that is; for who tells."""
        self.hot = hot
        self.source = Sources().of
        self._blocks: set[Block] = set()
        self._shares: dict[str, Block] = {}
        """Which block each share is out of, by its id."""
        self._tasks = TaskSet()

    async def stop(self) -> None:
        """Give all blocks back, and then those that were being opened."""
        for _ in range(2):
            for block in tuple(self._blocks):
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
        """Not `plain` is what is known to grow, to last or to leave an asset, and an id that the
        store may know already."""
        if plain and rate is None and not remember_denial:
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
        used = {meter: n for meter, n in actual.items() if block.source.is_charged(meter)}
        if asset is None and block.takes_back(reservation_id, actual):
            self._take_back(block, reservation_id, used)
            quotas = block.quotas_of(used)
            return Settled(reservation_id, State.COMMITTED, quotas=quotas)
        await self._split_off(reservation_id)
        if not block.expired:
            return await super().commit(terms, reservation_id, actual, asset=asset, age_ms=age_ms)
        # The work was done, so it is charged, whoever has the room by now.
        await self.adjust(terms, reservation_id, used, reason="block")
        self._shares.pop(reservation_id, None)
        return Settled(reservation_id, State.COMMITTED, late=True)

    async def release(self, account: str, reservation_id: str, *, reason: str) -> Settled | Refused:
        block = self._shares.get(reservation_id)
        if block is None:
            return await super().release(account, reservation_id, reason=reason)
        if block.takes_back(reservation_id, {}):
            self._take_back(block, reservation_id, {})
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

    # -- prepared ---------------------------------------------------------------------------------

    def reserve_prepared(self, prepared: Prepared, name: bytes, size: int, then: Then) -> None:
        """As `begin_reserve`. Out of a block, if one is there: `then` has been told at return."""
        source = prepared.source
        if source is not None:
            amounts = prepared.amounts(size)
            block = self._serving(source, name.decode(), amounts)
            if block is not None:
                then(block.granted_reply(amounts))
                return
        self.begin_reserve(prepared.reserve(name, size), then)

    def commit_prepared(
        self, prepared: Prepared, name: bytes, size: int, asset: str | None, then: Then
    ) -> None:
        """As `begin_commit`, of what `reserve_prepared` granted. `then` has been told at return,
        where it was a share; None, if that can only be settled by the verb."""
        if prepared.source is not None:
            share_id = name.decode()
            block = self._shares.get(share_id)
            if block is not None:
                used = prepared.used(size)
                plain = asset is None and block.takes_back(share_id, used)
                if plain:
                    self._take_back(block, share_id, used)
                then(block.settled_reply() if plain else None)
                return
        self.begin_commit(prepared.commit(name, size, asset), then)

    def _serving(
        self, source: Source, reservation_id: str, amounts: Mapping[str, int]
    ) -> Block | None:
        """The block that has given a share; else one is opened for those who come later."""
        now_s = monotonic_s()
        hot = source.asked(now_s) > self.hot
        block = self._with_room(source, amounts, now_s)
        if block is None:
            if hot and self._may_open(source, amounts, now_s):
                source.opening = True  # From now on, not when the task comes to it.
                self._tasks.start(self._open(source, amounts), name="open a block")
        elif reservation_id not in self._shares:
            self._give(block, reservation_id, amounts)
            return block
        return None

    # -- blocks -----------------------------------------------------------------------------------

    async def _from_block(
        self, terms: Terms, reservation_id: str, lines: Sequence[Line]
    ) -> Granted | None:
        """A share, if there is a block with room for it, or one can be had."""
        source = self.source(terms, [line.meter for line in lines])
        exact = all(0 <= line.least == line.most for line in lines)
        if source is None or not exact or reservation_id in self._shares:
            return None
        amounts = {line.meter: line.most for line in lines}
        now_s = monotonic_s()
        hot = source.asked(now_s) > self.hot
        block = self._with_room(source, amounts, now_s)
        if block is None and hot and self._may_open(source, amounts, now_s):
            source.opening = True
            await self._open(source, amounts)
            block = self._with_room(source, amounts, monotonic_s())
        if block is None:
            return None
        self._give(block, reservation_id, amounts)
        return Granted(reservation_id, amounts, block.quotas)

    def _with_room(self, source: Source, amounts: Mapping[str, int], now_s: float) -> Block | None:
        """One that has not serves no more, unless none ever would have."""
        block = source.block
        if block is None:
            return None
        if now_s < block.until_s:
            if block.has(amounts):
                return block
            if not source.may_give(amounts):
                return None
        self._retire(block)
        return None

    def _may_open(self, source: Source, amounts: Mapping[str, int], now_s: float) -> bool:
        """While one request does, the others go to the store."""
        ready = not source.opening and now_s >= source.dry_until_s
        return ready and source.block is None and source.may_give(amounts)

    async def _open(self, source: Source, amounts: Mapping[str, int]) -> None:
        """Of no less than `amounts`, if there is room for that; for who has said that it is
        `opening`."""
        terms, sizes = source.terms, source.terms.plan.block
        block_id = f"block-{token_hex(10)}"
        wanted = [Line(meter, n, sizes[meter]) for meter, n in amounts.items()]
        until_s = monotonic_s() + SERVES_S
        outcome = None
        try:
            outcome = await super().reserve(
                terms, block_id, wanted, lease_ms=LEASE_MS, note="block"
            )
        except StoreError as failure:  # The next request asks for itself, and is told.
            if failure.indeterminate and self.settler is not None:
                self.settler.abandon(terms.account, block_id)
        finally:
            source.opening = False
        if not isinstance(outcome, Granted):
            source.dry_until_s = monotonic_s() + AGAIN_S
            return
        frame = self.frame(terms)  # No longer than that: what it says of its quotas is of an hour.
        until_s = min(until_s, monotonic_s() + (frame.until_ms - self._scripts.at_ms()) / MS_PER_S)
        block = source.block = Block(source, outcome, since_ms=frame.from_ms, until_s=until_s)
        self._blocks.add(block)
        asyncio.get_running_loop().call_later(SERVES_S, self._retire, block)

    def _give(self, block: Block, reservation_id: str, amounts: Mapping[str, int]) -> None:
        block.take(reservation_id, amounts)
        self.given.value += 1
        self._shares[reservation_id] = block

    def _take_back(self, block: Block, reservation_id: str, used: Mapping[str, int]) -> None:
        del self._shares[reservation_id]
        block.give_back(reservation_id, used)
        if block.retired and not block.shares:
            self._close(block)

    def _retire(self, block: Block) -> None:
        if block.retired:
            return
        block.retired = True
        if block.source.block is block:
            block.source.block = None
        if block.shares:
            asyncio.get_running_loop().call_later(COMES_BACK_S, self._close, block)
        else:
            self._close(block)

    def _close(self, block: Block) -> None:
        if block.closed is None:
            block.closed = asyncio.Event()
            block.retired = True
            if block.source.block is block:
                block.source.block = None
            self._blocks.discard(block)
            self._tasks.start(self._settle_block(block), name=f"settle {block.id}")

    async def _settle_block(self, block: Block) -> None:
        """Its shares first, then what was used of it; the rest is given back by the same commit."""
        assert block.closed is not None
        try:
            while block.leaving:
                await asyncio.wait(block.leaving.values())
            left = list(block.shares.items())
            for start in range(0, len(left), BATCH_MAX):
                await self._part(block, left[start : start + BATCH_MAX])
        except StoreError:
            block.expired = True  # Whoever settles a share is told, and goes on trying.
        finally:
            block.closed.set()
        what = (block.source.terms, block.id, block.used)
        await (super().commit(*what) if self.settler is None else self.settler.commit(*what))

    async def _part(self, block: Block, items: Shares) -> None:
        """Make shares reservations; the same again does nothing twice."""
        while True:
            try:
                outcome = await super().split(
                    block.source.terms, block.id, items, lease_ms=LEASE_MS
                )
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
        """A share, if it is one, becomes a reservation of its own. It is on its way there once,
        whoever waits for it, and to its end, also when nobody does any more."""
        block = self._shares.get(reservation_id)
        if block is None:
            return
        leaving = block.leaving.get(reservation_id)
        if leaving is None:
            if block.closed is not None:
                await block.closed.wait()
                return
            leaving = block.leaving[reservation_id] = self._tasks.start(
                self._leave(block, reservation_id), name=f"split off {reservation_id}"
            )
        failure = await asyncio.shield(leaving)
        if failure is not None:
            raise failure

    async def _leave(self, block: Block, reservation_id: str) -> StoreError | None:
        try:
            await self._part(block, [(reservation_id, block.shares[reservation_id])])
        except StoreError as failure:
            return failure
        finally:
            del block.leaving[reservation_id]
        if block.expired or (block.retired and not block.shares):
            self._close(block)
        return None
