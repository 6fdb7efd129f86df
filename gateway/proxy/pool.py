"""The connections to one upstream: opened when needed, kept for the next request, bounded.

The rule: the last one used is the first one used again, so that what a quiet hour does not need
grows old at the bottom and is closed after `keepalive_s`. Whoever finds no connection free and none
to open waits in turn, at most `connect_timeout_s`.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.catalog.routes import Upstream
from gateway.errors import UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, UpstreamError
from gateway.proxy.pacing import unpaced
from gateway.proxy.tls import client_context
from gateway.proxy.upstream import UpstreamConnection


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens: a `path` (unix socket) or `host` and `port`."""

    host: str
    port: int
    path: str | None
    tls: bool
    authority: bytes
    """The upstream's own name, for `Host`."""


def address(url: str) -> Address:
    """Read the URL of a catalog upstream."""
    if url.startswith("unix:"):
        return Address("", 0, url.removeprefix("unix:"), False, b"localhost")
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Address(parts.hostname or "", port, None, tls, parts.netloc.encode())


class UpstreamPool:
    """Of one event loop: make it where that loop runs. Raises OSError or ssl.SSLError when the
    upstream's `ca_file` cannot be used."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.address = address(upstream.url)
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = (
            client_context(upstream.ca_file) if self.address.tls else None
        )
        self._idle: dict[UpstreamConnection, float] = {}
        """Since when (loop time) each has been idle; the longest idle one first."""
        self._open: set[UpstreamConnection] = set()
        self._ends = (self._keep, self._gone)  # the same for all that are ever opened
        self._dialling = 0
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """All connections, idle ones and those being opened included."""
        return len(self._open) + self._dialling

    def take(self) -> UpstreamConnection | None:
        """A connection that was used before, if one is idle; never waits."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                connection.reused = True
                return connection
        return None

    async def connect(self, *, fresh: bool = False) -> UpstreamConnection:
        """A connection that was used before (unless `fresh`, if there may be one more), or a new
        one; raises UpstreamError."""
        full = self.open >= self.upstream.connections_max
        if (full or not fresh) and (kept := self.take()) is not None:
            return kept
        if self.open < self.upstream.connections_max:
            self._dialling += 1
            return await self._dialled()
        while (handed := await self._turn()) is not None:
            if handed.usable:  # It may have ended on the way here.
                return handed
        return await self._dialled()

    async def close(self) -> None:
        """Keep no connection any more: close what is idle now, and the others when they are
        released. Requests that began with this pool before can still be served by it."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in tuple(self._idle):
            connection.close()
        self._idle.clear()

    def abort(self) -> None:
        """Break off everything, in use or not."""
        for connection in tuple(self._open):
            connection.abort()

    # -- opening ----------------------------------------------------------------------------------

    async def _dialled(self) -> UpstreamConnection:
        """Open a connection in the place that was counted for it in `_dialling`."""
        try:
            connection = await self._dial()
            if not connection.usable:
                raise UpstreamError(UPSTREAM_UNREACHABLE, "closed as soon as it was opened")
        except BaseException:  # Also when cancelled: the place that was counted is free again.
            self._dialling -= 1
            self._place_free()
            raise
        self._dialling -= 1
        self._open.add(connection)
        return connection

    async def _dial(self) -> UpstreamConnection:
        try:
            async with asyncio.timeout(self.upstream.connect_timeout_s):
                return await self._connected()
        except TimeoutError as failure:
            raise UpstreamError(UPSTREAM_TIMEOUT, "the upstream takes no connection") from failure
        except OSError as failure:
            raise UpstreamError(UPSTREAM_UNREACHABLE, str(failure)) from failure

    async def _connected(self) -> UpstreamConnection:
        where, loop = self.address, self._loop
        if where.path is not None:
            _, connection = await loop.create_unix_connection(self._make, where.path)
        elif self._context is None and (sock := unpaced(where.host)) is not None:
            try:
                await loop.sock_connect(sock, (where.host, where.port))
                _, connection = await loop.create_connection(self._make, sock=sock)
            except BaseException:  # Also when cancelled: nobody else knows of it yet.
                sock.close()
                raise
        else:
            _, connection = await loop.create_connection(
                self._make, where.host, where.port, ssl=self._context
            )
        return connection

    def _make(self) -> UpstreamConnection:
        return UpstreamConnection(self._loop, *self._ends)

    # -- waiting in turn --------------------------------------------------------------------------

    async def _turn(self) -> UpstreamConnection | None:
        """Wait for a connection to come back, or (None) for a place to open one in, which is then
        counted in `_dialling`."""
        turn: asyncio.Future[UpstreamConnection | None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.upstream.connect_timeout_s):
                return await turn
        except TimeoutError as failure:
            self._pass_on(turn)
            raise UpstreamError(
                UPSTREAM_UNREACHABLE,
                f"all {self.upstream.connections_max} connections are in use",
            ) from failure
        except asyncio.CancelledError:
            self._pass_on(turn)
            raise

    def _pass_on(self, turn: "asyncio.Future[UpstreamConnection | None]") -> None:
        """Whoever waited has left; what came for it meanwhile goes to the next."""
        if not turn.done() or turn.cancelled():
            if turn in self._waiting:
                self._waiting.remove(turn)
        elif turn.exception() is None:
            connection = turn.result()
            if connection is None:
                self._dialling -= 1
                self._place_free()
            elif connection.usable:
                self._keep(connection)
            else:
                connection.close()

    def _next_waiting(self) -> "asyncio.Future[UpstreamConnection | None] | None":
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    def _place_free(self) -> None:
        if self.open < self.upstream.connections_max and (turn := self._next_waiting()) is not None:
            self._dialling += 1
            turn.set_result(None)

    # -- connections come back --------------------------------------------------------------------

    def _keep(self, connection: UpstreamConnection) -> None:
        """It is usable."""
        if self._closed:
            connection.close()
        elif (turn := self._next_waiting()) is not None:
            connection.reused = True
            turn.set_result(connection)
        else:
            self._idle[connection] = self._loop.time()
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(self.upstream.keepalive_s, self._sweep)

    def _gone(self, connection: UpstreamConnection) -> None:
        self._idle.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            self._place_free()

    def _sweep(self) -> None:
        """Close what has been idle for too long; look again when the next one will have been."""
        self._sweeper = None
        old_s = self._loop.time() - self.upstream.keepalive_s
        for connection, since_s in tuple(self._idle.items()):
            if since_s > old_s:
                self._sweeper = self._loop.call_at(since_s + self.upstream.keepalive_s, self._sweep)
                return
            del self._idle[connection]
            connection.close()
