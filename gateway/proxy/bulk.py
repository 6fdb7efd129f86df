"""Bulk: a large body of known length between the client's socket and the upstream's, past the
parsers on both sides.

What came before in user space goes first; from there on only numbers are known of the body. They
are written down after every turn, so that whatever ends it finds them exact.
"""

import socket
from collections.abc import Awaitable, Callable

from gateway.admission.measure import BodyCount
from gateway.clock import monotonic_s
from gateway.errors import UPSTREAM_FAILED, UPSTREAM_TIMEOUT, ClientGoneError
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange
from gateway.proxy.splice import SourceError, Splice, TargetError
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import StoppedError

BULK_BYTES_MIN = 256 * 1024
"""Less than this is not worth the way around."""

ANSWERED = "the upstream has answered"
TAKES_NO_MORE = "the upstream takes no more of the request"

Cover = Callable[[int], Awaitable[None]]
"""Called with the number of bytes in hand, before they are passed on; raises to stop them."""
First = Callable[[Cover | None], Awaitable[None]]


class _Up:
    """Follows a request's body."""

    __slots__ = ("_count", "_cover", "_exchange", "covers")

    def __init__(self, exchange: Exchange, count: BodyCount, cover: Cover | None) -> None:
        self._exchange = exchange
        self._count = count
        self._cover = cover
        self.covers = cover is not None

    async def cover(self, count: int) -> None:
        assert self._cover is not None
        self._count.pass_by(count)
        await self._cover(count)

    def moved(self, count: int) -> None:
        if not self.covers:
            self._count.pass_by(count)
        self._exchange.body_bytes += count
        self._exchange.last_body_s = monotonic_s()

    def stalls(self) -> None:
        self._exchange.waits(monotonic_s())

    def flows(self) -> None:
        self._exchange.goes_on(monotonic_s())


class _Down:
    """Follows an answer's body."""

    __slots__ = ("_arrival", "_cover", "_exchange", "covers")

    def __init__(self, exchange: Exchange, arrival: Arrival, cover: Cover | None) -> None:
        self._exchange = exchange
        self._arrival = arrival
        self._cover = cover
        self.covers = cover is not None

    async def cover(self, count: int) -> None:
        assert self._cover is not None
        await self._cover(count)

    def moved(self, count: int) -> None:
        self._exchange.answer_bytes += count

    def stalls(self) -> None:
        self._exchange.stalls(monotonic_s(), self._arrival.unsent)

    def flows(self) -> None:
        self._exchange.flows()


class Bulk:
    """Of one request. Both ways do nothing where a socket cannot be lent."""

    __slots__ = ("_arrival", "_count", "_exchange")

    def __init__(self, arrival: Arrival, exchange: Exchange, count: BodyCount) -> None:
        self._arrival = arrival
        self._exchange = exchange
        self._count = count

    async def send(
        self, upstream: UpstreamConnection, left: int, cover: Cover | None, idle_s: float
    ) -> bool:
        """Move the `left` bytes of the request's body, none of which aiohttp has. False: they have
        to go the other way. Raises UpstreamError, ClientGoneError, StoppedError (it has answered)
        and what `cover` raises."""
        client = self._arrival.connection
        target = upstream.lend(reading=False)
        source = None if target is None else client.lend(reading=True)
        if target is None or source is None:
            _close(target)
            return False
        follower = _Up(self._exchange, self._count, cover)
        splice = Splice(self._arrival.connection.vessels, source, target, left, follower)
        try:
            if not await self._sent_before(upstream, idle_s):
                raise StoppedError(ANSWERED)
            await splice.run(source_s=None, target_s=idle_s)
        except (SourceError, TargetError, TimeoutError) as failure:
            raise ending_of(failure, upstream) from failure
        finally:
            if follower.covers and splice.lost:
                self._count.take_back(splice.lost)
            _close(source, target)
            client.passed_by(splice.left)
        return True

    async def deliver(
        self, upstream: UpstreamConnection, first: First, cover: Cover | None, idle_s: float
    ) -> None:
        """Move all of the answer's body to the client; `first` writes what was read of it. Raises
        UpstreamError, ClientGoneError and what `cover` raises."""
        target = self._arrival.connection.lend(reading=False)
        source = None if target is None else upstream.lend(reading=True)
        if target is None or source is None:
            _close(target)
            return
        left = upstream.left
        follower = _Down(self._exchange, self._arrival, cover)
        splice = Splice(self._arrival.connection.vessels, source, target, left, follower)
        try:
            await first(cover)
            await self._delivered_before()
            await splice.run(source_s=idle_s, target_s=None)
        except SourceError as failure:
            raise upstream.fails(UPSTREAM_FAILED, f"closed within the body: {failure}") from failure
        except TargetError as failure:
            raise ClientGoneError from failure
        except TimeoutError as failure:
            raise upstream.fails(UPSTREAM_TIMEOUT, "the upstream's answer has stalled") from failure
        finally:
            _close(source, target)
            upstream.passed_by(left - splice.left)

    async def _sent_before(self, upstream: UpstreamConnection, idle_s: float) -> bool:
        """Wait for the upstream to take what was sent through its transport; False if it has
        answered instead."""
        if upstream.unsent:
            self._exchange.waits(monotonic_s())
            await upstream.flush(idle_s)
            self._exchange.goes_on(monotonic_s())
        return not upstream.unsent

    async def _delivered_before(self) -> None:
        """Wait for the client to take what was written through its transport."""
        arrival = self._arrival
        self._exchange.stalls(monotonic_s(), arrival.unsent)
        await arrival.flush()
        self._exchange.flows()


def ending_of(failure: Exception, upstream: UpstreamConnection) -> Exception:
    """What became of a request whose body has stopped on its way to the upstream by this."""
    match failure:
        case SourceError():
            return ClientGoneError()
        case TargetError():
            return upstream.broke(failure.cause) or StoppedError(ANSWERED)
        case TimeoutError():
            return upstream.fails(UPSTREAM_TIMEOUT, TAKES_NO_MORE)
        case _:
            return failure


def _close(*sockets: socket.socket | None) -> None:
    for each in sockets:
        if each is not None:
            each.close()
