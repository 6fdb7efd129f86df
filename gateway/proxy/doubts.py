"""Doubts: finds out what became of requests whose last byte was sent and never answered.

    extend the lease → record → (any gateway:) claim → ask → commit, release, or look again
                                                       lease over → as the route's on_expiry says

Every gateway takes part; a doubt is claimed before it is looked at, and a settlement has an effect
once whoever comes to it. One that comes after the lease has ended is a late commit. A request that
its client named is not carried out again before its doubt is settled, and then its repeat gets what
was found out: so it is charged once.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.admission import s3_lines
from gateway.admission.idempotency import kept_headers
from gateway.admission.measure import Counts, actual_lines
from gateway.admission.probe import Found, NotFound, Unclear, s3_asset
from gateway.admission.routing import Match
from gateway.admission.settle import Reason
from gateway.catalog.routes import OnExpiry, Policy, Protocol, Route
from gateway.clock import ALONE, Turns
from gateway.dialects.protocol import Dialect
from gateway.errors import ANSWER_LOST, GatewayError, Refusal, StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted, Refused, Settled
from gateway.proxy.inquiry import Word, can_ask, inquire
from gateway.proxy.live import Live
from gateway.proxy.named import Named
from gateway.proxy.recall import Recall
from gateway.proxy.settler import Settler
from gateway.records.doubts import Doubt, DoubtKind, Doubts
from gateway.records.idempotency import Charge, Idempotency, StoredAnswer
from gateway.records.rows import RedisClient
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

ROUND_S = 1.0
LOOK_AFTER_MS = 2_000
"""An upstream that was too slow to answer is given this long before it is asked."""
LOOK_AGAIN_MS = 5_000
CLAIM_MS = 15_000
CLAIMS_MAX = 16
"""Looked at abreast: an upstream that hangs holds up nobody else."""

OPENED_ABREAST = 4
"""An upstream that hangs leaves all of its requests at once. Records share a few connections, and
for none of these anybody waits long: most doubts would not be written down."""

log = logging.getLogger(__name__)

Outcome = Settled | Refused | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request that was not answered: what it holds, and the asset that it is about."""

    match: Match
    terms: Terms
    granted: Granted
    asset: str | None
    named: Named | None
    kind: DoubtKind = DoubtKind.STORE


class DoubtDesk:
    def __init__(
        self,
        ledger: Ledger,
        settler: Settler,
        client: RedisClient,
        recall: Recall,
        metrics: Metrics,
        live: Callable[[], Live],
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._rows = Doubts(client)
        self._names = Idempotency(client)
        self._recall = recall
        self._metrics = metrics
        self._live = live
        self._opening = asyncio.Semaphore(OPENED_ABREAST)
        self._tasks = TaskSet()

    def start(self, turns: Turns = ALONE) -> None:
        self._tasks.start(self._run(turns), name="doubts")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def open(self, request: Unanswered) -> None:
        """Should the store be away, too, its reservation ends with the lease it has."""
        route, terms, granted = request.match.route, request.terms, request.granted
        lease_ms = round(route.doubt_lease_s * 1_000)
        self._metrics.doubted(route.name)
        try:
            named = None if request.named is None else await request.named.doubted(granted.id)
            if granted.amounts:
                await self._ledger.extend(terms.account, [granted.id], lease_ms)
            doubt = Doubt(
                terms.account,
                granted.id,
                route.name,
                dict(request.match.params),
                granted.amounts,
                request.asset,
                terms.key_id,
                terms.subject,
                request.kind,
                named,
            )
            after_ms = min(LOOK_AFTER_MS, lease_ms) if can_ask(route) else lease_ms
            async with self._opening:
                await self._rows.open(doubt, lease_ms=lease_ms, look_after_ms=after_ms)
        except StoreError as failure:
            log.warning("reservation %s is in doubt and not recorded: %s", granted.id, failure)

    async def look(self) -> int:
        """One round; returns how many doubts were settled. Raises StoreError."""
        now_ms, due = await self._rows.claim(CLAIMS_MAX, claim_ms=CLAIM_MS)
        looks = (self._resolve(doubt, now_ms) for doubt in due)
        settled = 0
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(outcome, GatewayError):
                log.warning("a doubt could not be looked at: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                settled += outcome
        return settled

    async def look_at(self, account: str, reservation: str) -> bool:
        """Look out of its turn, unless somebody does just now or it is too early. False: there is
        no such doubt (any more). Raises StoreError."""
        doubt = await self._rows.get(account, reservation)
        if doubt is None:
            return False
        now_ms = await self._rows.claim_one(doubt, claim_ms=CLAIM_MS, far_ms=LOOK_AGAIN_MS)
        if now_ms is None:
            return True
        if now_ms < doubt.since_ms + LOOK_AFTER_MS:
            await self._rows.look_again(doubt, doubt.since_ms + LOOK_AFTER_MS - now_ms)
            return True
        return not await self._resolve(doubt, now_ms)

    async def _resolve(self, doubt: Doubt, now_ms: int) -> bool:
        live = self._live()
        route = next((r for r in live.catalog.routes if r.name == doubt.route), None)
        terms = await self._recall.terms(doubt.account, doubt.key_id, doubt.subject)
        if route is None or terms is None:
            log.error("reservation %s is in doubt and its route or plan is gone", doubt.reservation)
            await self._rows.close(doubt)
            return False
        word = await inquire(live, route, doubt, now_ms)
        unclear = isinstance(word.verdict, Unclear) or _may_come(doubt, word)
        if unclear and now_ms < doubt.until_ms:
            await self._rows.look_again(doubt, LOOK_AGAIN_MS)
            return False
        if doubt.kind is DoubtKind.DELETE or route.policy is Policy.DELETE:
            outcome = await self._settle_delete(route, terms, doubt, word)
        else:
            outcome = await self._settle(route, terms, doubt, word)
        self._metrics.doubt_resolved(outcome)
        await self._rows.close(doubt)
        return True

    async def _settle(self, route: Route, terms: Terms, doubt: Doubt, word: Word) -> str:
        match word.verdict:
            case Found(size, version):
                if doubt.asset is not None and route.protocol is Protocol.S3:
                    doubt = replace(doubt, asset=s3_asset(doubt.asset, version))
                charge = _charge(doubt, _actual(route, doubt, size))
                if not isinstance(await self._commit(terms, doubt, charge.amounts), Refused):
                    await self._answer(doubt, _what_was_found(word, charge))
                return "found"
            case NotFound() if not _may_come(doubt, word):
                await self._release(doubt, Reason.NOT_FOUND)
                return "not-found"
            case _ if route.on_expiry is OnExpiry.COMMIT:
                charge = _charge(doubt, doubt.held)
                if not isinstance(await self._commit(terms, doubt, doubt.held), Refused):
                    await self._answer(doubt, _lost(self._live().dialects.of(route), charge))
                return "committed"
            case _ if doubt.kind is DoubtKind.COMPLETION:
                # Its lease ends by itself: a completion that is told later is charged late.
                await self._give_up(doubt)
                return "released"
            case _:
                await self._release(doubt, Reason.IN_DOUBT)
                return "released"

    async def _settle_delete(self, route: Route, terms: Terms, doubt: Doubt, word: Word) -> str:
        """What is not there any more was deleted; what is there was not."""
        settler, asset, verdict = self._settler, doubt.asset, word.verdict
        if not isinstance(verdict, NotFound):
            if doubt.held:
                await settler.release(doubt.account, doubt.reservation, reason=Reason.FOUND)
            await self._give_up(doubt)
            return "found" if isinstance(verdict, Found) else "released"
        if doubt.held:
            await settler.commit(terms, doubt.reservation, doubt.held)
        if asset is not None and not verdict.marked:
            await settler.remove(terms, asset)
            if self._live().owners_matter:
                await settler.disown(terms, asset)
        charge = _charge(doubt, doubt.held) if doubt.held else None
        await self._answer(doubt, StoredAnswer(204, (), b"", charge))
        return "not-found"

    async def _commit(self, terms: Terms, doubt: Doubt, amounts: Mapping[str, int]) -> Outcome:
        outcome = await self._settler.commit(terms, doubt.reservation, amounts, asset=doubt.asset)
        if doubt.asset is not None and self._live().owners_matter:
            await self._settler.own(terms, doubt.asset)
        return outcome

    async def _release(self, doubt: Doubt, reason: Reason) -> None:
        outcome = await self._settler.release(doubt.account, doubt.reservation, reason=reason)
        if not isinstance(outcome, Refused):
            await self._give_up(doubt)

    # -- what repeats of a named request are told -------------------------------------------------

    async def _answer(self, doubt: Doubt, answer: StoredAnswer) -> None:
        if doubt.named is not None:
            await self._names.answered(doubt.account, *doubt.named, answer)

    async def _give_up(self, doubt: Doubt) -> None:
        if doubt.named is not None:
            await self._names.give_up(doubt.account, *doubt.named)

    async def _run(self, turns: Turns) -> None:
        while True:
            await asyncio.sleep(turns.wait_s(ROUND_S))
            try:
                while await self.look() == CLAIMS_MAX:
                    pass
            except StoreError as failure:
                log.warning("doubts could not be looked at: %s", failure)


def _may_come(doubt: Doubt, word: Word) -> bool:
    """Making one object of many parts takes a while: it may be there in the end."""
    return doubt.kind is DoubtKind.COMPLETION and isinstance(word.verdict, NotFound)


def _actual(route: Route, doubt: Doubt, size: int | None) -> Mapping[str, int]:
    """What the upstream has, or, where it does not say how much, what was held."""
    if route.protocol is Protocol.DOCUMENT:
        return doubt.held
    if size is None:
        held = [amount for meter, amount in doubt.held.items() if not _constant(route, meter)]
        size = max(held, default=0)
    if route.protocol is Protocol.S3:
        return s3_lines.of_object(route, size)
    return actual_lines(route, Counts(reported_size=size))


def _constant(route: Route, meter: str) -> bool:
    return isinstance(route.reserve.get(meter), int)


def _charge(doubt: Doubt, amounts: Mapping[str, int]) -> Charge:
    return Charge(doubt.reservation, amounts, doubt.asset, doubt.key_id, doubt.subject)


def _what_was_found(word: Word, charge: Charge) -> StoredAnswer:
    """The answer itself is lost; what the upstream says of the stored thing is the next best."""
    if word.told is None or not word.told.body:
        return StoredAnswer(204, (), b"", charge)
    fields = ((n.decode("latin-1"), v.decode("latin-1")) for n, v in word.told.headers)
    return StoredAnswer(200, kept_headers(fields, with_body=True), word.told.body, charge)


def _lost(dialect: Dialect, charge: Charge) -> StoredAnswer:
    detail = "the upstream was sent the request and did not answer; it is charged"
    said = dialect.refusal(Refusal(ANSWER_LOST, detail), "")
    return StoredAnswer(
        said.status, kept_headers(said.headers.items(), with_body=True), said.body, charge
    )
