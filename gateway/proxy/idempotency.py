"""Idempotency: a request that its client has named is carried out once, and answered every time.

    claim → carry out → store the answer and its charge → charge → answer
       │ done: make sure of the charge → the stored answer again
       │ in flight: 409          other request: 422

Whoever finds an answer charges it again under the reservation that is stored with it, which has an
effect once; so a gateway may die between storing and charging. What a delete gives back it gives
back before: a repeat must not do that again to what was stored since. What failed is given up and
may be tried anew; where the upstream may have carried it out, a minute later.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from functools import partial

from gateway.admission.head import Head
from gateway.admission.idempotency import client_key, compares_body, fingerprint, kept_headers
from gateway.admission.measure import BodyCount
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import rate_limit_fields
from gateway.errors import KEY_IN_FLIGHT, KEY_REUSED, STORE_UNAVAILABLE, Refusal, StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Settled
from gateway.ledger.quota import Quota
from gateway.proxy.call import Books, Call, Server
from gateway.proxy.endings import AnsweredError, CutError, DeniedError, RefusedError
from gateway.proxy.named import Named
from gateway.proxy.recall import Recall
from gateway.proxy.transfer import Transfer
from gateway.records.idempotency import Charge, Claim, Done, Idempotency, Pending, StoredAnswer
from gateway.tasks import TaskSet

PENDING_S = 60.0
"""How long a claim lasts that nobody keeps."""
PATIENCE_S = 0.5
"""In which a claim is answered or given up, its repeat included."""
KEEP_MS = 86_400_000
"""The record of the reservation outlives it for as long as the answer is kept."""


class Names:
    def __init__(self, rows: Idempotency, books: Books, recall: Recall) -> None:
        self._rows = rows
        self._books = books
        self._recall = recall
        self._tasks = TaskSet()

    async def stop(self) -> None:
        await self._tasks.stop()

    def serve(self, call: Call, server: Server) -> Awaitable[bool]:
        """`server.serve`, or the answer that the request got before (AnsweredError)."""
        terms, head = call.entered.terms, call.entered.head
        name = None if terms is None else client_key(head)
        if isinstance(name, Refusal):
            raise RefusedError(name)
        if terms is None or name is None:
            return server.serve(call)
        return self._serve_named(call, server, terms, name)

    async def _serve_named(self, call: Call, server: Server, terms: Terms, name: str) -> bool:
        named = await self._claim(call, terms, name)
        if named is None:
            return await server.serve(call)
        call.exchange.named = named
        call.exchange.keep_ms = KEEP_MS
        named.hold(PENDING_S)
        try:
            keep = await server.serve(call)
        finally:
            named.let_go()
        await named.give_up()
        return keep

    async def ended(self, named: Named, failure: Exception, answer: Answer | None) -> None:
        """The request ended by `failure`, and is given this answer of ours. That there is no room
        for it is its answer for good; other failures are not."""
        if answer is not None and isinstance(failure, DeniedError | CutError) and not named.told:
            kept = kept_headers(answer.headers.items(), with_body=True)
            await named.answered(
                StoredAnswer(answer.status, kept, answer.body, None, named.body_print)
            )
        await named.give_up()

    async def _claim(self, call: Call, terms: Terms, name: str) -> Named | None:
        """None: the store is away, and the plan lets requests through without it."""
        account, head = terms.account, call.entered.head
        asked = fingerprint(head)
        try:
            found = await self._ask(account, name, asked, by=call.exchange.reservation_id)
        except StoreError as failure:
            if terms.plan.store_failure.open_bytes is None or not failure.transient:
                raise
            self._books.metrics.store_error(failure.error)
            return None
        if isinstance(found, Pending) and found.fingerprint == asked and found.doubt:
            found = await self._after_doubt(call, account, name, asked, found)
        match found:
            case Claim(attempt):
                claimed = (account, name, attempt)
                return Named(self._rows, self._tasks, claimed, head, call.entered.match.route)
            case Pending(known) if known == asked:
                detail = "a request with this Idempotency-Key is being carried out"
                if found.doubt:
                    detail = "it is not known yet what became of the first request of this key"
                wait_s = "2" if found.doubt else "1"
                raise RefusedError(Refusal(KEY_IN_FLIGHT, detail, {"Retry-After": wait_s}))
            case Done(known, _, answer) if known == asked:
                if not await _same_body(call, head, answer):
                    raise RefusedError(_reused())
                quotas = await self._make_sure(call, terms, answer.charge)
                raise AnsweredError(self._again(call, answer, quotas))
            case _:
                raise RefusedError(_reused())

    async def _after_doubt(
        self, call: Call, account: str, name: str, asked: str, found: Pending
    ) -> Claim | Pending | Done:
        """The first request was not answered: what it reserved is settled before another one is
        carried out, now if the upstream can tell."""
        by = call.exchange.reservation_id
        if await self._books.doubts.look_at(account, found.doubt):
            return await self._ask(account, name, asked, by=by)
        return await self._ask(account, name, asked, by=by, settled=found.doubt)

    async def _ask(
        self, account: str, name: str, asked: str, *, by: str, settled: str = ""
    ) -> Claim | Pending | Done:
        """Once more when the reply was lost: else its own claim would keep the request out. A
        store that hangs is away."""
        claim = partial(
            self._rows.claim,
            account,
            name,
            asked,
            pending_ms=round(PENDING_S * 1_000),
            by=by,
            settled=settled,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                try:
                    return await claim()
                except StoreError as failure:
                    if not failure.indeterminate:
                        raise
                    return await claim()
        except TimeoutError:
            raise StoreError(
                STORE_UNAVAILABLE, "a claim was not answered in time", transient=True
            ) from None

    async def _make_sure(self, call: Call, terms: Terms, charge: Charge | None) -> Sequence[Quota]:
        """That the answer is charged, to whom it was reserved for; the quotas as they stand. It is
        charged already, unless a gateway died in that moment or waits for the store."""
        if charge is None:
            return ()
        if (charge.key_id, charge.subject) != (terms.key_id, terms.subject):
            reserved = await self._recall.terms(terms.account, charge.key_id, charge.subject)
            terms = reserved or terms
        outcome = await self._books.ledger.commit(
            terms, charge.reservation, charge.amounts, asset=charge.asset
        )
        if not isinstance(outcome, Settled):
            return ()
        if not outcome.replayed:
            self._books.metrics.settled(outcome, "answered")
            if charge.asset is not None and call.live.owners_matter:
                await self._books.settler.own(terms, charge.asset)
        return outcome.quotas

    def _again(self, call: Call, answer: StoredAnswer, quotas: Sequence[Quota]) -> Answer:
        """The answer as it was, with what is true of this request and by now."""
        headers: dict[str, str] = {}
        for name, value in answer.headers:
            known = next((each for each in headers if each.lower() == name.lower()), name)
            headers[known] = f"{headers[known]}, {value}" if known in headers else value
        standing = rate_limit_fields(quotas, None, self._books.clock.now_ms())
        if standing:
            headers = {n: v for n, v in headers.items() if not n.lower().startswith("ratelimit")}
        ours = {
            "Cache-Control": "no-store",
            "Idempotency-Replayed": "true",
            "X-Request-Id": call.exchange.request_id,
        }
        return Answer(answer.status, answer.body or b"", headers | standing | ours)


def _reused() -> Refusal:
    return Refusal(KEY_REUSED, "this Idempotency-Key was used for another request")


async def _same_body(call: Call, head: Head, answer: StoredAnswer) -> bool:
    """Whether the body is that of the first request, where it can be told."""
    if answer.body_print is None or not compares_body(head):
        return True
    pool = call.live.pools[call.entered.match.route.upstream]
    taking = Transfer(call.arrival, call.exchange, head, pool, BodyCount())
    body = await taking.take_body(head.length or 0)
    return body is not None and hashlib.sha256(body).hexdigest() == answer.body_print
