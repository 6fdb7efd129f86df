"""Upgrade: bytes of another protocol (WebSocket) in both directions, until one side ends.

The gateway does not read the protocol; it counts and covers the bytes of both directions before it
passes them on. Whichever side ends first ends both.
"""

import asyncio

from gateway.errors import ClientGoneError, UpstreamError
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange
from gateway.proxy.transfer import Cover
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

    async def run(self, answer_head: bytes) -> None:
        """Write the 101, then carry bytes. Returns when either side has ended; raises what `cover`
        raises."""
        transport = self._arrival.connection.transport
        if transport is None:
            raise ClientGoneError
        self._arrival.write(answer_head)
        source = _FromClient(transport)
        self._arrival.connection.set_parser(source)  # type: ignore[arg-type]  # any with feed_data
        both, tasks = Interrupt(), TaskSet()
        tasks.start(self._upwards(source.bytes, both), name="upgraded connection, upwards")
        try:
            async with both:
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
        except UpstreamError:
            both.stop("the upstream has ended")
        except Exception as failure:  # carried over to the task that waits for both directions
            both.stop(failure)
        else:
            both.stop("the client has ended")

    async def _downwards(self) -> None:
        while data := await self._upstream.read_raw(self._idle_s):
            await self._covered(len(data))
            self._arrival.write(data)
            self._exchange.answer_bytes += len(data)
            await self._arrival.drain()

    async def _covered(self, in_hand: int) -> None:
        if self._cover is not None:
            async with self._covering:
                await self._cover(in_hand)
