"""Protocols: for each way a request and its reservation go together, who serves it."""

from collections.abc import Mapping

from gateway.catalog.routes import Protocol
from gateway.proxy.call import Books, Server
from gateway.proxy.document import Documents
from gateway.proxy.forward import Plain
from gateway.proxy.gate import Gate
from gateway.proxy.jobs.work import JobWork
from gateway.proxy.recall import Recall
from gateway.proxy.s3.s3 import S3
from gateway.proxy.uploads.books import UploadBooks
from gateway.proxy.uploads.resumable import Resumable
from gateway.proxy.uploads.tus import Tus
from gateway.records.rows import RedisClient
from gateway.records.uploads import Uploads


def protocols(
    gate: Gate, books: Books, client: RedisClient, recall: Recall, jobs: JobWork
) -> Mapping[Protocol, Server]:
    upload_books = UploadBooks(books, Uploads(client), recall)
    return {
        Protocol.PLAIN: Plain(gate, books),
        Protocol.DOCUMENT: Documents(gate, books),
        Protocol.S3: S3(gate, books, client, recall),
        Protocol.TUS: Tus(gate, books, upload_books),
        Protocol.RESUMABLE: Resumable(gate, books, upload_books, Plain(gate, books)),
        **jobs.servers(gate),
    }
