"""Asking: a small request of the gateway's own, and its whole answer in memory."""

from dataclasses import dataclass

from gateway.errors import UPSTREAM_FAILED, UpstreamError
from gateway.proxy.answer import Headers
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.wire import Fields

TOLD_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    target: str
    authority: bytes
    fields: Fields = ()
    body: bytes = b""

    def wire(self) -> bytes:
        lines = [
            b"%b %b HTTP/1.1\r\n" % (self.method.encode(), self.target.encode()),
            b"Host: %b\r\n" % self.authority,
            b"User-Agent: quota-gateway\r\n",
        ]
        lines += [b"%b: %b\r\n" % field for field in self.fields]
        if self.body or self.method == "POST":
            lines.append(b"Content-Length: %d\r\n" % len(self.body))
        return b"".join([*lines, b"\r\n", self.body])


@dataclass(frozen=True, slots=True)
class Told:
    """`length` is the Content-Length, of a body that HEAD leaves away, too."""

    status: int
    length: int | None
    body: bytes
    headers: Headers = ()


async def ask(
    connection: UpstreamConnection,
    question: Question,
    *,
    answer_timeout_s: float,
    whole: bool = True,
) -> Told:
    """Raises UpstreamError, also when the answer is longer than anything that could matter. Unless
    it is wanted `whole` only its head is. The connection is released or aborted."""
    try:
        connection.begin(question.method.encode())
        connection.send(question.wire())
        connection.end()
        answer = await connection.head(answer_timeout_s)
        body = b""
        if not (whole or answer.bodyless or answer.length == 0):
            connection.abort()
            return Told(answer.status, answer.length, body, answer.headers)
        while piece := await connection.read(answer_timeout_s):
            body += piece
            if len(body) > TOLD_BYTES_MAX:
                raise UpstreamError(UPSTREAM_FAILED, "an answer that is too long")
    except BaseException:  # Also when cancelled: with half an answer it is of no use again.
        connection.abort()
        raise
    connection.release()
    return Told(answer.status, answer.length, body, answer.headers)


async def ask_upstream(pool: UpstreamPool, question: Question, *, whole: bool = True) -> Told:
    """Ask a configured upstream, by a method that may be sent again when a kept connection turns
    out to be closed. Raises UpstreamError."""
    timeout_s = pool.upstream.answer_timeout_s
    while True:
        connection = await pool.connect()
        try:
            return await ask(connection, question, answer_timeout_s=timeout_s, whole=whole)
        except UpstreamError as failure:
            if not (failure.before_bytes and connection.reused):
                raise
