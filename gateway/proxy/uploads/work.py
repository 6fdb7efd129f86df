"""Upload work: everything about resumable uploads, also what goes on beside the requests."""

from collections.abc import Callable, Mapping

from gateway.catalog.routes import Protocol
from gateway.clock import ALONE, Turns
from gateway.proxy.call import Books, Server
from gateway.proxy.gate import Gate
from gateway.proxy.live import Live
from gateway.proxy.recall import Recall
from gateway.proxy.uploads.asker import UploadAsker
from gateway.proxy.uploads.books import UploadBooks
from gateway.proxy.uploads.resumable import Resumable
from gateway.proxy.uploads.tus import Tus
from gateway.records.rows import RedisClient
from gateway.records.uploads import Uploads


class UploadWork:
    def __init__(
        self, books: Books, client: RedisClient, recall: Recall, live: Callable[[], Live]
    ) -> None:
        self._books = books
        self._upload_books = UploadBooks(books, Uploads(client), recall)
        self.asker = UploadAsker(self._upload_books, recall, live)

    def servers(self, gate: Gate, plain: Server) -> Mapping[Protocol, Server]:
        """`plain` serves the uploads that do not ask to be resumable."""
        books, upload_books = self._books, self._upload_books
        return {
            Protocol.TUS: Tus(gate, books, upload_books),
            Protocol.RESUMABLE: Resumable(gate, books, upload_books, plain),
        }

    def start(self, turns: Turns = ALONE) -> None:
        self.asker.start(turns)

    async def stop(self) -> None:
        await self.asker.stop()
