"""Idempotency: a request that its client has named is carried out once, and answered every time.

    claim → carry out → store the answer and its charge → charge → answer
       │ done: make sure of the charge → the stored answer again
       │ in flight: 409          other request: 422

Whoever finds an answer charges it again under the same reservation id, which has an effect once; so
a gateway may die between storing and charging. What failed is given up and may be tried anew.
"""

import asyncio
import hashlib

from gateway.admission.head import Head
from gateway.admission.idempotency import client_key, compares_body, fingerprint
from gateway.dialects.protocol import Answer
from gateway.errors import KEY_IN_FLIGHT, KEY_REUSED, ClientGoneError, Refusal
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.proxy import wire
from gateway.proxy.call import Call, Server
from gateway.proxy.connection import Arrival
from gateway.proxy.endings import AnsweredError, CutError, DeniedError, RefusedError
from gateway.proxy.named import Named, reservation_id
from gateway.records.idempotency import Claim, Done, Idempotency, Pending, StoredAnswer
from gateway.tasks import TaskSet

PENDING_MS = 60_000
KEEP_EVERY_S = 20.0
KEEP_MS = 86_400_000

REPLAYED = {"Idempotency-Replayed": "true", "Cache-Control": "no-store"}


class Names:
    def __init__(self, rows: Idempotency, ledger: Ledger) -> None:
        self._rows = rows
        self._ledger = ledger
        self._tasks = TaskSet()

    async def stop(self) -> None:
        await self._tasks.stop()

    async def serve(self, call: Call, server: Server) -> bool:
        """`server.serve`, or the answer that the request got before (AnsweredError)."""
        terms, head = call.entered.terms, call.entered.head
        name = None if terms is None else client_key(head)
        if name is None:
            return await server.serve(call)
        if isinstance(name, Refusal):
            raise RefusedError(name)
        assert terms is not None
        named = await self._claim(call, terms, name)
        exchange = call.exchange
        exchange.named = named
        exchange.reservation_id = named.reservation_id
        exchange.keep_ms = KEEP_MS
        loop = asyncio.get_running_loop()
        timer = loop.call_later(KEEP_EVERY_S, self._keep_claim, named)
        try:
            keep = await server.serve(call)
        finally:
            timer.cancel()
        await named.give_up()
        return keep

    async def ended(self, named: Named, failure: Exception | None, answer: Answer | None) -> None:
        """The request is over. A denial stays one; other failures are no answer for ever."""
        if answer is not None and isinstance(failure, DeniedError | CutError) and not named.told:
            kept = tuple(answer.headers.items())
            body_print = named.body_print if isinstance(failure, CutError) else None
            await named.answered(StoredAnswer(answer.status, kept, answer.body, None, body_print))
        await named.give_up()

    async def _claim(self, call: Call, terms: Terms, name: str) -> Named:
        account, head = terms.account, call.entered.head
        asked = fingerprint(head)
        found = await self._rows.claim(account, name, asked, pending_ms=PENDING_MS)
        match found:
            case Claim(attempt):
                return Named(self._rows, account, name, attempt)
            case Pending(known) if known == asked:
                detail = "a request with this Idempotency-Key is being carried out"
                raise RefusedError(Refusal(KEY_IN_FLIGHT, detail, {"Retry-After": "1"}))
            case Done(known, attempt, answer) if known == asked:
                if not await _same_body(call.arrival, head, answer):
                    raise RefusedError(_reused())
                await self._make_sure(terms, reservation_id(account, name, attempt), answer)
                raise AnsweredError(_again(answer))
            case _:
                raise RefusedError(_reused())

    async def _make_sure(self, terms: Terms, name: str, answer: StoredAnswer) -> None:
        """That it is charged; it is already, unless a gateway died in that moment."""
        charge = answer.charge
        if charge is not None:
            await self._ledger.commit(terms, name, charge.amounts, asset=charge.asset)

    def _keep_claim(self, named: Named) -> None:
        self._tasks.start(self._keep(named), name="keep a named request")

    async def _keep(self, named: Named) -> None:
        while not (named.told or named.in_doubt):
            await named.keep(PENDING_MS)
            await asyncio.sleep(KEEP_EVERY_S)


def _again(answer: StoredAnswer) -> Answer:
    return Answer(answer.status, answer.body or b"", dict(answer.headers) | REPLAYED)


def _reused() -> Refusal:
    return Refusal(KEY_REUSED, "this Idempotency-Key was used for another request")


async def _same_body(arrival: Arrival, head: Head, answer: StoredAnswer) -> bool:
    """Whether the body is that of the first request, where it can be told."""
    if answer.body_print is None or not compares_body(head):
        return True
    if head.expects_continue:
        arrival.write(wire.CONTINUE)
    digest = hashlib.sha256()
    try:
        while data := await arrival.content.readany():
            digest.update(data)
    except ConnectionError as failure:
        raise ClientGoneError from failure
    return digest.hexdigest() == answer.body_print
