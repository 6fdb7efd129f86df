"""Forward: an admitted request through the upstream and back, with its reservation settled.

    guard { request → decide → settle → relay }      uploads, deletes and plain requests
    guard { request → relay → decide → settle }      downloads and upgrades: delivery counts

The ledger moves before the client hears. What breaks off on the way is settled by the same decision
as what ends well, from the facts that were true by then.
"""

from collections.abc import Callable, Mapping

from gateway.admission import settle
from gateway.admission.measure import BodyCount, actual_lines, reported_asset, reported_size
from gateway.catalog.routes import Policy
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Granted, Settled
from gateway.ledger.quota import Quota
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import kind_of, passed
from gateway.proxy.gate import Admitted, Gate
from gateway.proxy.guard import Guard
from gateway.proxy.hold import Hold
from gateway.proxy.inquiry import can_ask
from gateway.proxy.listening import listening
from gateway.proxy.transfer import REPORT_BYTES_MAX, Transfer
from gateway.proxy.upgrade import Tunnel
from gateway.proxy.upstream import UpstreamConnection
from gateway.records.doubts import DoubtKind
from gateway.records.idempotency import Charge

AssetOf = Callable[[AnswerHead], str | None]


class Plain:
    """Requests that are over when their answer is."""

    def __init__(self, gate: Gate, books: Books) -> None:
        self._gate = gate
        self._books = books

    async def serve(self, call: Call) -> bool:
        admitted = passed(await self._gate.admit(call.entered, call.exchange))
        return await Forwarder(self._books, call, admitted).forward()


class Forwarder:
    """One request on its way; made for it, used once. `asset_of`: the answer says which stored
    thing the request was about; None for nothing that is on the books."""

    __slots__ = ("_admitted", "_answer", "_arrival", "_asset", "_asset_of", "_books", "_call",
                 "_committed", "_exchange", "_guard", "_head", "_hold", "_live", "_pool", "_route",
                 "_settled", "_transfer")  # fmt: skip

    def __init__(
        self, books: Books, call: Call, admitted: Admitted, asset_of: AssetOf | None = None
    ) -> None:
        self._books = books
        self._call = call
        self._arrival = call.arrival
        self._exchange = call.exchange
        self._admitted = admitted
        self._asset = admitted.match.asset
        self._asset_of = asset_of
        self._head = admitted.head
        self._route = admitted.match.route
        self._live = call.live
        self._pool = call.live.pools[self._route.upstream]
        self._guard: Guard | None = None
        self._answer: AnswerHead | None = None
        self._settled = False
        self._committed = False
        count = BodyCount.for_head(self._head, self._route)
        self._hold = Hold(books.ledger, admitted, call.exchange, count)
        self._transfer = Transfer(call.arrival, call.exchange, self._head, self._pool, count)

    def go_on(self, body: bytes, sent_on: UpstreamConnection | None) -> None:
        """Before `forward`: this much was done by others."""
        self._transfer.go_on(body, sent_on)

    def go_on_behind(
        self, passed: int, sent_on: UpstreamConnection | None, ended: Exception | None
    ) -> None:
        """The same, of a body that has passed by."""
        self._transfer.go_on_behind(passed, sent_on, ended)

    async def forward(self) -> bool:
        granted, terms = self._admitted.granted, self._admitted.terms
        if granted is None or not granted.amounts:
            return await self._carry()
        assert terms is not None
        books, exchange = self._books, self._exchange
        async with Guard(
            books.settler,
            books.heartbeat,
            terms,
            exchange.reservation_id,
            unheard=exchange.unheard,
        ) as self._guard:
            return await self._carry()

    async def _carry(self) -> bool:
        try:
            fields = None if self._route.learn is None else heads.readable(self._call)
            answer = await self._transfer.request(
                heads.request_head(self._call, headers=fields), self._hold.body_cover
            )
            self._answer = answer
            if self._asset_of is not None:
                self._asset = self._asset_of(answer)
            if answer.upgrade:
                return await self._switch(answer)
            commits = settle.commits(self._route, answer.status)
            if self._route.policy is Policy.DOWNLOAD and commits:
                return await self._deliver(answer)
            return await self._return(answer)
        except BaseException as failure:
            # Also when cancelled: whatever ends this, the transfer is broken off and settled.
            self._transfer.abandon()
            await self._settle(kind_of(failure))
            if self._answer is not None and self._committed:
                await self._remember(self._answer, delivered=False)
            raise

    async def _return(self, answer: AnswerHead) -> bool:
        """The work is done or refused: settle, then let the client hear."""
        reported = await self._report(answer)
        if self._exchange.named is not None:
            await self._transfer.hear(answer)
            if self._route.policy is not Policy.DELETE:
                # A repeat charges again, but does not give back again: that comes first.
                await self._transfer.remember(answer, self._charge_of(answer, reported))
        quotas = await self._settle(None, reported)
        if self._route.learn is None:
            return await self._relay(answer, quotas, charged=False)
        with listening(self._books, self._call, self._transfer, answer):
            return await self._relay(answer, quotas, charged=False)

    async def _report(self, answer: AnswerHead) -> int | None:
        """What the upstream's JSON says of what it stored: its name, and how large it is."""
        route = self._route
        if not (route.size_from or route.asset_from) or not settle.commits(route, answer.status):
            return None
        report = await self._transfer.read_ahead(answer, REPORT_BYTES_MAX)
        if report is None:
            return None
        if route.asset_from is not None:
            self._asset = reported_asset(report, route, self._admitted.match.params)
        return None if route.size_from is None else reported_size(report, route.size_from)

    async def _deliver(self, answer: AnswerHead) -> bool:
        """The answer is what is charged: all of its length is held before its head goes out."""
        await self._hold.expect_answer(answer)
        await self._transfer.hear(answer)
        keep = await self._relay(answer, self._hold.quotas, charged=True)
        await self._settle(None)
        await self._remember(answer, delivered=True)
        return keep

    async def _switch(self, answer: AnswerHead) -> bool:
        """Another protocol from here on; its bytes count in both directions."""
        upstream = self._transfer.connection
        assert upstream is not None
        head = self._answer_head(answer, self._hold.quotas, keep=False)
        self._exchange.answering = True
        self._exchange.status = answer.status
        tunnel = Tunnel(
            self._arrival,
            self._exchange,
            upstream,
            self._hold.answer_cover,
            idle_s=self._pool.upstream.idle_timeout_s,
        )
        await tunnel.run(head)
        self._transfer.abandon()
        await self._settle(None)
        return False

    async def _relay(self, answer: AnswerHead, quotas: tuple[Quota, ...], *, charged: bool) -> bool:
        asked = not self._arrival.should_close and self._transfer.sent_all
        keep = wire.keeps_client(answer, self._head.version, asked=asked)
        head = self._answer_head(answer, quotas, keep=keep)
        cover = self._hold.answer_cover if charged else None
        await self._transfer.relay(head, answer, cover, charged=charged)
        return keep

    # -- settlement -------------------------------------------------------------------------------

    async def _settle(
        self, failure: settle.Failure | None, reported: int | None = None
    ) -> tuple[Quota, ...]:
        """Do to the books what the facts demand, once; the quotas as they stand afterwards."""
        if self._settled:
            return ()
        self._settled = True
        facts = settle.Exchange(
            self._route,
            self._transfer.sent_all,
            None if self._answer is None else self._answer.status,
            failure,
            relayed=failure is None or self._exchange.answering,
            repeated=self._transfer.repeated,
        )
        match settle.decide(facts):
            case settle.CommitIt():
                return await self._commit(reported)
            case settle.ReleaseIt(reason):
                if self._guard is not None:
                    outcome = await self._guard.release(reason)
                    return outcome.quotas if isinstance(outcome, Settled) else ()
            case settle.InDoubt():
                await self._doubt()
        return ()

    def _charge_of(self, answer: AnswerHead, reported: int | None) -> Charge | None:
        """What `answer` will be charged, for a repeat to make sure of."""
        if self._guard is None or not settle.commits(self._route, answer.status):
            return None
        actual = actual_lines(self._route, self._hold.counts(reported))
        asset = self._asset if self._route.policy is Policy.UPLOAD else None
        terms = self._guard.terms
        return Charge(self._exchange.reservation_id, actual, asset, terms.key_id, terms.subject)

    async def _remember(self, answer: AnswerHead, *, delivered: bool) -> None:
        """Keep for repeats what is charged already. A delivery that a repeat cannot be given again
        is carried out, and charged, anew."""
        named = self._exchange.named
        if named is None:
            return
        if self._route.policy is Policy.DOWNLOAD and not (delivered and self._transfer.heard_all):
            named.in_doubt = False
            await named.give_up()
        else:
            await self._transfer.remember(answer, None)

    async def _doubt(self) -> None:
        """Also a delete that holds nothing: what it gives back depends on it."""
        admitted, terms, route = self._admitted, self._admitted.terms, self._route
        deletes = route.policy is Policy.DELETE and can_ask(route)
        if terms is None or (self._guard is None and not deletes):
            return
        held = admitted.granted or Granted(self._exchange.reservation_id, {}, ())
        if self._guard is not None:
            self._guard.leave_in_doubt()
        match = admitted.match
        asset = match.asset if deletes or route.policy is Policy.UPLOAD else None
        kind = DoubtKind.DELETE if deletes else DoubtKind.STORE
        named = self._exchange.named
        await self._books.doubts.open(Unanswered(match, terms, held, asset, named, kind))

    async def _commit(self, reported: int | None) -> tuple[Quota, ...]:
        route, terms, asset = self._route, self._admitted.terms, self._asset
        if terms is None:
            return ()
        self._committed = True
        counts = self._hold.counts(reported)
        if reported is not None and reported != counts.body:
            self._books.metrics.size_mismatch(route.name)
        stored = asset if route.policy is Policy.UPLOAD else None
        try:
            return await self._charge(terms, actual_lines(route, counts), stored)
        finally:
            # Also when that was interrupted: it goes on by itself, and what goes with it follows.
            if asset is not None:
                await self._keep_assets(terms, asset)

    async def _charge(
        self, terms: Terms, actual: Mapping[str, int], stored: str | None
    ) -> tuple[Quota, ...]:
        if self._guard is not None:
            outcome = await self._guard.commit(actual, asset=stored)
            return outcome.quotas if isinstance(outcome, Settled) else ()
        if self._admitted.unreserved:
            # By an id of its own: a reserve whose reply was lost has taken the reservation's.
            charge_id = f"{self._exchange.reservation_id}-charge"
            await self._books.settler.charge(terms, charge_id, actual, reason="unreserved")
        return ()

    async def _keep_assets(self, terms: Terms, asset: str) -> None:
        """Who owns what was stored, and what is charged for what was deleted."""
        settler, matters, policy = self._books.settler, self._live.owners_matter, self._route.policy
        if policy is Policy.UPLOAD and matters:
            await settler.own(terms, asset)
        if policy is Policy.DELETE:
            try:
                await settler.remove(terms, asset)
            finally:
                if matters:
                    await settler.disown(terms, asset)

    def _answer_head(self, answer: AnswerHead, quotas: tuple[Quota, ...], *, keep: bool) -> bytes:
        granted = self._admitted.granted
        return heads.answer_head(
            self._call,
            answer,
            self._books.clock.now_ms(),
            quotas=quotas or self._hold.quotas,
            rate=None if granted is None else granted.rate,
            keep=keep,
        )
