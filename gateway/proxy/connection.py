"""Connection: a client's connection, on aiohttp's low-level server.

aiohttp parses requests and keeps connections alive; what it lacks is added here by overriding
documented protocol callbacks only: a limit on the time a request head may take, a limit on
connections, errors of the parser in our own words, and word of a client that has gone away.
Answers are written as bytes by the data path; aiohttp only learns whether the connection stays.
"""

import array
import asyncio
import fcntl
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from gateway.errors import BAD_REQUEST, HEADERS_TOO_LARGE, REQUEST_TIMEOUT, ClientGoneError, Refusal
from gateway.proxy import resets
from gateway.proxy.inlet import Inlet
from gateway.proxy.lending import Lending, Told, taken
from gateway.proxy.pieces import write_pieces
from gateway.proxy.vessels import Vessels

READ_BYTES = 32 * 1024
"""Twice this much of a body may wait to be read before no more is taken from its client."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds and sizes; see the settings of the same names."""

    header_timeout_s: float = 10.0
    keepalive_s: float = 75.0
    lingering_s: float = 10.0
    connections_max: int = 10_000
    header_line_max: int = 8_190
    headers_max: int = 128
    head_bytes_max: int = 48 * 1024


class Written(web.StreamResponse):
    """Tells aiohttp that the answer is written already, and whether the connection is kept."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool | None:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


KEEP = Written(keep=True)
CLOSE = Written(keep=False)


class Arrival:
    """A request as it arrived, with the way back to its client. aiohttp takes it for one of its
    own, which would hold much more for as long as it takes; the last three parts are for it."""

    __slots__ = ("_task", "_writer", "connection", "content", "method", "on_client_gone",
                 "raw_headers", "raw_target", "should_close", "version")  # fmt: skip

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        connection: "Connection",
        writer: AbstractStreamWriter,
    ) -> None:
        self.connection = connection
        self.content = content
        self.method = message.method
        self.raw_target = message.path
        self.version = message.version
        self.raw_headers = message.raw_headers
        # Behind a request to upgrade, the parser may drop what follows in the same segment.
        self.should_close = message.should_close or message.upgrade
        self.on_client_gone: Callable[[], None] | None = None
        self._writer = writer
        self._task: asyncio.Task[None] | None = None

    @property
    def client_gone(self) -> bool:
        return self.connection.transport is None

    def write(self, *data: bytes) -> None:
        """Write to the client; raises ClientGoneError when there is none any more."""
        transport = self.connection.transport
        if transport is None or transport.is_closing():
            raise ClientGoneError
        write_pieces(transport, data)

    @property
    def congested(self) -> bool:
        """The client takes less than it is sent: time to `drain`."""
        return self.connection.writing_paused

    def unsent(self) -> int:
        """Bytes of the answer that the client has not acknowledged: ours and the system's."""
        transport = self.connection.transport
        return 0 if transport is None else _unsent(transport)

    async def flush(self) -> None:
        """Wait until nothing of what was written is left on this side of its socket."""
        transport = self.connection.transport
        if transport is None:
            raise ClientGoneError
        transport.set_write_buffer_limits(high=0)
        await self.drain()
        transport.set_write_buffer_limits()

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        try:
            await self._writer.drain()
        except ConnectionError as failure:
            raise ClientGoneError from failure

    def _cancel(self, failure: BaseException) -> None:
        """Its client has gone."""
        self.content.set_exception(failure)

    def _finish(self) -> None:
        """Nothing is left of it that were to be closed."""


def _unsent(transport: asyncio.Transport) -> int:
    queued = array.array("i", [0])
    with suppress(OSError):  # a kind of socket that does not say
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + queued[0]


class Connection(Lending):
    __slots__ = ("_arrival", "_counted", "_head_bytes", "_head_timer", "_limits", "_refuse",
                 "_server", "_taking_timer", "encrypted", "peer", "port", "vessels")  # fmt: skip

    def __init__(
        self,
        server: "PublicServer",
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        refuse: "Refuse",
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # None turns aiohttp's own log off
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_s,
            lingering_time=limits.lingering_s,
            max_line_size=limits.header_line_max,
            max_field_size=limits.header_line_max,
            # One more than we allow: our own check then answers in our own words.
            max_headers=limits.headers_max + 1,
            read_bufsize=READ_BYTES,
        )
        self._server = server
        self.vessels = server.vessels
        self._limits = limits
        self._refuse = refuse
        self._head_timer: asyncio.TimerHandle | None = None
        self._taking_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """Of a head that is not complete, as far as they are surely its own."""
        self._arrival: Arrival | None = None
        self._counted = False
        self.peer = ""
        """The other end's IP address; empty on a unix socket."""
        self.port: int | None = None
        self.encrypted = False

    @property
    def idle(self) -> bool:
        """Between two requests: answered, and not a byte of the next has come."""
        return self._arrival is None and self._head_timer is None and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else ""
        here = transport.get_extra_info("sockname")
        self.port = here[1] if isinstance(here, tuple) else None
        self.encrypted = transport.get_extra_info("sslcontext") is not None
        self._server.open_connections += 1
        self._counted = True
        if self._server.open_connections > self._limits.connections_max:
            self.force_close()
            return
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_arrived()
        self._stop_expecting_taking()
        if self._counted:
            self._counted = False
            self._server.open_connections -= 1
        arrival, task = self._arrival, self._task_handler
        super().connection_lost(exc)
        if arrival is None and task is not None:
            # aiohttp would go on to a request that came just before, and stumble over its loss.
            task.cancel()
        if arrival is not None and arrival.on_client_gone is not None:
            arrival.on_client_gone()

    def data_received(self, data: bytes) -> None:
        within_head = self._between_requests
        super().data_received(data)
        self._heed_the_parser()
        if within_head and self._between_requests:
            if self._arrival is None and self._head_timer is None and data:
                self._expect_head()
            self._head_goes_on(len(data))
        else:
            self._head_bytes = 0

    def begin(self, arrival: Arrival) -> None:
        """The head of a request is complete."""
        self._head_arrived()
        self._stop_expecting_taking()
        self._arrival = arrival
        self._body = arrival.content
        self._heed_the_parser()

    def end(self) -> None:
        """The request is answered."""
        self._expect_taking()
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.raw_headers = ()  # aiohttp keeps the request until the next one comes
            self._let_go(arrival.content)
            if arrival.content.exception() is not None:
                self._lingering_time = 0.0  # There is no rest of this body to be read.

    @property
    def _between_requests(self) -> bool:
        """What comes now belongs to the head of a further request."""
        ended = self._body is None or self._body.is_eof()
        return ended and not self._messages and self._payload_parser is None

    def _head_goes_on(self, more: int) -> None:
        """aiohttp bounds the lines of a head and their number, but not all of them together."""
        self._head_bytes += more
        if self._head_bytes <= self._limits.head_bytes_max:
            return
        if self._arrival is not None:
            self.close()  # once the request before it is answered
            return
        self._answer(Refusal(HEADERS_TOO_LARGE, "the request head is too large"))
        self.force_close()

    def _heed_the_parser(self) -> None:
        """What comes behind a body that has not ended can only be word that it is broken; aiohttp
        would pass that on once somebody had waited in vain for the rest."""
        body = self._body
        if self._arrival is not None and self._messages and body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("the body's chunks are malformed"))

    def force_close(self) -> None:
        super().force_close()
        if self._arrival is None and self._body is not None and not self._body.is_eof():
            self._body.feed_eof()  # aiohttp reads its rest for nobody, and would stumble here

    def break_off(self) -> None:
        """End the connection with a reset: a proper close would be the end of an answer that has
        neither a length nor chunks."""
        if self.transport is not None:
            resets.break_off(self.transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's parser could not make a request of what came."""
        error = HEADERS_TOO_LARGE if isinstance(exc, LineTooLong) else BAD_REQUEST
        self._answer(Refusal(error, "the request head could not be parsed"))
        return CLOSE

    def _expect_head(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.header_timeout_s, self._head_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        self._answer(Refusal(REQUEST_TIMEOUT, "the request head took too long to arrive"))
        self.force_close()

    def _answer(self, refusal: Refusal) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(self._refuse(refusal))
            self._expect_taking()

    def _expect_taking(self) -> None:
        """Break off, unless the client takes more of what was written: a transport that is closed
        waits for that for ever."""
        self._stop_expecting_taking()
        if self.transport is not None and self.transport.get_write_buffer_size():
            self._look_after(self.transport, _unsent(self.transport))

    def _look_after(self, transport: asyncio.Transport, left: int) -> None:
        def look() -> None:
            self._taking_timer = None
            left_now = _unsent(transport)
            if left_now >= left:
                transport.abort()
            elif transport.get_write_buffer_size():
                self._look_after(transport, left_now)

        self._taking_timer = self._loop.call_later(self._limits.keepalive_s, look)

    def _stop_expecting_taking(self) -> None:
        if self._taking_timer is not None:
            self._taking_timer.cancel()
            self._taking_timer = None


Refuse = Callable[[Refusal], bytes]
"""Makes the whole answer, with `Connection: close`, to what never became a request."""


class PublicServer(web.Server):
    def __init__(
        self,
        handle: Callable[[Arrival], Awaitable[web.StreamResponse]],
        limits: ConnectionLimits,
        refuse: Refuse,
        vessels: Vessels,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(cast(Any, self._serve), request_factory=cast(Any, self._arrive))
        self._event_loop = loop
        self._handle = handle
        self._limits = limits
        self._refuse = refuse
        self.vessels = vessels
        self.open_connections = 0

    def __call__(self) -> web.RequestHandler:
        return cast(web.RequestHandler, Inlet(self._connection()))

    def _connection(self) -> Connection:
        return Connection(self, self._event_loop, self._limits, self._refuse)

    def pre_shutdown(self) -> None:
        """Close the idle connections; the others close with the answer they are working on.

        aiohttp would close them all, and from then on read nothing of the bodies under way; and
        its `close` leaves one at rest open, deaf to whatever else it is asked.
        """
        for connection in self.connections:
            assert isinstance(connection, Connection)
            if connection.idle:
                connection.force_close()

    def _arrive(
        self,
        told: Told | RawRequestMessage,
        content: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> Arrival:
        assert isinstance(protocol, Connection)
        arrival = Arrival(taken(told), content, protocol, writer)
        protocol.begin(arrival)
        return arrival

    async def _serve(self, arrival: Arrival) -> web.StreamResponse:
        try:
            answer = await self._handle(arrival)
        finally:
            arrival.connection.end()
        if arrival.congested:
            # Further requests wait: else their answers would pile up for a client that reads none.
            with suppress(ClientGoneError):
                await arrival.drain()
        return answer
