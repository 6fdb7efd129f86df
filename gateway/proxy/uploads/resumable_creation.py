"""Creation of a resumable upload of the IETF: an upload that may break off and be gone on with.

    reserve → forward ─ 104, Location ─▶ row, long lease → 104 to the client
                      ─ 2xx ───────────▶ complete: commit; else row, long lease → Location

Until its upstream says where it can be resumed, it is an upload like any other, and settled like
one: also when the upstream knows nothing of all this and just stores what it got. A 104 goes to the
client only once the row is written. What breaks off after that stays open.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from gateway.admission import resumable, settle, uploads
from gateway.admission.resumable import Opening
from gateway.admission.routing import Match, canonical
from gateway.admission.settle import Reason
from gateway.errors import UPSTREAM_MALFORMED, ClientGoneError, Refusal, StoreError, UpstreamError
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Granted, Settled
from gateway.ledger.quota import Quota
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.doubts import Unanswered
from gateway.proxy.endings import RefusedError, kind_of, passed
from gateway.proxy.gate import Gate, Lasting
from gateway.proxy.guard import Guard
from gateway.proxy.passage import Passage
from gateway.proxy.uploads.books import Advance, UploadBooks, lease_ms_of, setting_of
from gateway.proxy.uploads.paths import field, placed
from gateway.proxy.wire import Fields
from gateway.records.uploads import Upload
from gateway.tasks import TaskSet

RESUMPTION_SUPPORTED = 104
_WORTH_REPEATING = frozenset({408, 409, 423, 425, 429})
"""Statuses below 500 after which a client may well go on."""

log = logging.getLogger(__name__)


class ResumableCreation:
    """One creation; made for it, used once. `_upload` is known once it can be resumed: from then on
    no guard watches over its reservation."""

    def __init__(
        self, gate: Gate, books: Books, upload_books: UploadBooks, call: Call, wanted: Opening
    ) -> None:
        self._gate = gate
        self._books = books
        self._uploads = upload_books
        self._call = call
        self._wanted = wanted
        self._tasks = TaskSet()
        self._upload: Upload | None = None
        assert call.entered.terms is not None, "a route of uploads charges somebody"
        self._terms: Terms = call.entered.terms
        self._created = Upload(
            path="",
            reservation_id=call.exchange.reservation_id,
            amounts=uploads.amounts_of(call.entered.match.route),
            key_id=self._terms.key_id,
            subject=self._terms.subject,
            length=wanted.length,
            asset=call.entered.match.asset,
        )

    async def create(self) -> bool:
        books, call = self._books, self._call
        self._granted = granted = await self._admit()
        self._passage = passage = Passage(books, call, granted.rate)
        passage.quotas = granted.quotas
        passage.transfer.on_interim = self._interim
        reservation = self._created.reservation_id
        guard = Guard(books.settler, books.heartbeat, self._terms, reservation)
        async with AsyncExitStack() as self._unheard, guard as self._guard:
            try:
                answer = await self._forward()
            except BaseException as failure:
                # Also when cancelled: what was set aside is free again, or known to be in doubt.
                await self._broken_off(failure)
                raise
            await self._announced()
            await self._answered(answer)
        return await passage.relay(answer)

    async def _admit(self) -> Granted:
        entered, plan = self._call.entered, self._terms.plan
        sized = uploads.estimate(
            self._created.amounts,
            plan,
            self._wanted.length,
            step=entered.match.route.grow_step,
        )
        if isinstance(sized, Refusal):
            limits = {resumable.LIMIT.decode(): f"max-size={plan.caps.file_bytes}"}
            raise RefusedError(replace(sized, headers=limits))
        admitted = passed(await self._gate.admit(entered, self._call.exchange, Lasting(sized)))
        assert admitted.granted is not None, "a route that creates uploads reserves"
        return admitted.granted

    async def _forward(self) -> AnswerHead:
        head = self._call.entered.head
        if not head.has_body:
            return await self._passage.forward()
        reach = uploads.Reach(0, None if head.chunked else head.length, self._created.length)
        advance = Advance(self._call, self._books, self._passage, self._terms, self._created, reach)
        await advance.prepare()
        return await self._passage.forward(advance.cover)

    # -- what comes before the answer -------------------------------------------------------------

    def _interim(self, status: int, headers: Fields) -> None:
        transfer, location = self._passage.transfer, field(headers, b"location")
        if status != RESUMPTION_SUPPORTED or (location is None and not len(self._tasks)):
            transfer.inform(status, tuple(headers))
            return
        place = None if location is None else placed(self._call, location)
        if place is None:
            if location is not None:
                self._complain()
        elif self._upload is None and not len(self._tasks):
            self._tasks.start(self._announce(place, headers), name="announce an upload")

    async def _announce(self, place: tuple[str, Match], headers: Fields) -> None:
        """Let it outlive its request, then let the client know. A store that is away just now
        makes it an upload that cannot be resumed."""
        target = place[0]
        account, lease_ms = self._terms.account, lease_ms_of(self._call)
        upload = self._placed(place)
        try:
            await self._uploads.rows.record(account, upload, lease_ms)
            await self._unheard.enter_async_context(self._uploads.unheard(account, upload.path))
            self._guard.leave_in_doubt()
            self._upload = upload
            await self._uploads.is_open(account, upload, lease_ms)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)
        if self._upload is None:
            return
        told = {b"location": (b"Location", target.encode())}
        limits = self._limits(headers)
        if limits is not None:
            told[resumable.LIMIT.lower()] = (resumable.LIMIT, limits)
        others = [one for one in headers if one[0].lower() not in told]
        with suppress(ClientGoneError):
            self._passage.transfer.inform(RESUMPTION_SUPPORTED, (*others, *told.values()))

    def _placed(self, place: tuple[str, Match]) -> Upload:
        target, match = place
        interop = self._call.entered.head.get(resumable.INTEROP.lower()) or b""
        return replace(
            self._created,
            path=canonical(target.partition("?")[0]),
            route=match.route.name,
            target=match.upstream_target,
            interop=interop.decode("latin-1"),
        )

    async def _announced(self) -> None:
        """Wait for an announcement under way: what it leads to depends on it."""
        try:
            await self._tasks.join()
        except asyncio.CancelledError:
            await self._tasks.stop()
            raise

    async def _broken_off(self, failure: BaseException) -> None:
        await self._announced()
        if self._upload is not None:
            return
        match, sent_all = self._call.entered.match, self._passage.transfer.sent_all
        facts = settle.Exchange(match.route, sent_all, failure=kind_of(failure))
        match settle.decide(facts):
            case settle.ReleaseIt(reason):
                await self._guard.release(reason)
            case _:
                self._guard.leave_in_doubt()
                named = self._call.exchange.named
                await self._books.doubts.open(
                    Unanswered(match, self._terms, self._granted, match.asset, named)
                )

    # -- what the answer means --------------------------------------------------------------------

    async def _answered(self, answer: AnswerHead) -> None:
        told = resumable.told(answer.headers)
        if not 200 <= answer.status < 300:
            await self._refused(answer.status, complete=bool(told.complete))
        elif self._wanted.complete and told.complete is not False:
            await self._complete()
            self._relocate(answer)
        else:
            await self._begun(answer, told.offset)
        limits = self._limits(answer.headers)
        if limits is not None and 200 <= answer.status < 300:
            self._passage.extra.append((resumable.LIMIT, limits))

    async def _refused(self, status: int, *, complete: bool) -> None:
        final = complete or (400 <= status < 500 and status not in _WORTH_REPEATING)
        if self._upload is None:
            await self._guard.release(Reason.STATUS)
        elif final:
            await self._uploads.end(
                setting_of(self._call), self._terms, self._upload, Reason.STATUS
            )

    async def _complete(self) -> None:
        """The upload is over with the request that began it."""
        counted = self._passage.count.body
        if self._upload is None:
            self._guard.leave_in_doubt()
        self._passage.quotas = await self._uploads.complete(
            setting_of(self._call), self._terms, self._upload or self._created, counted
        )

    async def _begun(self, answer: AnswerHead, offset: int | None) -> None:
        """More is to come, to where the answer or a 104 before it says."""
        location = field(answer.headers, b"location")
        place = None if location is None else placed(self._call, location)
        if offset is None and self._passage.transfer.sent_all:
            offset = self._passage.count.body
        if self._upload is not None:
            self._relocate(answer)
            await self._uploads.goes_on(self._call, replace(self._upload, offset=offset))
        elif place is not None:
            self._relocate(answer)
            upload = replace(self._placed(place), offset=offset)
            await self._uploads.keep(self._call, self._guard, upload)
        elif location is None:
            # It knows nothing of resumption: what it was sent is what it has stored.
            self._passage.quotas = await self._charge()
        else:
            await self._charge()
            self._complain()
            self._passage.transfer.abandon()
            raise UpstreamError(
                UPSTREAM_MALFORMED, "the Location of an upload leads past the gateway"
            )

    async def _charge(self) -> Sequence[Quota]:
        actual = self._created.actual(self._passage.count.body)
        outcome = await self._guard.commit(actual, asset=self._created.asset)
        return outcome.quotas if isinstance(outcome, Settled) else ()

    # -- what the client is told ------------------------------------------------------------------

    def _relocate(self, answer: AnswerHead) -> None:
        """Name an upload by where the gateway serves it; other Locations are none of ours."""
        location = field(answer.headers, b"location")
        place = None if location is None else placed(self._call, location)
        if place is not None:
            self._passage.extra.append((b"Location", place[0].encode()))

    def _limits(self, headers: Fields) -> bytes | None:
        """What the upstream allows, and at most what there was room for besides what it has."""
        amounts, granted = self._created.amounts, self._granted
        own = min(granted.amounts[m] for m, amount in amounts.items() if isinstance(amount, str))
        most = uploads.most_of(amounts, granted.quotas, self._terms.plan.caps.file_bytes, own)
        return resumable.limited(field(headers, resumable.LIMIT.lower()), most)

    def _complain(self) -> None:
        log.error(
            "route %s: the upstream's Location leads to no route of uploads",
            self._call.entered.match.route.name,
        )
