"""Doubts: finds out what became of requests whose last byte was sent and never answered.

    extend the lease → record → (any gateway:) claim → probe → commit, release, or look again
                                                         lease over → as the route's on_expiry says

Every gateway takes part; a doubt is claimed before it is looked at, and a settlement has an effect
once whoever comes to it. One that comes after the lease has ended is a late commit.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from urllib.parse import quote

from gateway.admission.measure import Counts, actual_lines
from gateway.admission.probe import Found, NotFound, Unclear, verdict
from gateway.catalog.routes import OnExpiry, Policy, Probe, Protocol, Route
from gateway.errors import StoreError, UpstreamError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Granted
from gateway.proxy.live import Live
from gateway.proxy.recall import Recall
from gateway.proxy.settler import Settler
from gateway.proxy.wire import VIA
from gateway.records.doubts import Doubt, Doubts
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

ROUND_S = 1.0
LOOK_AFTER_MS = 2_000
"""An upstream that was too slow to answer is given this long before it is asked."""
LOOK_AGAIN_MS = 5_000
CLAIM_MS = 15_000
CLAIMS_MAX = 16
ANSWER_BYTES_MAX = 64 * 1024

log = logging.getLogger(__name__)


class DoubtDesk:
    def __init__(
        self,
        ledger: Ledger,
        settler: Settler,
        rows: Doubts,
        recall: Recall,
        metrics: Metrics,
        live: Callable[[], Live],
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._rows = rows
        self._recall = recall
        self._metrics = metrics
        self._live = live
        self._tasks = TaskSet()

    def start(self) -> None:
        self._tasks.start(self._run(), name="doubts")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def open(
        self,
        route: Route,
        terms: Terms,
        granted: Granted,
        params: dict[str, str],
        asset: str | None,
    ) -> None:
        """A request of this route was not answered. Should the store be away, too, its reservation
        ends with the lease it has."""
        lease_ms = round(route.doubt_lease_s * 1_000)
        doubt = Doubt(
            terms.account,
            granted.id,
            route.name,
            params,
            granted.amounts,
            asset,
            terms.key_id,
            terms.subject,
        )
        self._metrics.doubted(route.name)
        try:
            if granted.amounts:
                await self._ledger.extend(terms.account, [granted.id], lease_ms)
            after_ms = min(LOOK_AFTER_MS, lease_ms) if route.probe else lease_ms
            await self._rows.open(doubt, lease_ms=lease_ms, look_after_ms=after_ms)
        except StoreError as failure:
            log.warning("reservation %s is in doubt and not recorded: %s", granted.id, failure)

    async def look(self) -> int:
        """One round; returns how many doubts were settled. Raises StoreError."""
        now_ms, due = await self._rows.claim(CLAIMS_MAX, claim_ms=CLAIM_MS)
        settled = 0
        for doubt in due:
            settled += await self._resolve(doubt, now_ms)
        return settled

    async def _resolve(self, doubt: Doubt, now_ms: int) -> bool:
        route = next((r for r in self._live().catalog.routes if r.name == doubt.route), None)
        terms = await self._recall.terms(doubt.account, doubt.key_id, doubt.subject)
        if route is None or terms is None:
            log.error("reservation %s is in doubt and its route or plan is gone", doubt.reservation)
            await self._rows.close(doubt)
            return False
        found: Found | NotFound | Unclear = Unclear()
        if route.probe is not None:
            found = await self._ask(route, route.probe, doubt)
        if isinstance(found, Unclear) and now_ms < doubt.until_ms:
            await self._rows.look_again(doubt, LOOK_AGAIN_MS)
            return False
        if route.policy is Policy.DELETE:
            outcome = await self._settle_delete(terms, doubt, found)
        else:
            outcome = await self._settle(route, terms, doubt, found)
        self._metrics.doubt_resolved(outcome)
        await self._rows.close(doubt)
        return True

    async def _settle(
        self, route: Route, terms: Terms, doubt: Doubt, found: Found | NotFound | Unclear
    ) -> str:
        match found:
            case Found(size):
                amounts = doubt.held
                if route.protocol is not Protocol.DOCUMENT:
                    amounts = actual_lines(route, _counts(doubt, route, size))
                await self._commit(terms, doubt, amounts)
                return "found"
            case NotFound():
                await self._settler.release(doubt.account, doubt.reservation, reason="not-found")
                return "not-found"
            case Unclear() if route.on_expiry is OnExpiry.COMMIT:
                await self._commit(terms, doubt, doubt.held)
                return "committed"
            case Unclear():
                await self._settler.release(doubt.account, doubt.reservation, reason="in-doubt")
                return "released"

    async def _settle_delete(
        self, terms: Terms, doubt: Doubt, found: Found | NotFound | Unclear
    ) -> str:
        """What is not there any more was deleted; what is there was not."""
        settler, asset = self._settler, doubt.asset
        if not isinstance(found, NotFound):
            if doubt.held:
                await settler.release(doubt.account, doubt.reservation, reason="found")
            return "found" if isinstance(found, Found) else "released"
        if doubt.held:
            await settler.commit(terms, doubt.reservation, doubt.held)
        if asset is not None:
            await settler.remove(terms, asset)
            if self._live().owners_matter:
                await settler.disown(terms, asset)
        return "not-found"

    async def _commit(self, terms: Terms, doubt: Doubt, amounts: Mapping[str, int]) -> None:
        await self._settler.commit(terms, doubt.reservation, amounts, asset=doubt.asset)
        if doubt.asset is not None and self._live().owners_matter:
            await self._settler.own(terms, doubt.asset)

    async def _ask(self, route: Route, probe: Probe, doubt: Doubt) -> Found | NotFound | Unclear:
        """The upstream's word; Unclear when it does not give it."""
        pool = self._live().pools[route.upstream]
        try:
            connection = await pool.connect()
            try:
                connection.begin(probe.method.encode())
                connection.send(_request(probe, doubt, pool.address.authority))
                connection.end()
                answer = await connection.head(pool.upstream.answer_timeout_s)
                body = b""
                while probe.size is not None and len(body) <= ANSWER_BYTES_MAX:
                    piece = await connection.read(pool.upstream.idle_timeout_s)
                    if not piece:
                        break
                    body += piece
                connection.release()
            except BaseException:
                connection.abort()
                raise
        except UpstreamError as failure:
            log.info("a probe was not answered: %s", failure)
            return Unclear()
        return verdict(probe, answer.status, answer.length, body)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            try:
                await self.look()
            except StoreError as failure:
                log.warning("doubts could not be looked at: %s", failure)


def _counts(doubt: Doubt, route: Route, size: int | None) -> Counts:
    """What the upstream has, or, where it does not say how much, what was held."""
    if size is not None:
        return Counts(reported_size=size)
    held = [amount for meter, amount in doubt.held.items() if not _constant(route, meter)]
    return Counts(reported_size=max(held, default=0))


def _constant(route: Route, meter: str) -> bool:
    return isinstance(route.reserve.get(meter), int)


def _request(probe: Probe, doubt: Doubt, authority: bytes) -> bytes:
    path = probe.path
    for name, value in doubt.params.items():
        path = path.replace(f"{{{name}}}", quote(value, safe="/%:@!$&'()*+,;=-._~"))
    return b"".join(
        [
            b"%b %b HTTP/1.1\r\n" % (probe.method.encode(), path.encode()),
            b"Host: %b\r\n" % authority,
            VIA[(1, 1)],
            b"\r\n",
        ]
    )
