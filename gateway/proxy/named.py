"""Named: one claimed request that its client gave a name, until it is known what became of it.

Its row helps repeats only: trouble with it never changes the answer to this request. A claim that
is neither answered nor given up ends by itself within a minute.
"""

import asyncio
import hashlib
import logging

from gateway.admission.head import Head
from gateway.admission.idempotency import compares_body, is_kept, kept_headers
from gateway.catalog.routes import Route
from gateway.errors import StoreError
from gateway.proxy.answer import Headers
from gateway.records.idempotency import Charge, Idempotency, StoredAnswer
from gateway.tasks import TaskSet

RETRIES_S = (0.1, 0.3, 1.0, 3.0, 10.0, 20.0)
"""How long to wait before each further attempt to store an answer. All within the time of a claim:
until then nobody else has the request carried out."""

Claimed = tuple[str, str, int]
"""Account, the client's name for the request, attempt."""

log = logging.getLogger(__name__)


class Named:
    """`route` is the one it took. `told`: what became of the request is decided. `in_doubt`: the
    upstream may have carried it out, so it must not be given up."""

    def __init__(
        self, rows: Idempotency, tasks: TaskSet, claimed: Claimed, head: Head, route: Route
    ) -> None:
        self._rows = rows
        self._tasks = tasks
        self._claimed = claimed
        self._timer: asyncio.TimerHandle | None = None
        self._body = hashlib.sha256()
        self._body_left = head.length if compares_body(head) else None
        self.route = route
        self.told = False
        self.in_doubt = False

    # -- the request's body -----------------------------------------------------------------------

    def saw(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._body_left is not None:
            self._body_left -= len(data)
            self._body.update(data)

    @property
    def looks_at_body(self) -> bool:
        """Whether it has to see the body."""
        return self._body_left is not None

    @property
    def body_print(self) -> str | None:
        """Of the whole body; None if not all of it was seen, or it is not to be compared."""
        return self._body.hexdigest() if self._body_left == 0 else None

    # -- what became of it ------------------------------------------------------------------------

    async def keep(
        self, status: int, headers: Headers, body: bytes | None, charge: Charge | None
    ) -> None:
        """A repeat is to get such an answer, unless it is of a kind that is not kept."""
        if not is_kept(self.route, status):
            await self.give_up()
            return
        texts = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        kept = kept_headers(texts, with_body=body is not None)
        await self.answered(StoredAnswer(status, kept, body, charge, self.body_print))

    async def answered(self, answer: StoredAnswer) -> None:
        """A repeat is to get this answer."""
        self._over()
        if not await self._store(answer):
            self._tasks.start(self._store_late(answer), name="store a named answer")

    async def doubted(self, reservation: str) -> tuple[str, int] | None:
        """Until this reservation is settled nobody carries the request out again. Returns its name
        and attempt for whoever settles it; None: the claim has ended. Raises StoreError."""
        self.in_doubt = True
        self._over()
        account, name, attempt = self._claimed
        held = await self._rows.doubt(account, name, attempt, reservation)
        return (name, attempt) if held else None

    async def give_up(self) -> None:
        """A repeat is to be carried out anew, unless this may have been."""
        if self.told or self.in_doubt:
            return
        self._over()
        try:
            await self._rows.give_up(*self._claimed)
        except StoreError as failure:
            log.warning("a claim could not be given up: %s", failure)

    async def _store(self, answer: StoredAnswer) -> bool:
        try:
            if not await self._rows.answered(*self._claimed, answer):
                log.warning("a claim had ended before its request was answered")
        except StoreError as failure:
            log.warning("an answer could not be kept for repeats: %s", failure)
            return False
        return True

    async def _store_late(self, answer: StoredAnswer) -> None:
        for wait_s in RETRIES_S:
            await asyncio.sleep(wait_s)
            if await self._store(answer):
                return

    # -- the claim --------------------------------------------------------------------------------

    def hold(self, pending_s: float) -> None:
        """Keep the claim while the request runs: every third of its time, until `let_go`."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(pending_s / 3, self._extend, pending_s)

    def let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _extend(self, pending_s: float) -> None:
        self.hold(pending_s)
        self._tasks.start(self._keep(round(pending_s * 1_000)), name="keep a claim")

    async def _keep(self, pending_ms: int) -> None:
        try:
            await self._rows.keep(*self._claimed, pending_ms=pending_ms)
        except StoreError as failure:
            log.warning("a claim could not be kept: %s", failure)

    def _over(self) -> None:
        self.told = True
        self.let_go()
