"""Bulk: a large body between the client's socket and the upstream's, past the parsers on both
sides: one of known length as it is (`splice.py`), one in chunks as chunks of ours (`rechunk.py`).

What came before in user space goes first; from there on only numbers are known of the body.
"""

import socket
from collections.abc import Awaitable, Callable

from gateway.admission.measure import BodyCount
from gateway.clock import monotonic_s
from gateway.errors import (
    BAD_FRAMING,
    UPSTREAM_FAILED,
    UPSTREAM_MALFORMED,
    UPSTREAM_TIMEOUT,
    ClientGoneError,
    GatewayError,
)
from gateway.proxy.answer_framing import MalformedAnswerError
from gateway.proxy.chunks import MalformedChunksError
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange
from gateway.proxy.followers import Cover, Down, Up
from gateway.proxy.rechunk import Rechunk
from gateway.proxy.splice import SourceError, Splice, TargetError
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import StoppedError

BULK_BYTES_MIN = 256 * 1024
"""Less than this is not worth the way around."""

ANSWERED = "the upstream has answered"
TAKES_NO_MORE = "the upstream takes no more of the request"

BROKEN = (SourceError, TargetError, TimeoutError, MalformedChunksError, MalformedAnswerError)
"""How a flow ends before its body does."""
Lent = tuple[socket.socket, socket.socket] | tuple[None, None]
"""Source and target."""
First = Callable[[Cover | None], Awaitable[None]]


class Bulk:
    """Of one request. `lends`: no socket was asked for that could not be lent; where one cannot,
    nothing is done, and the body has to go the other way."""

    __slots__ = ("_arrival", "_count", "_exchange", "lends")

    def __init__(self, arrival: Arrival, exchange: Exchange, count: BodyCount) -> None:
        self._arrival = arrival
        self._exchange = exchange
        self._count = count
        self.lends = True

    # -- up: raises UpstreamError, ClientGoneError, StoppedError (it has answered), GatewayError
    #    (the framing broke) and what `cover` raises -----------------------------------------------

    async def send(
        self, upstream: UpstreamConnection, left: int, cover: Cover | None, idle_s: float
    ) -> None:
        """Move the `left` bytes of the request's body, none of which aiohttp has."""
        client = self._arrival.connection
        source, target = self._lent_up(upstream)
        if target is None or source is None:
            return
        follower = Up(self._exchange, self._count, cover)
        splice = Splice(client.vessels, source, target, left, follower)
        try:
            await self._sent_before(upstream, idle_s)
            await splice.run(source_s=None, target_s=idle_s)
        except BROKEN as failure:
            raise ending_of(failure, upstream) from failure
        finally:
            follower.lost(splice.lost)
            _close(source, target)
            client.passed_by(splice.left)

    async def send_chunks(
        self, upstream: UpstreamConnection, cover: Cover | None, idle_s: float
    ) -> None:
        """Move the rest of the request's chunked body, nothing of which aiohttp has; the last
        chunk is not sent."""
        client = self._arrival.connection
        scanner = client.chunks_of(self._arrival.content)
        assert scanner is not None, "it is not sure where it is"
        source, target = self._lent_up(upstream)
        if target is None or source is None:
            return
        follower = Up(self._exchange, self._count, cover)
        flow = Rechunk(client.vessels, source, target, scanner, follower)
        try:
            await self._sent_before(upstream, idle_s)
            await flow.run(source_s=None, target_s=idle_s)
        except BROKEN as failure:
            raise ending_of(failure, upstream) from failure
        finally:
            follower.lost(flow.lost)
            _close(source, target)
            client.chunks_passed_by(scanner)

    def _lent_up(self, upstream: UpstreamConnection) -> Lent:
        target = upstream.lend(reading=False)
        source = None if target is None else self._arrival.connection.lend(reading=True)
        return self._both(source, target)

    async def _sent_before(self, upstream: UpstreamConnection, idle_s: float) -> None:
        """Wait for the upstream to take what was sent through its transport."""
        if upstream.unsent:
            self._exchange.waits(monotonic_s())
            await upstream.flush(idle_s)
            self._exchange.goes_on(monotonic_s())
        if upstream.unsent:
            raise StoppedError(ANSWERED)

    # -- down: raises UpstreamError, ClientGoneError and what `cover` raises -----------------------

    async def deliver(
        self, upstream: UpstreamConnection, first: First, cover: Cover | None, idle_s: float
    ) -> None:
        """Move all of the answer's body to the client; `first` writes what was read of it."""
        source, target = self._lent_down(upstream)
        if target is None or source is None:
            return
        left = upstream.left
        follower = Down(self._exchange, self._arrival, cover)
        splice = Splice(self._arrival.connection.vessels, source, target, left, follower)
        try:
            await first(cover)
            await self._delivered_before()
            await splice.run(source_s=idle_s, target_s=None)
        except BROKEN as failure:
            raise ending_of_answer(failure, upstream) from failure
        finally:
            _close(source, target)
            upstream.passed_by(left - splice.left)

    async def deliver_chunks(
        self,
        upstream: UpstreamConnection,
        first: First,
        cover: Cover | None,
        idle_s: float,
        *,
        chunked: bool,
    ) -> None:
        """Move the rest of a chunked answer's body to the client, in chunks if it is to have some,
        but for the last one."""
        scanner = upstream.chunks
        assert scanner is not None, "it is not sure where it is"
        source, target = self._lent_down(upstream)
        if target is None or source is None:
            return
        follower = Down(self._exchange, self._arrival, cover)
        vessels = self._arrival.connection.vessels
        flow = Rechunk(vessels, source, target, scanner, follower, to_chunks=chunked)
        try:
            await first(cover)
            await self._delivered_before()
            await flow.run(source_s=idle_s, target_s=None)
            upstream.chunks_passed_by(scanner)
        except BROKEN as failure:
            raise ending_of_answer(failure, upstream) from failure
        finally:
            _close(source, target)

    def _lent_down(self, upstream: UpstreamConnection) -> Lent:
        target = self._arrival.connection.lend(reading=False)
        source = None if target is None else upstream.lend(reading=True)
        return self._both(source, target)

    def _both(self, source: socket.socket | None, target: socket.socket | None) -> Lent:
        if source is None or target is None:
            self.lends = False
            _close(target)
            return None, None
        return source, target

    async def _delivered_before(self) -> None:
        """Wait for the client to take what was written through its transport."""
        arrival = self._arrival
        self._exchange.stalls(monotonic_s(), arrival.unsent)
        await arrival.flush()
        self._exchange.flows()


def _close(*sockets: socket.socket | None) -> None:
    for each in sockets:
        if each is not None:
            each.close()


def ending_of(failure: Exception, upstream: UpstreamConnection) -> Exception:
    """What became of a request whose body has stopped on its way to the upstream by this."""
    match failure:
        case MalformedChunksError():
            return GatewayError(BAD_FRAMING, str(failure))
        case SourceError():
            return ClientGoneError()
        case TargetError():
            return upstream.broke(failure.cause) or StoppedError(ANSWERED)
        case TimeoutError():
            return upstream.fails(UPSTREAM_TIMEOUT, TAKES_NO_MORE)
        case _:
            return failure


def ending_of_answer(failure: Exception, upstream: UpstreamConnection) -> Exception:
    """The same of an answer whose body has stopped on its way to the client."""
    match failure:
        case MalformedChunksError() | MalformedAnswerError():
            return upstream.fails(UPSTREAM_MALFORMED, str(failure))
        case SourceError():
            return upstream.fails(UPSTREAM_FAILED, f"closed within the body: {failure}")
        case TargetError():
            return ClientGoneError()
        case TimeoutError():
            return upstream.fails(UPSTREAM_TIMEOUT, "the upstream's answer has stalled")
        case _:
            return failure
