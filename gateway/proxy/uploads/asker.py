"""Asker: asks upstreams about uploads that got bytes of which nobody heard what became.

    claim what is due → HEAD → whole: commit; gone: release; unfinished: the client's business
                               no word: ask again, as long as the upload's lease would have lasted

Every gateway takes part; what one has claimed is not due for the others. An upload whose offset is
known by its turn is not asked about, nor one that gets bytes just now. An upload that turns out to
be whole after its lease is charged late. Nothing here extends a lease.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from gateway.admission import resumable, tus
from gateway.admission.settle import Reason
from gateway.admission.uploads import Fate
from gateway.catalog.routes import Protocol, Route
from gateway.clock import ALONE, Turns
from gateway.errors import GatewayError, StoreError, UpstreamError
from gateway.proxy.asking import Question, Told, ask_upstream
from gateway.proxy.live import Live
from gateway.proxy.recall import Recall
from gateway.proxy.uploads.books import Setting, UploadBooks
from gateway.records.uploads import Upload, UploadState
from gateway.tasks import TaskSet

ROUND_S = 1.0
ABREAST = 8
CLAIM_MS = 30_000
"""More than a question takes at most."""
QUESTION_S = 10.0
AGAIN_LEAST_MS = 2_000
AGAIN_MOST_MS = 600_000
"""Between two questions that were not answered."""

log = logging.getLogger(__name__)


class UploadAsker:
    def __init__(self, books: UploadBooks, recall: Recall, live: Callable[[], Live]) -> None:
        self._uploads = books
        self._recall = recall
        self._live = live
        self._tasks = TaskSet()

    def start(self, turns: Turns = ALONE) -> None:
        self._tasks.start(self._run(turns), name="asker about uploads")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def round(self) -> int:
        """Ask about what is due; how many that was. Raises StoreError."""
        now_ms, due = await self._uploads.rows.due(ABREAST, claim_ms=CLAIM_MS)
        looks = (self._look(account, path, now_ms) for account, path in due)
        for failure in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(failure, GatewayError):
                log.warning("an upload could not be asked about: %s", failure)
            elif isinstance(failure, BaseException):
                raise failure
        return len(due)

    async def _look(self, account: str, path: str, now_ms: int) -> None:
        rows, turn_ms = self._uploads.rows, now_ms + CLAIM_MS
        upload = await rows.find(account, path)
        again_ms = None
        if upload is not None and upload.state is UploadState.OPEN and upload.offset is None:
            again_ms = await self._find_out(account, upload, now_ms)
        await rows.ask_again(account, path, turn_ms, again_ms)

    async def _find_out(self, account: str, upload: Upload, now_ms: int) -> int | None:
        """When to ask again; None: never."""
        live = self._live()
        route = next((r for r in live.catalog.routes if r.name == upload.route), None)
        terms = await self._recall.terms(account, upload.key_id, upload.subject)
        if route is None or terms is None:
            log.error("the upload %s is not known to be whole, and its route is gone", upload.path)
            return None
        setting = Setting.of(route, live)
        match await self._standing(live, route, upload):
            case int(length) if upload.partial:
                whole = replace(upload, length=length, offset=length, state=UploadState.WHOLE)
                await self._uploads.rows.learn(account, whole, setting.lease_ms)
            case int(length):
                log.info("the upload %s is whole, by the upstream's word", upload.path)
                await self._uploads.complete(setting, terms, upload, length)
            case Fate.GONE:
                await self._uploads.end(setting, terms, upload, Reason.GONE)
            case Fate.UNCLEAR:
                asked_ms = now_ms - await self._uploads.rows.asked(account, upload.path, now_ms)
                if asked_ms < setting.lease_ms:
                    return min(max(AGAIN_LEAST_MS, asked_ms), AGAIN_MOST_MS)
                log.warning("nobody tells whether the upload %s is whole", upload.path)
        return None

    async def _standing(self, live: Live, route: Route, upload: Upload) -> int | Fate:
        speaks_tus = route.protocol is Protocol.TUS
        fields = [(n.encode(), v.encode()) for n, v in route.probe_headers.items()]
        if speaks_tus:
            fields.append((b"Tus-Resumable", tus.VERSION))
        elif upload.interop:
            fields.append((resumable.INTEROP, upload.interop.encode("latin-1")))
        told = await _asked(live, route, upload, fields)
        if told is None:
            return Fate.UNCLEAR
        standing = tus.standing if speaks_tus else resumable.standing
        return standing(upload.length, told.status, told.headers)

    async def _run(self, turns: Turns) -> None:
        while True:
            await asyncio.sleep(turns.wait_s(ROUND_S))
            try:
                while await self.round() == ABREAST:
                    pass
            except StoreError as failure:
                log.warning("uploads could not be asked about: %s", failure)


async def _asked(
    live: Live, route: Route, upload: Upload, fields: list[tuple[bytes, bytes]]
) -> Told | None:
    pool = live.pools[route.upstream]
    question = Question("HEAD", upload.target, pool.address.authority, fields)
    try:
        async with asyncio.timeout(QUESTION_S):
            return await ask_upstream(pool, question)
    except (UpstreamError, TimeoutError) as failure:
        log.info("a question about an upload was not answered: %s", failure)
        return None
