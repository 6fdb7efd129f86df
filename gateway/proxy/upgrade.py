"""Upgrade: bytes of another protocol (WebSocket) in both directions, until one side ends.

The gateway does not read the protocol; it counts and covers the bytes of both directions before it
passes them on. Whichever side ends first ends both.
"""

import asyncio

from gateway.clock import monotonic_s
from gateway.errors import UPSTREAM_TIMEOUT, ClientGoneError, UpstreamError
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange
from gateway.proxy.followers import Cover
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import Interrupt, StoppedError, TaskSet

PIECE_BYTES_MAX = 64 * 1024


class _FromClient:
    """The parser that aiohttp feeds with what follows an upgrade; a plain queue with its limits."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.bytes = asyncio.StreamReader(limit=PIECE_BYTES_MAX)
        self.bytes.set_transport(transport)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.bytes.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self.bytes.feed_eof()


class Tunnel:
    def __init__(
        self,
        arrival: Arrival,
        exchange: Exchange,
        upstream: UpstreamConnection,
        cover: Cover | None,
        *,
        idle_s: float,
    ) -> None:
        self._arrival = arrival
        self._exchange = exchange
        self._upstream = upstream
        self._cover = cover
        self._idle_s = idle_s
        self._covering = asyncio.Lock()
        self._moved_s = 0.0

    async def run(self, answer_head: bytes) -> None:
        """Write the 101, then carry bytes. Returns when either side has ended; raises what `cover`
        raises, and UpstreamError when for `idle_s` nothing has moved in either direction."""
        transport = self._arrival.connection.transport
        if transport is None:
            raise ClientGoneError
        self._arrival.on_client_gone = None  # It shows as the end of what the client sends.
        self._arrival.write(answer_head)
        source = _FromClient(transport)
        self._arrival.connection.set_parser(source)  # type: ignore[arg-type]  # any with feed_data
        both, tasks = Interrupt(), TaskSet()
        self._moved_s = monotonic_s()
        tasks.start(self._upwards(source.bytes, both), name="upgraded connection, upwards")
        tasks.start(self._until_idle(both), name="upgraded connection, idle")
        try:
            with both:
                await self._downwards()
        except StoppedError as stopped:
            if isinstance(stopped.reason, Exception):
                raise stopped.reason from None
        finally:
            await tasks.stop()

    async def _upwards(self, source: asyncio.StreamReader, both: Interrupt) -> None:
        try:
            while data := await source.read(PIECE_BYTES_MAX):
                await self._covered(len(data))
                self._upstream.send(data)
                self._exchange.body_bytes += len(data)
                self._exchange.upgraded_bytes += len(data)
                await self._upstream.drain()
                self._moved_s = monotonic_s()
            await self._upstream.flush()
        except UpstreamError:
            both.stop("the upstream has ended")
        except Exception as failure:  # carried over to the task that waits for both directions
            both.stop(failure)
        else:
            both.stop("the client has ended")

    async def _downwards(self) -> None:
        arrival, exchange = self._arrival, self._exchange
        while data := await self._upstream.read(None):
            await self._covered(len(data))
            arrival.write(data)
            exchange.answer_bytes += len(data)
            if arrival.congested:
                self._moved_s = float("inf")  # The watchdog sees to a client that takes nothing.
                exchange.stalls(monotonic_s(), arrival.unsent)
                await arrival.drain()
                exchange.flows()
            self._moved_s = monotonic_s()

    async def _until_idle(self, both: Interrupt) -> None:
        while (left_s := self._moved_s + self._idle_s - monotonic_s()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, self._idle_s))
        both.stop(UpstreamError(UPSTREAM_TIMEOUT, "nothing moves in either direction"))

    async def _covered(self, in_hand: int) -> None:
        if self._cover is not None:
            async with self._covering:
                await self._cover(in_hand)
