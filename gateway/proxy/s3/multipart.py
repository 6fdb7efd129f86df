"""S3 multipart uploads: one reservation for each, that grows by part before the part is sent.

    create     reserve, with a lease of minutes → upstream → row → long lease → the client hears
    part       claim in the row → grow to the new total → long lease → upstream → landed, or not
    complete   upstream → the answer's body, whatever its status → commit the listed parts → row
    abort      upstream → release → row

Who dies after `reserve` leaves it to its lease; after the row, what is in the row goes on at any
gateway. A part that is denied is taken back out of the row; one that was sent and not answered
stays in it. An upload that nobody goes on with ends with its lease, which each part extends; should
it be completed after all, it is charged late. While it is not known how a completion ended, the
upload takes no parts and nobody gives its bytes back: one that was not answered is in doubt, and
the next one that finds the upload gone charges what was listed.
"""

import logging
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from gateway.admission import s3_lines, s3_xml, settle
from gateway.admission.aws_chunked import decoded_length
from gateway.admission.estimate import Estimate
from gateway.admission.s3_operation import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
    OfUpload,
    Part,
)
from gateway.admission.s3_xml import Ending
from gateway.catalog.routes import Route
from gateway.errors import (
    INTERNAL,
    LENGTH_REQUIRED,
    UNKNOWN_UPLOAD,
    UPLOAD_COMPLETE,
    UPSTREAM_MALFORMED,
    UPSTREAM_TIMEOUT,
    GatewayError,
    Refusal,
    StoreError,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Denied, Granted, Refused, Settled
from gateway.ledger.quota import Quota
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import DeniedError, RefusedError, kind_of, passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.recall import Recall
from gateway.proxy.s3.copies import Copies
from gateway.proxy.s3.errand import Errand, bounded, terms_of, unreserved, version_of
from gateway.records.doubts import DoubtKind
from gateway.records.multipart_uploads import Busy, Claim, MultipartUploads, Upload, UploadName
from gateway.tasks import TaskSet, shielded

T = TypeVar("T")

log = logging.getLogger(__name__)

OPENING_LEASE_MS = 60_000
"""What the upstream may take to name the upload, besides the time that it has to answer."""
COMPLETED = "CompleteMultipartUploadResult"
COPIED = "CopyPartResult"
NO_SUCH_UPLOAD = "NoSuchUpload"
_PASSED_ON = (502, 504)
"""What somebody between us and the store says when it has not been answered either."""


class Multipart:
    def __init__(
        self, gate: Gate, books: Books, rows: MultipartUploads, copies: Copies, recall: Recall
    ) -> None:
        self._gate = gate
        self._books = books
        self._rows = rows
        self._copies = copies
        self._recall = recall
        self._tasks = TaskSet()

    async def serve(self, call: Call, operation: CreateUpload | OfUpload) -> bool:
        match operation:
            case CreateUpload():
                bounded(call)
                return await self._create(call, operation)
            case Part():
                return await self._part(call, operation)
            case CompleteUpload():
                return await self._complete(call, operation)
            case AbortUpload():
                bounded(call)
                return await self._abort(call, operation)

    # -- create -----------------------------------------------------------------------------------

    async def _create(self, call: Call, operation: CreateUpload) -> bool:
        route, terms = call.entered.match.route, terms_of(call)
        answer_timeout_s = call.live.pools[route.upstream].upstream.answer_timeout_s
        call.exchange.lease_ms = OPENING_LEASE_MS + round(answer_timeout_s * 1_000)
        lasting = Lasting(Estimate(s3_lines.opening(route)))
        admitted = passed(await self._gate.admit(call.entered, call.exchange, lasting))
        reservation = call.exchange.reservation_id
        errand = Errand(self._books, unreserved(call), admitted)
        try:
            answer = await errand.ask()
            if 200 <= answer.status < 300:
                upload_id = s3_xml.upload_id(await errand.told())
                if upload_id is None:
                    raise GatewayError(UPSTREAM_MALFORMED, "the upstream named no upload")
                name = UploadName(terms.account, operation.object.asset(), upload_id)
                lease_ms = _lease_ms(route)
                await self._rows.open(
                    name, reservation, terms.key_id, terms.subject, lease_ms=lease_ms
                )
                if await self._books.ledger.extend(terms.account, [reservation], lease_ms):
                    raise GatewayError(UPSTREAM_TIMEOUT, "the upload was named too late")
            else:
                await self._release(terms, reservation, settle.Reason.STATUS)
        except BaseException as failure:
            # Also when the upstream may have opened it: nobody can go on with an unnamed upload.
            errand.abandon()
            await self._release(terms, reservation, settle.Reason(kind_of(failure)))
            raise
        return await errand.relay()

    # -- parts ------------------------------------------------------------------------------------

    async def _part(self, call: Call, operation: Part) -> bool:
        route, terms = call.entered.match.route, terms_of(call)
        if operation.source is None:
            size = _declared(call)
        else:
            bounded(call)
            size = await self._copies.size(call, operation.source)
        name = _name(terms, operation)
        passing = unreserved(call)
        admitted = passed(await self._gate.admit(passing.entered, call.exchange))
        claim = await self._rows.claim(name, operation.number, size, lease_ms=_lease_ms(route))
        if claim is None:
            raise RefusedError(_unknown())
        if isinstance(claim, Busy):
            raise RefusedError(Refusal(UPLOAD_COMPLETE, "the upload is being completed"))
        call.exchange.reservation_id = claim.reservation
        errand = Errand(self._books, passing, admitted)
        try:
            errand.quotas = await self._hold(call, claim)
            answer = await errand.ask()
            ending = Ending.DONE if 200 <= answer.status < 300 else Ending.FAILED
            if operation.source is not None:
                ending = await errand.ending(COPIED)
            gone = ending is Ending.FAILED and await _is_gone(errand)
        except BaseException as failure:
            # Also when cancelled: the part is broken off, and what it holds is settled.
            errand.abandon()
            facts = settle.Exchange(
                passing.entered.match.route, errand.sent_all, errand.status, kind_of(failure)
            )
            if isinstance(settle.decide(facts), settle.ReleaseIt):
                await self._to_the_end(self._landed(name, operation.number, None))
            raise
        match ending:
            case Ending.DONE:
                stored = size if operation.source is not None else errand.count.body
                await self._to_the_end(self._landed(name, operation.number, stored))
            case Ending.FAILED:
                await self._to_the_end(self._landed(name, operation.number, None))
        if gone:
            await self._to_the_end(self._end(call, name))
        return await errand.relay()

    async def _hold(self, call: Call, claim: Claim) -> Sequence[Quota]:
        """Room for all parts with this one, or none of it; raises what ends the request."""
        route = call.entered.match.route
        terms = await self._terms(call, claim)
        refusal = s3_lines.too_large(terms.plan, claim.total)
        if refusal is not None:
            raise RefusedError(refusal)
        ledger, reservation = self._books.ledger, claim.reservation
        quotas: Sequence[Quota] = ()
        lines = s3_lines.growth(route, claim.total)
        if lines:
            outcome = await ledger.grow(terms, reservation, lines)
            match outcome:
                case Denied():
                    raise DeniedError(outcome)
                case Refused():
                    raise RefusedError(_unknown())
            quotas = outcome.quotas
        if await ledger.extend(terms.account, [reservation], _lease_ms(route)):
            raise RefusedError(_unknown())
        return quotas

    async def _landed(self, name: UploadName, number: int, stored: int | None) -> None:
        """A store that is away just now leaves the part counted as what it may be."""
        try:
            await self._rows.land(name, number, stored)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)
            log.warning("part %d of an upload of %s stays claimed", number, name.account)

    # -- ends -------------------------------------------------------------------------------------

    async def _complete(self, call: Call, operation: CompleteUpload) -> bool:
        route, terms = call.entered.match.route, terms_of(call)
        name = _name(terms, operation)
        upload = await self._known(name)
        passing = unreserved(call)
        admitted = passed(await self._gate.admit(passing.entered, call.exchange))
        call.exchange.reservation_id = upload.reservation
        errand = Errand(self._books, passing, admitted)
        body = await errand.take_body()
        parts = s3_xml.listed_parts(body)
        if isinstance(parts, Refusal):
            raise RefusedError(parts)
        total = await self._rows.total(name, parts)
        before = await self._rows.completing(name, total, lease_ms=_lease_ms(route))
        ending, asset = Ending.UNKNOWN, name.asset
        try:
            answer = await errand.ask(body)
            asset = operation.object.asset(version_of(answer))
            ending = await errand.ending(COMPLETED)
            if answer.status in _PASSED_ON:
                ending = Ending.UNKNOWN
            elif ending is Ending.FAILED and before is not None and await _is_gone(errand):
                # By the request before this one, then.
                ending, total = Ending.DONE, before
        except BaseException:
            # Also when cancelled: the upstream may have completed it, and what is known is written.
            errand.abandon()
            if not errand.sent_all:
                ending = Ending.FAILED
            await self._to_the_end(self._completed(call, name, upload, ending, total, asset))
            raise
        completed = self._completed(call, name, upload, ending, total, asset)
        errand.quotas = await self._to_the_end(completed)
        return await errand.relay()

    async def _abort(self, call: Call, operation: AbortUpload) -> bool:
        name = _name(terms_of(call), operation)
        upload = await self._known(name)
        passing = unreserved(call)
        admitted = passed(await self._gate.admit(passing.entered, call.exchange))
        call.exchange.reservation_id = upload.reservation
        errand = Errand(self._books, passing, admitted)
        try:
            answer = await errand.ask()
            gone = await _is_gone(errand)
        except BaseException:  # Also when cancelled: what is not heard to its end is broken off.
            errand.abandon()
            raise
        if gone or 200 <= answer.status < 300:
            await self._to_the_end(self._end(call, name))
        return await errand.relay()

    async def _completed(
        self,
        call: Call,
        name: UploadName,
        upload: Upload,
        ending: Ending,
        total: int,
        asset: str,
    ) -> Sequence[Quota]:
        quotas: Sequence[Quota] = ()
        if upload.completed:
            return quotas  # It was charged then; this only tells the client again.
        terms = await self._terms(call, upload)
        amounts = s3_lines.of_object(call.entered.match.route, total)
        match ending:
            case Ending.DONE:
                quotas = await self._charge(call, terms, upload, amounts, asset)
                await self._note(self._rows.completed(name))
            case Ending.FAILED:
                await self._note(self._rows.not_completed(name))
            case Ending.UNKNOWN:
                match, named = call.entered.match, call.exchange.named
                held = Granted(upload.reservation, amounts, ())
                await self._books.doubts.open(
                    Unanswered(match, terms, held, asset, named, DoubtKind.COMPLETION)
                )
        return quotas

    async def _charge(
        self, call: Call, terms: Terms, upload: Upload, amounts: Mapping[str, int], asset: str
    ) -> Sequence[Quota]:
        """The parts have become an object. Also repeatedly, and after the lease."""
        settler = self._books.settler
        if call.live.owners_matter:
            await settler.own(terms, asset)
        outcome = await settler.commit(terms, upload.reservation, amounts, asset=asset)
        return outcome.quotas if isinstance(outcome, Settled) else ()

    async def _end(self, call: Call, name: UploadName) -> None:
        """The upstream does not know the upload any more."""
        upload = await self._rows.find(name)
        if upload is None or upload.completed or upload.completing:
            return
        await self._release(terms_of(call), upload.reservation, settle.Reason.GONE)
        await self._note(self._rows.forget(name))

    async def _note(self, writing: Awaitable[None]) -> None:
        """What is noted of an upload whose reservation is settled makes a repeat cheaper, no more;
        and one that is not, waits for its lease."""
        try:
            await writing
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Also when the request is stopped meanwhile."""
        return await shielded(work, self._tasks, name="multipart upload")

    # -- who and what -----------------------------------------------------------------------------

    async def _release(self, terms: Terms, reservation: str, reason: str) -> None:
        await self._books.settler.release(terms.account, reservation, reason=reason)

    async def _known(self, name: UploadName) -> Upload:
        upload = await self._rows.find(name)
        if upload is None:
            raise RefusedError(_unknown())
        return upload

    async def _terms(self, call: Call, opened: Upload | Claim) -> Terms:
        """Those the upload was opened by, whichever API key of its account asks now, and whomever
        this request names."""
        terms = terms_of(call)
        if (terms.key_id, terms.subject) == (opened.key_id, opened.subject):
            return terms
        recalled = await self._recall.terms(terms.account, opened.key_id, opened.subject)
        if recalled is None:
            raise RefusedError(Refusal(INTERNAL, "the account's plan is not configured"))
        return recalled


def _name(terms: Terms, operation: OfUpload) -> UploadName:
    return UploadName(terms.account, operation.object.asset(), operation.upload_id)


def _declared(call: Call) -> int:
    """The size of a part, by its head; raises RefusedError."""
    head = call.entered.head
    decoded = decoded_length(head, call.entered.match.route)
    if isinstance(decoded, Refusal):
        raise RefusedError(decoded)
    if decoded is not None:
        return decoded
    if head.chunked or head.length is None:
        raise RefusedError(Refusal(LENGTH_REQUIRED, "a part needs a Content-Length"))
    return head.length


async def _is_gone(errand: Errand) -> bool:
    return errand.status == 404 and s3_xml.error_code(await errand.told()) == NO_SUCH_UPLOAD


def _unknown() -> Refusal:
    return Refusal(UNKNOWN_UPLOAD, "there is no such upload, or it was abandoned for too long")


def _lease_ms(route: Route) -> int:
    return round(route.lease_s * 1_000)
