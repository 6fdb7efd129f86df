"""Copies: what is stored without a body (CopyObject, and the size of what UploadPartCopy takes).

The gateway cannot sign a request of its own, so it knows the size of a source only where the source
is on the account's own books, or where a range says it. Others count as `copy_max`, or are refused.
"""

from collections.abc import Sequence

from gateway.admission import s3_lines, settle
from gateway.admission.s3_names import CopySource
from gateway.admission.s3_operation import Copy
from gateway.admission.s3_xml import Ending
from gateway.errors import Refusal
from gateway.ledger.charges import charged
from gateway.ledger.outcomes import Settled
from gateway.ledger.quota import Quota
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Admitted, Gate
from gateway.proxy.guard import Guard
from gateway.proxy.s3.errand import Errand, about, bounded, terms_of, version_of
from gateway.records.rows import RedisClient
from gateway.tasks import TaskSet, shielded

RESULT = "CopyObjectResult"


class Copies:
    def __init__(self, gate: Gate, books: Books, client: RedisClient) -> None:
        self._gate = gate
        self._books = books
        self._client = client
        self._tasks = TaskSet()

    async def size(self, call: Call, source: CopySource) -> int:
        """How many bytes a copy of it stores; raises RefusedError and StoreError."""
        terms = terms_of(call)
        row = None
        if source.length is None and source.object is not None:
            row = await charged(self._client, terms.account, source.object.asset())
        size = s3_lines.copied(call.entered.match.route, source, row)
        if isinstance(size, Refusal):
            raise RefusedError(size)
        return size

    async def serve(self, call: Call, operation: Copy) -> bool:
        bounded(call)
        terms, route = terms_of(call), call.entered.match.route
        size = await self.size(call, operation.source)
        refusal = s3_lines.too_large(terms.plan, size)
        if refusal is not None:
            raise RefusedError(refusal)
        copy = about(call, s3_lines.copying(route, size), operation.object.asset())
        admitted = passed(await self._gate.admit(copy.entered, call.exchange))
        errand = Errand(self._books, copy, admitted)
        if admitted.granted is None:
            return await self._unreserved(errand, copy)
        books = self._books
        reservation = call.exchange.reservation_id
        async with Guard(books.settler, books.heartbeat, terms, reservation) as guard:
            try:
                answer = await errand.ask()
                ending = await errand.ending(RESULT)
            except BaseException as failure:
                # Also when cancelled: whatever ends this, the copy is broken off and settled.
                errand.abandon()
                await self._broken(copy, admitted, guard, errand, failure)
                raise
            asset = operation.object.asset(version_of(answer))
            settled = self._settle(copy, admitted, guard, ending, asset)
            errand.quotas = await shielded(settled, self._tasks, name="copy")
            return await errand.relay()

    async def _settle(
        self, call: Call, admitted: Admitted, guard: Guard, ending: Ending, asset: str
    ) -> Sequence[Quota]:
        match ending:
            case Ending.DONE:
                if call.live.owners_matter:
                    await self._books.settler.own(guard.terms, asset)
                # The copy reserves by constants: its size is known.
                amounts = s3_lines.of_object(call.entered.match.route, 0)
                outcome = await guard.commit(amounts, asset=asset)
                return outcome.quotas if isinstance(outcome, Settled) else ()
            case Ending.FAILED:
                await guard.release(settle.Reason.STATUS)
            case Ending.UNKNOWN:
                await self._doubt(call, admitted, guard)
        return ()

    async def _unreserved(self, errand: Errand, call: Call) -> bool:
        """The plan is open while the store is away: charge what was stored afterwards."""
        try:
            await errand.ask()
            ending = await errand.ending(RESULT)
        except BaseException:  # Also when cancelled: the upstream must not wait for more of it.
            errand.abandon()
            raise
        if ending is not Ending.FAILED:
            amounts = s3_lines.of_object(call.entered.match.route, 0)
            name = call.exchange.reservation_id
            charge = self._books.settler.charge(terms_of(call), name, amounts, reason="unreserved")
            await shielded(charge, self._tasks, name="copy")
        return await errand.relay()

    async def _broken(
        self, call: Call, admitted: Admitted, guard: Guard, errand: Errand, failure: BaseException
    ) -> None:
        route = call.entered.match.route
        facts = settle.Exchange(route, errand.sent_all, failure=kind_of(failure))
        match settle.decide(facts):
            case settle.ReleaseIt(reason):
                await guard.release(reason)
            case _:
                await self._doubt(call, admitted, guard)

    async def _doubt(self, call: Call, admitted: Admitted, guard: Guard) -> None:
        assert admitted.granted is not None
        guard.leave_in_doubt()
        match = call.entered.match
        named = call.exchange.named
        await self._books.doubts.open(
            Unanswered(match, guard.terms, admitted.granted, match.asset, named)
        )
