"""tus 1.0.0: an upload is created, gets its bytes by any number of PATCHes, and is whole or ended.

    POST     reserve its length → forward → row, long lease → relay     201
    PATCH    offset and length fit → lease → bytes → offset told        204; whole: commit
    HEAD     forward → what it tells is what is known                   200; whole: commit
    DELETE   forward → release, or take what it was charged off the books
    OPTIONS  forward → Tus-Max-Size is at most what the account may store

What breaks off half way leaves the reservation open: that is the point of tus. An upload that its
account does not have, and one whose reservation has ended, are refused before the upstream hears.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.admission import settle, tus, uploads
from gateway.admission.estimate import Estimate
from gateway.admission.settle import Reason
from gateway.errors import UPLOAD_COMPLETE, UPLOAD_GONE, Refusal
from gateway.ledger.frame import Terms
from gateway.ledger.quota import Quota
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError, passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.passage import Passage
from gateway.proxy.uploads.books import Advance, UploadBooks, account_of, lease_ms_of, setting_of
from gateway.proxy.uploads.paths import field, is_creation
from gateway.proxy.uploads.tus_creation import TusCreation
from gateway.records.uploads import Upload, UploadState

RATE_ONLY = Lasting(Estimate(()))
"""Counts a request against the rate limit and reserves nothing."""


class Tus:
    def __init__(self, gate: Gate, books: Books, upload_books: UploadBooks) -> None:
        self._gate = gate
        self._books = books
        self._uploads = upload_books

    async def serve(self, call: Call) -> bool:
        head = call.entered.head
        refusal = tus.judge(head)
        if refusal is not None:
            raise RefusedError(refusal)
        if head.method == "POST":
            return await TusCreation(self._gate, self._books, self._uploads, call).create()
        admitted = passed(await self._gate.admit(call.entered, call.exchange, RATE_ONLY))
        rate = None if admitted.granted is None else admitted.granted.rate
        passage = Passage(self._books, call, rate)
        match head.method:
            case "PATCH":
                answer = await self._append(call, passage)
            case "HEAD":
                answer = await self._ask(call, passage)
            case "DELETE":
                answer = await self._terminate(call, passage)
            case _:
                answer = await self._options(call, passage)
        return await passage.relay(answer)

    async def _append(self, call: Call, passage: Passage) -> AnswerHead:
        head, account = call.entered.head, account_of(call)
        upload = await self._uploads.find(call, begins=head.has_body)
        if upload.state is not UploadState.OPEN:
            if head.has_body:
                raise RefusedError(Refusal(UPLOAD_COMPLETE, UPLOAD_COMPLETE.title))
            return await passage.forward()
        wanted = passed(tus.append(head, upload.length))
        terms = await self._uploads.terms(call, upload)
        if not await self._uploads.is_open(account, upload, lease_ms_of(call)):
            raise RefusedError(_gone())
        advance = Advance(call, self._books, passage, terms, upload, wanted.reach)
        await advance.prepare()
        if wanted.named is not None:
            # From here on the upstream may know it: whoever hears of the last byte has to as well.
            upload = replace(upload, length=wanted.named, offset=None)
            await self._uploads.rows.learn(account, upload, lease_ms_of(call))
        async with self._uploads.unheard(account, upload.path):
            answer = await passage.forward(advance.cover if head.has_body else None)
        passage.quotas = await self._heed(call, terms, upload, answer) or passage.quotas
        return answer

    async def _ask(self, call: Call, passage: Passage) -> AnswerHead:
        upload = await self._uploads.find(call)
        if upload.state in (UploadState.STORED, UploadState.JOINED):
            return await passage.forward()
        terms = await self._uploads.terms(call, upload)
        is_open = await self._uploads.is_open(terms.account, upload, lease_ms_of(call))
        answer = await passage.forward()
        if not is_open and (upload.partial or _whole(upload, answer) is None):
            passage.transfer.abandon()
            raise RefusedError(_gone())
        passage.quotas = await self._heed(call, terms, upload, answer)
        return answer

    async def _heed(
        self, call: Call, terms: Terms, upload: Upload, answer: AnswerHead
    ) -> Sequence[Quota]:
        """What the upstream says of an upload that is not charged yet."""
        if answer.status in tus.GONE:
            await self._uploads.end(setting_of(call), terms, upload, Reason.GONE)
            return ()
        length = _whole(upload, answer)
        if length is not None and not upload.partial:
            return await self._uploads.complete(setting_of(call), terms, upload, length)
        if _is_success(answer):
            told = replace(upload, offset=tus.told(answer.headers).offset)
            if length is not None:
                told = replace(told, length=length, state=UploadState.WHOLE)
            await self._uploads.goes_on(call, told)
        return ()

    async def _terminate(self, call: Call, passage: Passage) -> AnswerHead:
        upload = await self._uploads.find(call)
        terms = await self._uploads.terms(call, upload)
        answer = await passage.forward()
        stored = upload.state is UploadState.STORED
        if settle.commits(call.entered.match.route, answer.status):
            await self._uploads.end(setting_of(call), terms, upload, Reason.TERMINATED)
        elif answer.status in tus.GONE and not stored:
            await self._uploads.end(setting_of(call), terms, upload, Reason.GONE)
        return answer

    async def _options(self, call: Call, passage: Passage) -> AnswerHead:
        answer = await passage.forward()
        terms = call.entered.terms
        if terms is None or not is_creation(call) or not _is_success(answer):
            return answer
        amounts = uploads.amounts_of(call.entered.match.route)
        snapshot = await self._books.ledger.snapshot(terms)
        most = uploads.most_of(amounts, snapshot.quotas, terms.plan.caps.file_bytes)
        said = tus.number(field(answer.headers, tus.MAX_SIZE.lower()))
        if most is not None and (said is None or most < said):
            passage.extra.append((tus.MAX_SIZE, b"%d" % most))
        return answer


def _is_success(answer: AnswerHead) -> bool:
    return 200 <= answer.status < 300


def _whole(upload: Upload, answer: AnswerHead) -> int | None:
    """The length of an upload that has all of its bytes by this answer."""
    told = tus.told(answer.headers)
    length = told.length if upload.length is None else upload.length
    whole = _is_success(answer) and length is not None and told.offset == length
    return length if whole else None


def _gone() -> Refusal:
    return Refusal(UPLOAD_GONE, "nothing is reserved for this upload any more: begin a new one")
