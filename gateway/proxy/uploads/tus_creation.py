"""Creation of a tus upload: with its length, without, with its first bytes, or out of partial ones.

A partial upload reserves its bytes and stays reserved when it has them: nothing is charged before
the final one. A final upload takes over what its parts hold, so that each byte is counted once: it
reserves only what they do not (a part that is named twice, or has been used before), its commit
charges the sum, and then its parts are released. Parts are claimed for the time of the creation, so
that two final uploads never count on the same reservation.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.admission import settle, tus, uploads
from gateway.admission.routing import canonical
from gateway.admission.settle import Reason
from gateway.admission.tus import Creation
from gateway.errors import (
    BAD_REQUEST,
    UNKNOWN_UPLOAD,
    UPSTREAM_MALFORMED,
    Refusal,
    StoreError,
    UpstreamError,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Granted
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Admitted, Gate, Lasting
from gateway.proxy.guard import Guard
from gateway.proxy.passage import Passage
from gateway.proxy.uploads.books import Advance, UploadBooks, lease_ms_of, setting_of
from gateway.proxy.uploads.paths import field, placed, referred
from gateway.proxy.wire import Fields
from gateway.records.uploads import Upload, UploadState

CLAIM_MS = 120_000
"""How long the creation of a final upload may count on what its parts hold."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """`targets` are the references as the upstream knows them, in their order."""

    uploads: tuple[Upload, ...]
    targets: tuple[str, ...]

    @property
    def length(self) -> int:
        return sum(upload.length or 0 for upload in self.uploads)

    @property
    def whole(self) -> bool:
        return all(upload.state is not UploadState.OPEN for upload in self.uploads)

    @property
    def by_path(self) -> dict[str, Upload]:
        return {upload.path: upload for upload in self.uploads}


class TusCreation:
    """One creation; made for it, used once."""

    def __init__(self, gate: Gate, books: Books, upload_books: UploadBooks, call: Call) -> None:
        self._gate = gate
        self._books = books
        self._uploads = upload_books
        self._call = call
        assert call.entered.terms is not None, "a route of uploads charges somebody"
        self._terms: Terms = call.entered.terms

    async def create(self) -> bool:
        wanted = passed(tus.creation(self._call.entered.head))
        if wanted.final:
            return await self._create_final(wanted)
        created = self._row(wanted.length, partial=wanted.partial)
        return await self._create(created, await self._admit(created))

    async def _create_final(self, wanted: Creation) -> bool:
        account, rows = self._terms.account, self._uploads.rows
        parts = await self._parts(wanted.final)
        claimed = await rows.claim(
            account, tuple(parts.by_path), self._call.exchange.reservation_id, CLAIM_MS
        )
        created = self._row(parts.length, parts=[parts.by_path[path] for path in claimed])
        try:
            admitted = await self._admit(created, held=await self._held(created, parts))
            concat = b"final;" + " ".join(parts.targets).encode()
            return await self._create(created, admitted, parts, concat=concat)
        finally:
            with suppress(StoreError):
                await rows.unclaim(account, claimed, created.reservation_id)

    async def _parts(self, references: Sequence[bytes]) -> Parts:
        """The partial uploads of this account that are meant."""
        found, targets = [], []
        for reference in references:
            place = referred(self._call, reference)
            upload = None
            if place is not None:
                path = canonical(place[0].partition("?")[0])
                upload = await self._uploads.rows.find(self._terms.account, path)
                targets.append(place[1].upstream_target)
            if upload is None or not upload.partial:
                raise RefusedError(Refusal(UNKNOWN_UPLOAD, "there is no such partial upload"))
            if upload.length is None:
                refusal = Refusal(BAD_REQUEST, "the length of a partial upload is not known yet")
                raise RefusedError(refusal)
            found.append(upload)
        return Parts(tuple(found), tuple(targets))

    async def _held(self, created: Upload, parts: Parts) -> int:
        """How many bytes the claimed parts hold, which they do for a while from now on."""
        names = list(created.parts.values())
        ledger, lease_ms = self._books.ledger, lease_ms_of(self._call)
        gone = set(await ledger.extend(self._terms.account, names, lease_ms))
        return sum(
            parts.by_path[path].length or 0
            for path, name in created.parts.items()
            if name not in gone
        )

    def _row(
        self, length: int | None, *, partial: bool = False, parts: Sequence[Upload] = ()
    ) -> Upload:
        return Upload(
            path="",
            reservation_id=self._call.exchange.reservation_id,
            amounts=uploads.amounts_of(self._call.entered.match.route, parts=partial),
            key_id=self._terms.key_id,
            subject=self._terms.subject,
            length=length,
            partial=partial,
            parts={upload.path: upload.reservation_id for upload in parts},
        )

    async def _admit(self, created: Upload, *, held: int = 0) -> Admitted:
        entered, plan = self._call.entered, self._terms.plan
        step = entered.match.route.grow_step
        sized = uploads.estimate(created.amounts, plan, created.length, step=step, held=held)
        if isinstance(sized, Refusal):
            most = {tus.MAX_SIZE.decode(): str(plan.caps.file_bytes)}
            raise RefusedError(replace(sized, headers=most))
        return passed(await self._gate.admit(entered, self._call.exchange, Lasting(sized)))

    async def _create(
        self,
        created: Upload,
        admitted: Admitted,
        parts: Parts | None = None,
        *,
        concat: bytes | None = None,
    ) -> bool:
        assert admitted.granted is not None, "a route that creates uploads reserves"
        books, head = self._books, self._call.entered.head
        passage = Passage(books, self._call, admitted.granted.rate)
        passage.quotas = admitted.granted.quotas
        async with Guard(
            books.settler, books.heartbeat, self._terms, created.reservation_id
        ) as guard:
            try:
                answer = await self._forward(passage, created, _with_concat(head.headers, concat))
            except BaseException as failure:
                # Also when cancelled: what was set aside is free again, or known to be in doubt.
                await self._not_created(guard, passage, admitted.granted, failure)
                raise
            if 200 <= answer.status < 300:
                await self._created(guard, passage, created, answer, parts)
            else:
                await guard.release(Reason.STATUS)
        return await passage.relay(answer)

    async def _forward(self, passage: Passage, created: Upload, headers: Fields) -> AnswerHead:
        head = self._call.entered.head
        if not head.has_body:
            return await passage.forward(headers=headers)
        reach = uploads.Reach(0, None if head.chunked else head.length, created.length)
        advance = Advance(self._call, self._books, passage, self._terms, created, reach)
        await advance.prepare()
        return await passage.forward(advance.cover, headers=headers)

    async def _not_created(
        self, guard: Guard, passage: Passage, granted: Granted, failure: BaseException
    ) -> None:
        """Without an answer nobody knows where the upload is: nothing more can come to it. Only
        bytes that went with its creation may be stored."""
        match, has_body = self._call.entered.match, self._call.entered.head.has_body
        stored = passage.transfer.sent_all and has_body
        facts = settle.Exchange(match.route, stored, failure=kind_of(failure))
        match settle.decide(facts):
            case settle.ReleaseIt(reason):
                await guard.release(reason)
            case _:
                guard.leave_in_doubt()
                named = self._call.exchange.named
                await self._books.doubts.open(Unanswered(match, self._terms, granted, None, named))

    async def _created(
        self,
        guard: Guard,
        passage: Passage,
        created: Upload,
        answer: AnswerHead,
        parts: Parts | None,
    ) -> None:
        location = field(answer.headers, b"location")
        place = None if location is None else placed(self._call, location)
        if place is None:
            await self._misplaced(guard, passage, created, location)
            return
        target, match = place
        passage.extra.append((b"Location", target.encode()))
        told = tus.told(answer.headers)
        offset = told.offset if self._call.entered.head.has_body else 0
        upload = replace(
            created,
            path=canonical(target.partition("?")[0]),
            asset=match.asset,
            offset=offset,
            route=match.route.name,
            target=match.upstream_target,
        )
        if parts is not None:
            whole = parts.whole
        else:
            whole = created.length is not None and offset == created.length
        if whole and not created.partial:
            assert created.length is not None
            guard.leave_in_doubt()
            passage.quotas = await self._uploads.complete(
                setting_of(self._call), self._terms, upload, created.length
            )
            return
        state = UploadState.WHOLE if whole else UploadState.OPEN
        await self._uploads.keep(self._call, guard, replace(upload, state=state))

    async def _misplaced(
        self, guard: Guard, passage: Passage, created: Upload, location: bytes | None
    ) -> None:
        """The upstream has created something that no client can reach through here. What it was
        sent is charged; a way past the gateway is not passed on."""
        if passage.count.body:
            await guard.commit(created.actual(passage.count.body))
        else:
            await guard.release(Reason.STATUS)
        if location is not None:
            log.error(
                "route %s: the upstream's Location leads to no route of uploads",
                self._call.entered.match.route.name,
            )
            passage.transfer.abandon()
            raise UpstreamError(
                UPSTREAM_MALFORMED, "the Location of an upload leads past the gateway"
            )


def _with_concat(headers: Fields, concat: bytes | None) -> Fields:
    if concat is None:
        return headers
    return [
        (name, concat if name.lower() == b"upload-concat" else value) for name, value in headers
    ]
