"""Document: a plain request whose JSON says what it may use.

    take the JSON → judge → reserve → guard { forward → decide → settle } → relay

What was asked for is what is charged; there is nothing to measure. It is never let through
unreserved.
"""

from gateway.admission import documents, settle
from gateway.admission.documents import Asked
from gateway.admission.estimate import Estimate
from gateway.admission.measure import BodyCount, reported_asset
from gateway.errors import Refusal
from gateway.ledger.outcomes import Granted, Line, Settled
from gateway.ledger.quota import Quota
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Admitted, Gate, Lasting
from gateway.proxy.guard import Guard
from gateway.proxy.listening import listening
from gateway.proxy.transfer import REPORT_BYTES_MAX, Transfer
from gateway.records.idempotency import Charge


class Documents:
    """Serves the requests that are judged by their JSON."""

    def __init__(self, gate: Gate, books: Books) -> None:
        self._gate = gate
        self._books = books

    async def serve(self, call: Call) -> bool:
        head, route = call.entered.head, call.entered.match.route
        count = BodyCount.for_head(head, route)
        pool = call.live.pools[route.upstream]
        transfer = Transfer(call.arrival, call.exchange, head, pool, count)
        asked = await self._asked(call, transfer)
        call = call.attributed(asked.subject)
        lines = tuple(Line.exact(meter, amount) for meter, amount in asked.amounts.items())
        lasting = Lasting(Estimate(lines), keep_ms=call.exchange.keep_ms)
        admitted = passed(await self._gate.admit(call.entered, call.exchange, lasting))
        return await _Errand(self._books, call, transfer, asked).run(admitted)

    async def _asked(self, call: Call, transfer: Transfer) -> Asked:
        """Raises RefusedError: the upstream hears of nothing."""
        entered = call.entered
        assert entered.terms is not None, "a request that is judged by its JSON is charged"
        route = entered.match.route
        refusal = documents.judge_head(entered.head, route)
        if refusal is not None:
            raise RefusedError(refusal)
        body = await transfer.take_body(route.body_max)
        if body is None:
            raise RefusedError(documents.too_long(route))
        asked = documents.judge(body, route, entered.terms.plan)
        if isinstance(asked, Refusal):
            raise RefusedError(asked)
        return asked


class _Errand:
    """One request on its way; made for it, used once."""

    def __init__(self, books: Books, call: Call, transfer: Transfer, asked: Asked) -> None:
        assert call.entered.terms is not None
        self._books = books
        self._call = call
        self._transfer = transfer
        self._asked = asked
        self._route = call.entered.match.route
        self._asset = call.entered.match.asset
        self._terms = call.entered.terms

    async def run(self, admitted: Admitted) -> bool:
        granted = admitted.granted
        if granted is None or not granted.amounts:
            return await self._carry(None, admitted)
        async with Guard(
            self._books.settler, self._books.heartbeat, self._terms, granted.id
        ) as guard:
            return await self._carry(guard, admitted)

    async def _carry(self, guard: Guard | None, admitted: Admitted) -> bool:
        transfer = self._transfer
        answer: AnswerHead | None = None
        settled = False
        try:
            fields = None if self._route.learn is None else heads.readable(self._call)
            length = len(self._asked.body)
            request_head = heads.request_head(self._call, headers=fields, length=length)
            answer = await transfer.request(request_head, None, body=self._asked.body)
            await self._name(answer)
            await transfer.hear(answer)
            await transfer.remember(answer, self._charge(answer, guard))
            settled = True
            quotas = await self._settle(guard, admitted, self._facts(answer, None))
            return await self._relay(answer, admitted, quotas)
        except BaseException as failure:
            # Also when cancelled: whatever ends this, the transfer is broken off and settled.
            transfer.abandon()
            if not settled:
                facts = self._facts(answer, kind_of(failure))
                await self._settle(guard, admitted, facts)
            raise

    async def _name(self, answer: AnswerHead) -> None:
        """What is stored, where only the answer names it."""
        if self._route.asset_from is None or not settle.commits(self._route, answer.status):
            return
        report = await self._transfer.read_ahead(answer, REPORT_BYTES_MAX)
        if report is not None:
            self._asset = reported_asset(report, self._route, self._call.entered.match.params)

    def _facts(self, answer: AnswerHead | None, failure: settle.Failure | None) -> settle.Exchange:
        return settle.Exchange(
            self._route,
            self._transfer.sent_all,
            None if answer is None else answer.status,
            failure,
            repeated=self._transfer.repeated,
        )

    def _charge(self, answer: AnswerHead, guard: Guard | None) -> Charge | None:
        """What the answer will be charged, for a repeat to make sure of."""
        if guard is None or not settle.commits(self._route, answer.status):
            return None
        return Charge(
            *(guard.reservation_id, self._asked.amounts, self._asset),
            *(self._terms.key_id, self._terms.subject),
        )

    async def _settle(
        self, guard: Guard | None, admitted: Admitted, facts: settle.Exchange
    ) -> tuple[Quota, ...]:
        if guard is None:
            return ()
        match settle.decide(facts):
            case settle.CommitIt():
                return await self._commit(guard)
            case settle.ReleaseIt(reason):
                outcome = await guard.release(reason)
                return outcome.quotas if isinstance(outcome, Settled) else ()
            case settle.InDoubt():
                await self._doubt(guard, admitted.granted)
        return ()

    async def _commit(self, guard: Guard) -> tuple[Quota, ...]:
        asset = self._asset
        outcome = await guard.commit(self._asked.amounts, asset=asset)
        if asset is not None and self._call.live.owners_matter:
            await self._books.settler.own(self._terms, asset)
        return outcome.quotas if isinstance(outcome, Settled) else ()

    async def _doubt(self, guard: Guard, granted: Granted | None) -> None:
        assert granted is not None
        guard.leave_in_doubt()
        match, named = self._call.entered.match, self._call.exchange.named
        await self._books.doubts.open(Unanswered(match, self._terms, granted, match.asset, named))

    async def _relay(
        self, answer: AnswerHead, admitted: Admitted, quotas: tuple[Quota, ...]
    ) -> bool:
        call, granted = self._call, admitted.granted
        asked = not call.arrival.should_close and self._transfer.sent_all
        keep = wire.keeps_client(answer, call.entered.head.version, asked=asked)
        head = heads.answer_head(
            call,
            answer,
            self._books.clock.now_ms(),
            quotas=quotas or (() if granted is None else granted.quotas),
            rate=None if granted is None else granted.rate,
            keep=keep,
        )
        with listening(self._books, call, self._transfer, answer):
            await self._transfer.relay(head, answer, None)
        return keep
