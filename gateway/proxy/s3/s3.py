"""S3: all of an S3 API behind one route; each request is what its method, path and query make it.

    read, put, delete, settings    as on plain routes, with what the operation reserves
    copy, delete many              the answer's XML says what was done
    multipart upload               one reservation that grows by part: s3_multipart

Each version of an object is an asset of its own: where a bucket keeps versions, neither a new one
nor a delete marker gives the bytes of those before it back.
"""

from gateway.admission import s3_lines, s3_operation
from gateway.admission.s3_names import NO_VERSION, Object
from gateway.admission.s3_operation import (
    AbortUpload,
    CompleteUpload,
    Control,
    Copy,
    CreateUpload,
    Delete,
    DeleteMany,
    Operation,
    Part,
    Put,
    Read,
)
from gateway.errors import Refusal
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError, passed
from gateway.proxy.forward import AssetOf, Forwarder
from gateway.proxy.gate import Gate
from gateway.proxy.recall import Recall
from gateway.proxy.s3.copies import Copies
from gateway.proxy.s3.deletes import Deletes
from gateway.proxy.s3.errand import about, bounded, header_of, unreserved, version_of
from gateway.proxy.s3.multipart import Multipart
from gateway.records.multipart_uploads import MultipartUploads
from gateway.records.rows import RedisClient


class S3:
    """Serves the requests of routes with protocol "s3"."""

    def __init__(self, gate: Gate, books: Books, client: RedisClient, recall: Recall) -> None:
        self._gate = gate
        self._books = books
        self._copies = Copies(gate, books, client)
        self._deletes = Deletes(gate, books)
        self._multipart = Multipart(gate, books, MultipartUploads(client), self._copies, recall)

    async def serve(self, call: Call) -> bool:
        route = call.entered.match.route
        operation = s3_operation.judge(call.entered.head, route.s3_domains)
        if isinstance(operation, Refusal):
            raise RefusedError(operation)
        if not s3_lines.storing(route).reserve:
            # Nothing that is stored counts here.
            return await self._uncounted(call, operation)
        return await self._serve(call, operation)

    async def _serve(self, call: Call, operation: Operation) -> bool:
        route = call.entered.match.route
        match operation:
            case Put(put):
                stored = about(call, s3_lines.storing(route), put.asset())
                return await self._forward(stored, lambda answer: put.asset(version_of(answer)))
            case Delete(gone):
                deleted = about(call, s3_lines.deleting(route), gone.asset())
                return await self._forward(deleted, lambda answer: _deleted(gone, answer))
            case Copy():
                return await self._copies.serve(call, operation)
            case DeleteMany():
                return await self._deletes.serve(call, operation)
            case CreateUpload() | Part() | CompleteUpload() | AbortUpload():
                return await self._multipart.serve(call, operation)
        return await self._uncounted(call, operation)

    async def _uncounted(self, call: Call, operation: Operation) -> bool:
        """What stores nothing, or where nothing that is stored counts."""
        match operation:
            case Read():
                return await self._forward(about(call, s3_lines.reading(call.entered.match.route)))
            case Control():
                bounded(call)
        return await self._forward(unreserved(call))

    async def _forward(self, call: Call, asset_of: AssetOf | None = None) -> bool:
        admitted = passed(await self._gate.admit(call.entered, call.exchange))
        return await Forwarder(self._books, call, admitted, asset_of).forward()


def _deleted(gone: Object, answer: AnswerHead) -> str | None:
    """The asset that is not there any more; None where only a marker was put before it."""
    marked = (header_of(answer, b"x-amz-delete-marker") or "").lower() == "true"
    if marked and gone.version is None and version_of(answer) != NO_VERSION:
        return None
    return gone.asset()
