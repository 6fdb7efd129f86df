"""Resumable uploads of the IETF (draft-ietf-httpbis-resumable-upload-12): created by any upload.

    creation   a plain upload until the upstream says where it can be resumed, see its own file
    PATCH      offset and length fit → lease → bytes → offset told     complete: commit
    HEAD       forward → what it tells is what is known                 complete: commit
    DELETE     forward → release; what was stored stays stored, and charged
    OPTIONS    forward → Upload-Limit is at most what the account may store

Upload-Complete in an answer ends an upload: by its status it is stored, or nothing of it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.admission import resumable, settle, uploads
from gateway.admission.estimate import Estimate
from gateway.admission.settle import Reason
from gateway.errors import INCONSISTENT_LENGTH, UPLOAD_GONE, Refusal
from gateway.ledger.frame import Terms
from gateway.ledger.quota import Quota
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call, Server
from gateway.proxy.endings import RefusedError, passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.passage import Passage
from gateway.proxy.uploads.books import Advance, UploadBooks, account_of, lease_ms_of, setting_of
from gateway.proxy.uploads.paths import field, is_creation
from gateway.proxy.uploads.resumable_creation import ResumableCreation
from gateway.proxy.wire import Fields
from gateway.records.uploads import Upload, UploadState

RATE_ONLY = Lasting(Estimate(()))
"""Counts a request against the rate limit and reserves nothing."""


class Resumable:
    """`plain` serves the uploads that do not ask to be resumable."""

    def __init__(self, gate: Gate, books: Books, upload_books: UploadBooks, plain: Server) -> None:
        self._gate = gate
        self._books = books
        self._uploads = upload_books
        self._plain = plain

    async def serve(self, call: Call) -> bool:
        head = call.entered.head
        refusal = resumable.judge(head)
        if refusal is not None:
            raise RefusedError(refusal)
        if is_creation(call) and head.method != "OPTIONS":
            wanted = resumable.opening(head)
            if wanted is None:
                return await self._plain.serve(call)
            return await ResumableCreation(
                self._gate, self._books, self._uploads, call, passed(wanted)
            ).create()
        admitted = passed(await self._gate.admit(call.entered, call.exchange, RATE_ONLY))
        rate = None if admitted.granted is None else admitted.granted.rate
        passage = Passage(self._books, call, rate)
        match head.method:
            case "PATCH":
                answer = await self._append(call, passage)
            case "HEAD":
                answer = await self._ask(call, passage)
            case "DELETE":
                answer = await self._cancel(call, passage)
            case _:
                answer = await self._options(call, passage)
        return await passage.relay(answer)

    async def _append(self, call: Call, passage: Passage) -> AnswerHead:
        head, account = call.entered.head, account_of(call)
        # Also without bytes: they may be what completes it.
        upload = await self._uploads.find(call, begins=True)
        if upload.state is not UploadState.OPEN:
            if head.has_body:
                raise RefusedError(Refusal(INCONSISTENT_LENGTH, "the upload is complete already"))
            return await passage.forward()
        wanted = passed(resumable.append(head, upload.length))
        terms = await self._uploads.terms(call, upload)
        if not await self._uploads.is_open(account, upload, lease_ms_of(call)):
            raise RefusedError(_gone())
        advance = Advance(call, self._books, passage, terms, upload, wanted.reach)
        await advance.prepare()
        if wanted.named is not None:
            # From here on the upstream may know it, too.
            upload = replace(upload, length=wanted.named, offset=None)
            await self._uploads.rows.learn(account, upload, lease_ms_of(call))
        passage.transfer.on_interim = lambda status, headers: passage.transfer.inform(
            status, _without_location(headers)
        )
        async with self._uploads.unheard(account, upload.path):
            answer = await passage.forward(advance.cover if head.has_body else None)
        sent = _Sent(advance.total, passage.transfer.sent_all)
        passage.quotas = await self._heed(call, terms, upload, answer, sent) or passage.quotas
        return answer

    async def _ask(self, call: Call, passage: Passage) -> AnswerHead:
        upload = await self._uploads.find(call)
        if upload.state is not UploadState.OPEN:
            return await passage.forward()
        terms = await self._uploads.terms(call, upload)
        is_open = await self._uploads.is_open(terms.account, upload, lease_ms_of(call))
        answer = await passage.forward()
        if not is_open and not resumable.told(answer.headers).complete:
            passage.transfer.abandon()
            raise RefusedError(_gone())
        passage.quotas = await self._heed(call, terms, upload, answer, None)
        return answer

    async def _heed(
        self, call: Call, terms: Terms, upload: Upload, answer: AnswerHead, sent: "_Sent | None"
    ) -> Sequence[Quota]:
        """What the upstream says of an upload that is not charged yet."""
        success, told = 200 <= answer.status < 300, resumable.told(answer.headers)
        if told.complete:
            total = None if sent is None else sent.total
            length = resumable.length_of(told, upload.length, total)
            if success and length is not None:
                return await self._uploads.complete(setting_of(call), terms, upload, length)
            if not success:
                await self._uploads.end(setting_of(call), terms, upload, Reason.STATUS)
            return ()
        if answer.status in resumable.GONE:
            await self._uploads.end(setting_of(call), terms, upload, Reason.GONE)
        elif success:
            offset = told.offset
            if offset is None and sent is not None and sent.all:
                offset = sent.total
            await self._uploads.goes_on(call, replace(upload, offset=offset))
        return ()

    async def _cancel(self, call: Call, passage: Passage) -> AnswerHead:
        upload = await self._uploads.find(call)
        terms = await self._uploads.terms(call, upload)
        answer = await passage.forward()
        gone = answer.status in resumable.GONE
        if gone or settle.commits(call.entered.match.route, answer.status):
            # The representation is another resource: if it is stored, it is not what was deleted.
            kept = replace(upload, asset=None)
            await self._uploads.end(
                setting_of(call), terms, kept, Reason.GONE if gone else Reason.TERMINATED
            )
        return answer

    async def _options(self, call: Call, passage: Passage) -> AnswerHead:
        answer = await passage.forward()
        terms = call.entered.terms
        if terms is None or not is_creation(call) or not 200 <= answer.status < 300:
            return answer
        amounts = uploads.amounts_of(call.entered.match.route)
        snapshot = await self._books.ledger.snapshot(terms)
        most = uploads.most_of(amounts, snapshot.quotas, terms.plan.caps.file_bytes)
        limits = resumable.limited(field(answer.headers, resumable.LIMIT.lower()), most)
        if limits is not None:
            passage.extra.append((resumable.LIMIT, limits))
        return answer


@dataclass(frozen=True, slots=True)
class _Sent:
    """How long an upload is with what was forwarded, and whether that was all of its request: an
    answer need not say where it stands then."""

    total: int
    all: bool


def _without_location(headers: Fields) -> tuple[tuple[bytes, bytes], ...]:
    """An interim answer to bytes that go on has no news of where they go."""
    return tuple(one for one in headers if one[0].lower() != b"location")


def _gone() -> Refusal:
    return Refusal(UPLOAD_GONE, "nothing is reserved for this upload any more: begin a new one")
