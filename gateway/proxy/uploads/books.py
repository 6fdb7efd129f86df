"""The books of resumable uploads: what every protocol does to their rows and reservations.

    created     row → long lease → the client hears of it
    gets bytes  offset unknown → lease → (growth →) bytes → offset, lease
    is whole    commit → row           again with every later answer that says so: it is idempotent
    is ended    release → row

Whatever breaks off between two steps is made good by the next request of the upload, at any
gateway; without one, the lease ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from gateway.admission import uploads
from gateway.admission.settle import Reason
from gateway.admission.uploads import Reach
from gateway.catalog.routes import Route
from gateway.clock import monotonic_s
from gateway.errors import (
    INTERNAL,
    UNKNOWN_UPLOAD,
    UPLOAD_GONE,
    ClientGoneError,
    Refusal,
    StoreError,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Denied, Refused, Settled
from gateway.ledger.quota import Quota
from gateway.ledger.reservation import State
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import CutError, DeniedError, RefusedError
from gateway.proxy.guard import Guard
from gateway.proxy.live import Live
from gateway.proxy.passage import Passage
from gateway.proxy.recall import Recall
from gateway.proxy.uploads.paths import path_of
from gateway.records.uploads import Upload, Uploads, UploadState
from gateway.tasks import TaskSet

RETRY_EXTEND_S = 1.0
ASK_MS = 15_000
"""A gateway that says nothing for so long while bytes go on has died of it."""
ASK_AFTER_MS = 2_000
"""An upstream that did not answer is given this long before it is asked."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an upload is settled by: the lease of its route, and whether assets have owners."""

    lease_ms: int
    owners_matter: bool

    @classmethod
    def of(cls, route: Route, live: Live) -> "Setting":
        return cls(round(route.lease_s * 1_000), live.owners_matter)


class UploadBooks:
    def __init__(self, books: Books, rows: Uploads, recall: Recall) -> None:
        self._books = books
        self.rows = rows
        self._recall = recall

    async def find(self, call: Call, *, begins: bool = False) -> Upload:
        """The upload that a request is about; `begins`: it brings bytes. One of another account is
        the same as none: both are refused alike. Raises RefusedError and StoreError."""
        account, path, asset = account_of(call), path_of(call), call.entered.match.asset
        read = self.rows.begin if begins else self.rows.find
        upload = await read(account, path)
        if upload is None and asset is not None and await self.rows.charged(account, asset):
            upload = Upload(path, "", {}, asset=asset, state=UploadState.STORED)
        if upload is None:
            raise RefusedError(Refusal(UNKNOWN_UPLOAD, UNKNOWN_UPLOAD.title))
        call.exchange.reservation_id = upload.reservation_id
        return upload

    async def terms(self, call: Call, upload: Upload) -> Terms:
        """The terms that an upload was created by, whichever key of its account asks now."""
        given = call.entered.terms
        assert given is not None, "an upload belongs to an account"
        if (given.key_id, given.subject) == (upload.key_id, upload.subject):
            return given
        terms = await self._recall.terms(given.account, upload.key_id, upload.subject)
        if terms is None:
            raise RefusedError(Refusal(INTERNAL, "the account's plan is not configured"))
        return terms

    async def keep(self, call: Call, guard: Guard, upload: Upload) -> None:
        """Let an upload that was just created outlive its request. The guard ends before the long
        lease begins: its heartbeat would make it short again. Raises StoreError, and
        ClientGoneError when nobody is there to go on with it."""
        account, lease_ms = account_of(call), lease_ms_of(call)
        await self.rows.record(account, upload, lease_ms)
        if call.arrival.client_gone:
            await guard.release(Reason.CLIENT_GONE)
            await self.rows.forget(account, [upload.path])
            raise ClientGoneError
        guard.leave_in_doubt()
        await self.is_open(account, upload, lease_ms)

    @asynccontextmanager
    async def unheard(self, account: str, path: str) -> AsyncIterator[None]:
        """Bytes go on inside. Should nobody hear what became of them, because this breaks off or
        the gateway dies, the upstream is asked: not before, since many break a request off that
        goes on when another one is about the same upload. Raises StoreError."""
        await self.rows.ask_in(account, path, ASK_MS)
        tasks = TaskSet()

        def go_on() -> None:
            tasks.start(self._go_on(account, path), name="an upload gets bytes")

        timer = asyncio.get_running_loop().call_later(ASK_MS / 3_000, go_on)
        try:
            yield
        except BaseException:  # Also when cancelled: nobody heard, so the upstream is asked soon.
            timer.cancel()
            await tasks.stop()
            with suppress(StoreError):
                await self.rows.ask_in(account, path, ASK_AFTER_MS)
            raise
        finally:
            timer.cancel()
            await tasks.stop()

    async def _go_on(self, account: str, path: str) -> None:
        while True:
            with suppress(StoreError):
                await self.rows.ask_in(account, path, ASK_MS)
            await asyncio.sleep(ASK_MS / 3_000)

    async def is_open(self, account: str, upload: Upload, lease_ms: int) -> bool:
        """Extend the lease; False: there is no open reservation any more. Raises StoreError."""
        gone = await self._books.ledger.extend(account, [upload.reservation_id], lease_ms)
        return not gone

    async def goes_on(self, call: Call, upload: Upload) -> None:
        """An answer has told of an upload that is not to be charged yet. A store that is away just
        now makes no difference: the lease was extended before the bytes, and offsets can be asked
        for again."""
        account, lease_ms = account_of(call), lease_ms_of(call)
        try:
            await self.rows.learn(account, upload, lease_ms)
            await self.is_open(account, upload, lease_ms)
        except StoreError as failure:
            self._books.metrics.store_error(failure.error)

    async def complete(
        self, at: Setting, terms: Terms, upload: Upload, length: int
    ) -> Sequence[Quota]:
        """All of its bytes are stored: charge them. Also repeatedly, and after its lease. Only
        then do partial uploads that it is made of give back what they hold: for a moment there is
        less room than there could be, never more."""
        settler, account = self._books.settler, terms.account
        if upload.asset is not None and at.owners_matter:
            await settler.own(terms, upload.asset)
        actual = {m: a for m, a in upload.actual(length).items() if m in terms.meters}
        outcome = await settler.commit(terms, upload.reservation_id, actual, asset=upload.asset)
        stored = replace(upload, length=length, offset=length, state=UploadState.STORED)
        if upload.path:
            with suppress(StoreError):
                await self.rows.record(account, stored, at.lease_ms)
        for path, name in upload.parts.items():
            await settler.release(account, name, reason=Reason.JOINED)
            with suppress(StoreError):
                await self.rows.mark(account, path, at.lease_ms, UploadState.JOINED)
        return outcome.quotas if isinstance(outcome, Settled) else ()

    async def end(self, at: Setting, terms: Terms, upload: Upload, reason: Reason) -> None:
        """It was called off, or is gone: give back what it holds, or what it was charged."""
        settler = self._books.settler
        stored = upload.state is UploadState.STORED
        if not stored:
            outcome = await settler.release(terms.account, upload.reservation_id, reason=reason)
            stored = isinstance(outcome, Refused) and outcome.state is State.COMMITTED
        if stored and upload.asset is not None:
            await settler.remove(terms, upload.asset)
            if at.owners_matter:
                await settler.disown(terms, upload.asset)
        with suppress(StoreError):
            await self.rows.forget(terms.account, [upload.path])


class Advance:
    """Lets the bytes of one request go on into an upload: not past its end, not ahead of what is
    reserved, and not without a lease."""

    def __init__(
        self,
        call: Call,
        books: Books,
        passage: Passage,
        terms: Terms,
        upload: Upload,
        reach: Reach,
    ) -> None:
        self._books = books
        self._passage = passage
        self._terms = terms
        self._upload = upload
        self._reach = reach
        self._lease_ms = lease_ms_of(call)
        self._step = call.entered.match.route.grow_step
        # What was declared was admitted then: a plan that is lowered later lets it end.
        self._cap = terms.plan.caps.file_bytes if upload.length is None else None
        self._held = 0 if upload.length is None else upload.length
        self._extend_at_s = monotonic_s() + self._lease_ms / 3_000

    @property
    def total(self) -> int:
        """How long the upload is with all that was forwarded."""
        return self._reach.offset + self._passage.count.body

    async def prepare(self) -> None:
        """Before anything goes out: hold all that is known to come. Raises DeniedError, CutError,
        RefusedError and StoreError."""
        known = self._reach.end if self._reach.length is None else self._reach.length
        if known is not None:
            await self._hold(known, 0)

    async def cover(self, in_hand: int) -> None:
        refusal = uploads.overrun(self._reach, self.total, self._cap)
        if refusal is not None:
            raise CutError(refusal)
        await self._hold(self.total, self._step)
        now_s = monotonic_s()
        if now_s >= self._extend_at_s:
            self._extend_at_s = now_s + RETRY_EXTEND_S
            with suppress(StoreError):
                ids = [self._upload.reservation_id]
                await self._books.ledger.extend(self._terms.account, ids, self._lease_ms)
                self._extend_at_s = now_s + self._lease_ms / 3_000

    async def _hold(self, total: int, ahead: int) -> None:
        if total <= self._held:
            return
        refusal = uploads.overrun(Reach(0, None, None), total, self._cap)
        if refusal is not None:
            raise CutError(refusal)
        lines = uploads.growth(self._upload.amounts, total, ahead, self._cap)
        outcome = await self._books.ledger.grow(self._terms, self._upload.reservation_id, lines)
        match outcome:
            case Denied():
                raise DeniedError(outcome)
            case Refused():
                raise RefusedError(Refusal(UPLOAD_GONE, "the upload's reservation has ended"))
        self._passage.quotas = outcome.quotas
        self._held = min((outcome.amounts[line.meter] for line in lines), default=total)


def account_of(call: Call) -> str:
    assert call.entered.terms is not None, "an upload belongs to an account"
    return call.entered.terms.account


def setting_of(call: Call) -> Setting:
    return Setting.of(call.entered.match.route, call.live)


def lease_ms_of(call: Call) -> int:
    return round(call.entered.match.route.lease_s * 1_000)
