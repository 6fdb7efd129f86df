"""Settler: brings every settlement to its end, whatever the store does meanwhile.

A settlement is idempotent by its id, so the rule is simple: try now; when the store is in trouble,
write it to the journal and go on in the background until the store has answered. What is about the
same asset is taken in its order (`pending.py`). A settlement never waits behind admission: the
ledger gives it its own connection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import replace

from gateway.clock import wall_ms
from gateway.errors import STORE_FULL, STORE_LOST, UNKNOWN_RESERVATION, StoreError
from gateway.ledger.charges import charged
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Adjusted, Refused, Settled
from gateway.proxy.exchange import KEEP_MS
from gateway.proxy.journal import Journal, Kind, Settlement
from gateway.proxy.pending import Pending, Queue
from gateway.records.assets import Owners
from gateway.tasks import TaskSet, shielded
from gateway.telemetry.metrics import Metrics

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0
TAKE_OVER_S = 10.0
"""How often it is looked for what processes have left that died."""
RESERVE_UNDER_WAY_S = 1.0
"""Longer than a reserve that nobody waits for any more takes to be carried out, if it is."""
FORGOTTEN_MS = KEEP_MS // 2
"""No record of what was carried out is forgotten sooner, by whosever clock, and however long it had
been tried before it came here."""
RECORDS_KEPT_MS = 86_400_000
"""For as long as this there is a record of what was reserved, unless it was carried out."""

Outcome = Settled | Refused | Adjusted | None
TermsOf = Callable[[Settlement], Awaitable[Terms | None]]
"""The terms a settlement out of the journal is taken by; None: its account or plan is unknown."""

log = logging.getLogger(__name__)


class Settler:
    """Verbs return None when the store is in trouble: the settlement goes on by itself."""

    def __init__(
        self,
        ledger: Ledger,
        owners: Owners,
        metrics: Metrics,
        journal: Journal,
        terms_of: TermsOf,
    ) -> None:
        self._ledger = ledger
        self._owners = owners
        self._metrics = metrics
        self._journal = journal
        self._terms_of = terms_of
        self._queues: dict[str, Queue] = {}
        self.behind: Container[str] = self._queues
        """Accounts of which a settlement may have to queue."""
        self._abandoned = 0
        self._tasks = TaskSet()
        self._watching = TaskSet()

    @property
    def pending(self) -> int:
        """Settlements the store has not taken yet."""
        return self._waiting + self._abandoned

    @property
    def _waiting(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    def pending_of(self, account: str) -> int:
        queue = self._queues.get(account)
        return 0 if queue is None else len(queue.waiting)

    async def start(self) -> None:
        """Open the journal and replay what is in it. Raises OSError."""
        self._replay(await self._journal.start())
        self._watching.start(self._take_over(), name="take journals over")

    async def close(self, timeout_s: float) -> int:
        """Wait for what is pending; return how many settlements are left in the journal."""
        await self._watching.stop()
        await self._tasks.join(timeout_s)
        await self._tasks.stop()
        left = self._waiting
        await self._journal.close()
        return left

    def _replay(self, left: Sequence[tuple[int, Settlement]]) -> None:
        for number, settlement in left:
            self._expected(settlement)
            self._enqueue(Pending(_left(settlement), None, number))

    async def _take_over(self) -> None:
        """Others on the same directory may have died since this one began."""
        while True:
            await asyncio.sleep(TAKE_OVER_S)
            try:
                left = await self._journal.take_over()
            except OSError as failure:
                log.warning("journals could not be looked at: %s", failure)
                continue
            if left:
                log.warning("%d settlements of a gateway that died are taken over", len(left))
            self._replay(left)

    # -- verbs ------------------------------------------------------------------------------------

    async def commit(
        self,
        terms: Terms,
        reservation_id: str,
        actual: Mapping[str, int],
        *,
        asset: str | None = None,
        unheard: bool = False,
    ) -> Settled | Refused | None:
        """`unheard`: it was tried before, and may have been carried out."""
        settlement = Settlement(
            Kind.COMMIT,
            terms.account,
            reservation_id,
            terms.key_id,
            terms.subject,
            actual,
            asset,
            unheard=unheard,
        )
        outcome = await self._settle(settlement, terms)
        assert not isinstance(outcome, Adjusted)
        return outcome

    async def release(
        self, account: str, reservation_id: str, *, reason: str
    ) -> Settled | Refused | None:
        settlement = Settlement(Kind.RELEASE, account, reservation_id, reason=reason)
        outcome = await self._settle(settlement, None)
        assert not isinstance(outcome, Adjusted)
        return outcome

    async def remove(self, terms: Terms, asset: str) -> None:
        """Take a deleted asset off the books."""
        await self._settle(_about(Kind.REMOVE, terms, asset), terms)

    async def charge(
        self, terms: Terms, charge_id: str, actual: Mapping[str, int], *, reason: str
    ) -> None:
        """Charge what was let through without a reservation while the store was away."""
        settlement = Settlement(
            Kind.CHARGE,
            terms.account,
            charge_id,
            terms.key_id,
            terms.subject,
            actual,
            reason=reason,
        )
        await self._settle(settlement, terms)

    async def own(self, terms: Terms, asset: str) -> None:
        """Record whom downloads of an asset are charged to."""
        await self._settle(_about(Kind.OWN, terms, asset), terms)

    async def disown(self, terms: Terms, asset: str) -> None:
        await self._settle(_about(Kind.DISOWN, terms, asset), terms)

    def abandon(self, account: str, reservation_id: str) -> None:
        """Release in the background what may have been reserved without our hearing of it. Nothing
        waits for that: it is about nobody else's room, and no other settlement of this one."""
        settlement = Settlement(Kind.RELEASE, account, reservation_id, reason="cancelled")
        self._abandoned += 1
        self._tasks.start(self._let_go(settlement), name=f"let go {reservation_id}")

    async def _let_go(self, settlement: Settlement) -> None:
        """By another connection than the reserve, which may be overtaken: so twice, if need be."""
        pending = Pending(settlement, None, None)
        try:
            if await self._persist(pending) is None:
                await asyncio.sleep(RESERVE_UNDER_WAY_S)
                await self._persist(pending)
        finally:
            self._abandoned -= 1

    # -- how they are brought to their end --------------------------------------------------------

    async def _settle(self, settlement: Settlement, terms: Terms | None) -> Outcome:
        queue = self._queues.get(settlement.account)
        if queue is not None and queue.keeps_back(settlement):
            await self._deferred(settlement, terms)
            return None
        try:
            outcome = await self._apply(settlement, terms)
        except StoreError as failure:
            if not _passes(failure):
                raise
            self._no_answer(settlement)
            await self._deferred(_tried(settlement, failure), terms)
            return None
        except asyncio.CancelledError:
            # Nobody is answered, so nobody is promised anything: memory will do. Nor has anybody to
            # queue behind it: the store is well, and answers others only when it has taken theirs.
            self._abandoned += 1
            self._tasks.start(self._go_on(settlement, terms), name=f"settle {settlement.id}")
            raise
        self._record(settlement, outcome)
        return outcome

    async def _go_on(self, settlement: Settlement, terms: Terms | None) -> None:
        """With what was cancelled, and may have been carried out."""
        try:
            self._record(settlement, await self._apply(settlement, terms))
        except StoreError as failure:
            if not _passes(failure):
                raise
            self._no_answer(settlement)
            self._expected(settlement)
            self._enqueue(Pending(replace(settlement, unheard=True), terms, None))
        finally:
            self._abandoned -= 1

    async def _deferred(self, settlement: Settlement, terms: Terms | None) -> None:
        """Also when the caller is cancelled meanwhile."""
        await shielded(self._defer(settlement, terms), self._tasks, name=f"defer {settlement.id}")

    async def _defer(self, settlement: Settlement, terms: Terms | None) -> None:
        """Write it down, then queue it; whoever comes meanwhile queues as well."""
        queue = self._expected(settlement)
        queue.writing += 1
        number: int | None = None
        try:
            number = await self._journal.append(settlement)
        except OSError as failure:
            log.error("a settlement could not be journalled, it is in memory only: %s", failure)
        finally:
            queue.writing -= 1
        self._enqueue(Pending(settlement, terms, number))

    def _expected(self, settlement: Settlement) -> Queue:
        queue = self._queues.setdefault(settlement.account, Queue())
        queue.expect(settlement)
        return queue

    def _enqueue(self, pending: Pending) -> None:
        """It was expected."""
        account = pending.settlement.account
        queue = self._queues[account]
        queue.waiting.append(pending)
        if not queue.draining:
            queue.draining = True
            self._tasks.start(self._drain(account, queue), name=f"settle {account}")

    async def _drain(self, account: str, queue: Queue) -> None:
        try:
            while first := queue.first():
                await asyncio.gather(*map(self._persist, first))
                queue.taken(len(first))
                await self._mark([each.number for each in first if each.number is not None])
        finally:
            queue.draining = False
        if queue.is_done:
            del self._queues[account]

    def _no_answer(self, settlement: Settlement) -> None:
        """The rest of its account is not to find that out again, each by its own wait."""
        queue = self._queues.get(settlement.account)
        if queue is not None:
            queue.answers = False

    async def _mark(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        try:
            await self._journal.done(*numbers)
        except OSError as failure:  # The next process repeats them, which is harmless.
            log.warning("settlements could not be marked as done: %s", failure)

    async def _persist(self, pending: Pending) -> Outcome:
        """Until the store has taken it, or has said that it never will."""
        wait_s = RETRY_FIRST_S
        while True:
            settlement = pending.settlement
            try:
                if pending.terms is None and settlement.kind is not Kind.RELEASE:
                    pending.terms = await self._terms_of(settlement)
                if pending.terms is not None or settlement.kind is Kind.RELEASE:
                    outcome = await self._apply_late(pending)
                    self._record(settlement, outcome)
                    return outcome
                log.error("settlement pending: no terms for account %s", settlement.account)
            except StoreError as failure:
                if not _passes(failure):
                    log.error("settlement lost: %s: %s", _told(settlement), failure)
                    return None
                self._no_answer(settlement)
                pending.settlement = _tried(settlement, failure)
                log.warning("settlement pending: %s: %s", _told(settlement), failure)
            except OSError as failure:
                log.warning("settlement pending: %s: %s", _told(settlement), failure)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_MOST_S, wait_s * 2)

    async def _apply_late(self, pending: Pending) -> Outcome:
        """A commit of which the store has no record is charged all the same: it was forgotten, or
        lost with the store's last second. Unless it may have been carried out, and been forgotten
        since: nobody is charged twice. A release then has nothing left to do."""
        settlement, terms = pending.settlement, pending.terms
        outcome = await self._apply(settlement, terms, pending.age_ms(wall_ms()))
        if not isinstance(outcome, Refused) or outcome.error is not UNKNOWN_RESERVATION:
            return outcome
        if settlement.kind is not Kind.COMMIT:
            return None
        if settlement.unheard and wall_ms() - settlement.at_ms >= FORGOTTEN_MS:
            log.warning("settlement forgotten since it was carried out: %s", _told(settlement))
            return None
        assert terms is not None
        return await self._ledger.adjust(
            terms, settlement.id, settlement.amounts or {}, reason="late"
        )

    async def _apply(self, settlement: Settlement, terms: Terms | None, age_ms: int = 0) -> Outcome:
        ledger, name = self._ledger, settlement.id
        if settlement.kind is Kind.RELEASE:
            return await ledger.release(settlement.account, name, reason=settlement.reason)
        assert terms is not None
        amounts, asset = settlement.amounts or {}, settlement.asset or ""
        match settlement.kind:
            case Kind.COMMIT:
                return await ledger.commit(
                    terms, name, amounts, asset=settlement.asset, age_ms=age_ms
                )
            case Kind.REMOVE:
                return await ledger.remove(terms, asset, age_ms=age_ms)
            case Kind.CHARGE:
                return await ledger.adjust(terms, name, amounts, reason=settlement.reason)
            case Kind.OWN:
                await self._owners.record(asset, terms.account)
            case Kind.DISOWN:
                if not age_ms or not await self._is_stored(terms.account, asset):
                    await self._owners.forget(asset, terms.account)
        return None

    async def _is_stored(self, account: str, asset: str) -> bool:
        """Whether the account is charged for it: if it was deleted, then it was stored anew."""
        return await charged(self._owners.client, account, asset) is not None

    def _record(self, settlement: Settlement, outcome: Outcome) -> None:
        if isinstance(outcome, Settled):
            self._metrics.settled(outcome, settlement.reason)
        elif isinstance(outcome, Refused):
            self._metrics.settlement_refused(outcome)
            log.error("settlement refused: %s: %s", outcome.error.code, outcome.detail)


def _told(settlement: Settlement) -> str:
    """For the log: what is about an asset has no id."""
    return f"{settlement.kind} {settlement.id or f'of {settlement.account}'}"


def _tried(settlement: Settlement, failure: StoreError) -> Settlement:
    return replace(settlement, unheard=True) if failure.indeterminate else settlement


def _left(settlement: Settlement) -> Settlement:
    """By a process that may have died before it wrote down that the store has it."""
    young = wall_ms() - settlement.at_ms < RECORDS_KEPT_MS
    return replace(settlement, unheard=True) if young else settlement


def _passes(failure: StoreError) -> bool:
    """The store will take it one day: when it is back, has room, or an operator accepted it."""
    return failure.transient or failure.error in (STORE_LOST, STORE_FULL)


def _about(kind: Kind, terms: Terms, asset: str) -> Settlement:
    return Settlement(kind, terms.account, "", terms.key_id, terms.subject, asset=asset)
