"""Deletes of many objects at once: the answer says which are gone, and each is taken off the books.

The request's XML is judged before it is sent: an upstream must not delete other keys than those
that were read here.
"""

import asyncio

from gateway.admission import s3_xml
from gateway.admission.s3_names import Object, spelt
from gateway.admission.s3_operation import DeleteMany
from gateway.admission.s3_xml import Named
from gateway.errors import Refusal
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError, passed
from gateway.proxy.gate import Gate
from gateway.proxy.s3.errand import Errand, terms_of, unreserved
from gateway.tasks import TaskSet, shielded

ABREAST = 32
"""Removals made together, in one write to the store."""


class Deletes:
    def __init__(self, gate: Gate, books: Books) -> None:
        self._gate = gate
        self._books = books
        self._tasks = TaskSet()

    async def serve(self, call: Call, operation: DeleteMany) -> bool:
        call = unreserved(call)
        admitted = passed(await self._gate.admit(call.entered, call.exchange))
        errand = Errand(self._books, call, admitted)
        body = await errand.take_body()
        asked = s3_xml.deletion(body)
        if isinstance(asked, Refusal):
            raise RefusedError(asked)
        try:
            answer = await errand.ask(body)
            if 200 <= answer.status < 300:
                gone = s3_xml.deleted(asked, await errand.told())
                removal = self._remove(call, [_asset(operation.bucket, each) for each in gone])
                await shielded(removal, self._tasks, name="delete objects")
        except BaseException:  # Also when cancelled: what is not heard to its end is broken off.
            errand.abandon()
            raise
        return await errand.relay()

    async def _remove(self, call: Call, assets: list[str]) -> None:
        for start in range(0, len(assets), ABREAST):
            batch = assets[start : start + ABREAST]
            await asyncio.gather(*(self._forget(call, asset) for asset in batch))

    async def _forget(self, call: Call, asset: str) -> None:
        terms, settler = terms_of(call), self._books.settler
        await settler.remove(terms, asset)
        if call.live.owners_matter:
            await settler.disown(terms, asset)


def _asset(bucket: str, named: Named) -> str:
    return Object(bucket, spelt(named.key.encode()), named.version).asset()
