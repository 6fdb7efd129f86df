"""Transfer: moves one request to the upstream and its answer back, byte for byte.

It counts and reports; it neither decides nor settles. Every piece of a body passes `cover` before
it is forwarded: whatever follows the bytes (a reservation that grows, a cap) can stop them there.
"""

from collections.abc import Awaitable
from functools import partial

from aiohttp import web

from gateway.admission.head import Head
from gateway.admission.measure import BodyCount
from gateway.admission.settle import commits
from gateway.clock import monotonic_s
from gateway.errors import BAD_FRAMING, ClientGoneError, GatewayError, UpstreamError
from gateway.proxy import wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.bulk import ANSWERED, BULK_BYTES_MIN, Bulk
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange
from gateway.proxy.followers import Cover, covered
from gateway.proxy.named import Named
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream import UpstreamConnection
from gateway.records.idempotency import Charge
from gateway.tasks import Interrupt, StoppedError

REPORT_BYTES_MAX = 64 * 1024
"""The most of an upstream's answer that is looked at for the size it stored."""
OVERHEARD_MAX = BULK_BYTES_MIN
"""The most of an answer that is looked at for what it tells of subjects; more passes by unread."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again when a kept connection turns out to be closed (RFC 9110 9.2.2)."""


class Transfer:
    """`sent_all` is one of the facts a settlement is decided on: the last byte has gone out."""

    def __init__(
        self, arrival: Arrival, exchange: Exchange, head: Head, pool: UpstreamPool, count: BodyCount
    ) -> None:
        self._arrival = arrival
        self._exchange = exchange
        self._head = head
        self._pool = pool
        self._count = count
        self._bulk = Bulk(arrival, exchange, count)
        self._request_head = b""
        """As long as it may have to be sent: a body that comes slowly is not to keep it."""
        self._continued = False
        self._began = False
        self._ahead = b""
        self._heard: bytes | None = None
        self._in_hand: bytes | None = None
        self._sent_on: UpstreamConnection | None = None
        self._ended: Exception | None = None
        self.on_interim = self.inform
        """Hears of every 1xx answer but 100 and 101; passes it on, unless another is put here."""
        self.overheard: bytearray | None = None
        """What of the answer's body has passed, for who put something here to hear a short one."""
        self.connection: UpstreamConnection | None = None
        self.sent_all = False
        self.repeated = False
        """The whole request went out before, on a connection that ended without a word."""

    def go_on(self, body: bytes, sent_on: UpstreamConnection | None) -> None:
        """The whole body has been taken; and `sent_on` a connection the whole request, too."""
        self._count.feed(body)
        self._exchange.body_bytes = len(body)
        self._in_hand = body or None
        self._sent_on = sent_on

    def go_on_behind(
        self, passed: int, sent_on: UpstreamConnection | None, ended: Exception | None
    ) -> None:
        """So much of the body has passed by over `sent_on`, and no more of it will; `ended`: by
        what that was broken off, if not by an answer. Without `sent_on` there is such a cause."""
        self._count.pass_by(passed)
        self._exchange.body_bytes = passed
        self._sent_on = self.connection = sent_on
        self._ended = ended
        self._began = True

    async def take_body(self, most: int) -> bytes | None:
        """All of the request's body, to be judged before anything is sent; None if it is longer
        than `most`. Raises ClientGoneError and GatewayError."""
        self._invite()
        pieces: list[bytes] = []
        try:
            while data := await self._read():
                self._exchange.body_bytes += len(data)
                self._exchange.last_body_s = monotonic_s()
                pieces.append(data)
                if self._exchange.body_bytes > most:
                    return None
        finally:
            self._exchange.received()
        return b"".join(pieces)

    def request(
        self, request_head: bytes, cover: Cover | None, *, body: bytes | None = None
    ) -> Awaitable[AnswerHead]:
        """Send the request and wait for the head of the answer. `body`: instead of the client's,
        which has been taken.

        Raises UpstreamError, ClientGoneError, GatewayError (the body's framing broke) and what
        `cover` raises. A request without a body that meets a connection the upstream has just
        closed is sent again on another.
        """
        self._request_head = request_head
        named = self._exchange.named
        body = self._in_hand if body is None else body
        if named is None:
            return self._request(cover, body)
        return self._request_named(named, cover, body)

    async def _request_named(
        self, named: Named, cover: Cover | None, body: bytes | None
    ) -> AnswerHead:
        try:
            answer = await self._request(cover, body)
        except BaseException:  # Also when cancelled: a repeat must not be sent what may be done.
            named.in_doubt = self.sent_all
            raise
        named.in_doubt = self.repeated or commits(named.route, answer.status)
        return answer

    async def _request(self, cover: Cover | None, body: bytes | None) -> AnswerHead:
        if self._ended is not None:
            raise self._ended
        again = False  # One that ends every connection is not to end all that are kept.
        while True:
            connection = self._sent_on or await self._pool.connect(fresh=again)
            self.connection = connection
            try:
                if self._sent_on is not None:
                    await self._resume(connection)
                else:
                    await self._begin(connection, cover, body)
                return await connection.head(self._pool.upstream.answer_timeout_s)
            except UpstreamError as failure:
                self.abandon()
                if not (failure.before_bytes and connection.reused and self._repeatable):
                    raise
                self.repeated, again = self.sent_all, True

    async def _resume(self, connection: UpstreamConnection) -> None:
        """The request has been sent by others."""
        self._sent_on = None
        self._began = self._began or self._in_hand is not None
        self.sent_all = self._left == 0
        connection.on_informational = self.on_interim
        await connection.drain(self._pool.upstream.idle_timeout_s)

    def _begin(
        self, connection: UpstreamConnection, cover: Cover | None, body: bytes | None
    ) -> Awaitable[None]:
        connection.begin(self._head.method.encode(), upgrade=self._head.upgrade is not None)
        connection.on_informational = self.on_interim
        if body is None:
            return self._send(connection, cover)
        return self._send_taken(connection, self._request_head + body)

    async def hear(self, answer: AnswerHead) -> None:
        """Read what is kept of the answer for repeats of a named request, before it is relayed."""
        named = self._exchange.named
        if named is None or named.told or self._exchange.answering:
            return
        if answer.bodyless:
            self._heard = b""
        elif not answer.live:
            self._heard = await self.read_ahead(answer, REPORT_BYTES_MAX, self._taken())

    @property
    def heard_all(self) -> bool:
        return self._heard is not None

    async def remember(
        self, answer: AnswerHead, charge: Charge | None, said: bytes | None = None
    ) -> None:
        """Keep the answer for repeats of a named request, once, with what was heard of its body.
        `said`: the head that its client gets, where its fields are not the upstream's."""
        named = self._exchange.named
        if named is not None and not named.told:
            headers = answer.headers if said is None else wire.fields_of(said)
            await named.keep(answer.status, headers, self._heard, charge)

    async def relay(
        self, answer_head: bytes, answer: AnswerHead, cover: Cover | None, *, charged: bool = False
    ) -> None:
        """Write the answer to the client as it comes; raises UpstreamError when it breaks off.
        `charged`: its delivery is; then whoever charges it remembers it."""
        connection = self.connection
        assert connection is not None
        if not charged and self._exchange.named is not None:
            await self.hear(answer)
            await self.remember(answer, None, answer_head)
        chunked = wire.is_chunked_to_client(answer, self._head.version)
        timeout_s = self._pool.upstream.idle_timeout_s
        bulk, first = self._bulk, b""
        if cover is None and connection.left < BULK_BYTES_MIN:
            first = self._taken() or connection.at_hand()
        if first:  # Together: a write costs as much as all else that is done for it.
            await self.pass_on(first, chunked=chunked, behind=self._begun(answer_head, answer))
        else:
            self.begin_answer(answer_head, answer)
        if connection.left >= BULK_BYTES_MIN:
            begun = partial(self._pass_on_begun, chunked=chunked)
            await bulk.deliver(connection, begun, cover, timeout_s)
        while data := self._taken() or await connection.read(timeout_s):
            if cover is not None:
                await cover(len(data))
            await self.pass_on(data, chunked=chunked)
            long = self._exchange.answer_bytes > BULK_BYTES_MIN
            if long and bulk.lends and connection.chunks is not None:
                begun = partial(self._pass_on_begun, chunked=chunked)
                await bulk.deliver_chunks(connection, begun, cover, timeout_s, chunked=chunked)
        if chunked:
            self._arrival.write(wire.last_chunk(connection.trailers))
        self.finish()

    def begin_answer(self, answer_head: bytes, answer: AnswerHead) -> None:
        """Write its head, unless that is written already."""
        if not self._exchange.answering:
            self._arrival.write(self._begun(answer_head, answer))

    def _begun(self, answer_head: bytes, answer: AnswerHead) -> bytes:
        """What is to be written of it now."""
        if self._exchange.answering:
            return b""
        self._exchange.status, self._exchange.answering = answer.status, True
        return answer_head

    async def pass_on(self, data: bytes, *, chunked: bool, behind: bytes = b"") -> None:
        """Write a piece of the answer's body, `behind` what is written with it."""
        arrival, exchange = self._arrival, self._exchange
        piece = wire.chunk(data) if chunked else data
        arrival.write(*((behind, piece) if behind else (piece,)))
        exchange.answer_bytes += len(data)
        if self.overheard is not None and exchange.answer_bytes <= OVERHEARD_MAX:
            self.overheard += data
        if arrival.congested:
            exchange.stalls(monotonic_s(), arrival.unsent)
            await arrival.drain()
            exchange.flows()

    async def _pass_on_begun(self, cover: Cover | None, *, chunked: bool) -> None:
        """What of the body has been read, before the rest passes by."""
        assert self.connection is not None
        if data := self._taken() + self.connection.taken():
            if cover is not None:
                await cover(len(data))
            await self.pass_on(data, chunked=chunked)

    async def read_ahead(self, answer: AnswerHead, most: int, begun: bytes = b"") -> bytes | None:
        """All of the answer's body, before it is relayed; None if it has none or is longer than
        `most`. As much of it as was read is kept for `relay`. `begun`: what was read before."""
        connection = self.connection
        assert connection is not None
        self._ahead = begun
        if answer.bodyless or (answer.length or 0) > most:
            return None
        pieces, size, whole = [begun], len(begun), False
        while size <= most and not whole:
            piece = await connection.read(self._pool.upstream.idle_timeout_s)
            pieces.append(piece)
            size += len(piece)
            whole = not piece
        self._ahead = b"".join(pieces)
        return self._ahead if whole else None

    def finish(self) -> None:
        """The answer is over: the connection goes back to its pool."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def abandon(self) -> None:
        """Break off towards the upstream, in a way it cannot take for a proper end."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()

    def _taken(self) -> bytes:
        """What of the answer was read before it is relayed."""
        ahead, self._ahead = self._ahead, b""
        return ahead

    @property
    def _repeatable(self) -> bool:
        """Nothing of a body has been taken, and with none of it not even the head has gone out."""
        return not self._began and (self._head.has_body or self._head.method in IDEMPOTENT)

    async def _send(self, connection: UpstreamConnection, cover: Cover | None) -> None:
        if not self._head.has_body:
            connection.send(self._request_head)
            connection.end()
            self.sent_all = True
            return
        self._invite()
        idle_s = self._pool.upstream.idle_timeout_s
        try:
            if cover is None and not self._head.chunked and self._arrival.content.is_eof():
                await self._pump(connection, cover)  # It goes out at once: nothing is waited for.
                return
            early = Interrupt()
            connection.on_answer = partial(early.stop, ANSWERED)
            with early:
                while await self._pump(connection, cover):
                    if self._head.chunked:
                        await self._bulk.send_chunks(connection, cover, idle_s)
                    else:
                        await self._bulk.send(connection, self._left, cover, idle_s)
        except StoppedError:
            pass  # The upstream has answered before the body's end: what it says decides.
        finally:
            connection.on_answer = None
            self._exchange.received()

    def _invite(self) -> None:
        """Let the client send its body."""
        if self._head.expects_continue and not self._continued:
            self._continued = True
            self._arrival.write(wire.CONTINUE)
        self._exchange.receives(monotonic_s())

    async def _send_taken(self, connection: UpstreamConnection, request: bytes) -> None:
        """A body that is at hand, so that no client can be slow with it."""
        self._began = True
        connection.send(request)
        await connection.drain(self._pool.upstream.idle_timeout_s)
        connection.end()
        self.sent_all = True

    async def _pump(self, connection: UpstreamConnection, cover: Cover | None) -> bool:
        """Send what comes of the body. True: the rest may pass by, where that can be; False: there
        is none."""
        exchange, count, chunked = self._exchange, self._count, self._head.chunked
        ahead = self._request_head
        while data := await self._read():
            self._began = True
            if cover is None:
                count.feed(data)
            else:
                await covered(count, cover, data)
            connection.send(ahead + (wire.chunk(data) if chunked else data))
            ahead = self._request_head = b""
            exchange.body_bytes += len(data)
            exchange.last_body_s = monotonic_s()
            if exchange.body_bytes == self._head.length:
                break  # Whatever happens to the client from here on, the upstream may have it all.
            if self._passes_by:
                return True
            if connection.congested:
                exchange.waits(exchange.last_body_s)
                await connection.drain(self._pool.upstream.idle_timeout_s)
                exchange.goes_on(monotonic_s())
        self._began = True  # Also an empty body: the head goes out now.
        if chunked:
            ahead += wire.LAST_CHUNK
        if ahead:
            connection.send(ahead)
        connection.end()
        self.sent_all = True
        return False

    @property
    def _left(self) -> int:
        """Bytes of a body of known length that are to come."""
        return (self._head.length or 0) - self._exchange.body_bytes

    @property
    def _passes_by(self) -> bool:
        """The rest of the request's body is long, as far as that is known, nobody looks into it,
        and all that has come of it is sent."""
        named, sent = self._exchange.named, self._exchange.body_bytes
        content = self._arrival.content
        looked_at = self._count.reads_bytes or (named is not None and named.looks_at_body)
        if looked_at or not self._bulk.lends or content.total_bytes != sent:
            return False
        if not self._head.chunked:
            return self._left >= BULK_BYTES_MIN
        return sent > BULK_BYTES_MIN and self._arrival.connection.chunks_of(content) is not None

    async def _read(self) -> bytes:
        try:
            data = await self._arrival.content.readany()
        except web.RequestPayloadError as failure:
            raise GatewayError(BAD_FRAMING, str(failure)) from failure
        except OSError as failure:  # Not only ConnectionError: TLS that breaks, a time-out of TCP.
            raise ClientGoneError from failure
        if self._exchange.named is not None:
            self._exchange.named.saw(data)
        return data

    def inform(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Pass a 1xx answer (103 Early Hints) on to a client that can understand it."""
        if self._head.version >= (1, 1) and not self._arrival.client_gone:
            self._arrival.write(wire.informational(status, headers))
