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
from gateway.proxy.uploads.work import UploadWork
from gateway.records.rows import RedisClient


def protocols(
    gate: Gate,
    books: Books,
    client: RedisClient,
    recall: Recall,
    jobs: JobWork,
    uploads: UploadWork,
) -> Mapping[Protocol, Server]:
    plain = Plain(gate, books)
    return {
        Protocol.PLAIN: plain,
        Protocol.DOCUMENT: Documents(gate, books),
        Protocol.S3: S3(gate, books, client, recall),
        **uploads.servers(gate, plain),
        **jobs.servers(gate),
    }
