"""The lane past aiohttp: how a connection lets a fast path take requests before aiohttp sees them.

This is the one file that leans on what aiohttp does not document: that a handler at rest waits on
`_waiter`, what it has parsed and not begun stands in `_messages`, and when `_process_keepalive`
closes. `is_understood` says at start-up whether this aiohttp has all of it; without, there is no
fast path, and every request goes the ordinary way.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.proxy.connection import Arrival, Connection, ConnectionLimits, PublicServer, Refuse
from gateway.proxy.exchange import Exchange
from gateway.proxy.inlet import HEAD_BYTES

_SLOTS = ("_waiter", "_messages", "_upgraded", "_payload_parser", "_close", "_force_close",
          "_next_keepalive_close_time", "_keepalive_handle")  # fmt: skip
_METHODS = ("_process_keepalive", "data_received", "force_close", "start")


def is_understood(handler: type = web.RequestHandler) -> bool:
    """Whether this aiohttp is one that the lane can lead past."""
    slots = {slot for kind in handler.__mro__ for slot in getattr(kind, "__slots__", ())}
    return slots.issuperset(_SLOTS) and all(hasattr(handler, method) for method in _METHODS)


class Errand(Protocol):
    """A request on the fast path, as its connection sees it."""

    def more(self, data: bytes) -> None:
        """Something has come from the client meanwhile."""

    def client_gone(self) -> None:
        """Nobody waits for its answer any more."""


class Returned(Protocol):
    """A request that goes the ordinary way after all: nothing of it was sent."""

    def bury(self) -> None:
        """Its client has gone before it got there."""

    def exchange(self) -> Exchange:
        """What is known of it, for the ordinary path."""


class Lane(Protocol):
    def begin(self, connection: "FastConnection", data: bytes) -> bool:
        """Take the request that `data` begins; False: it is for aiohttp."""
        ...


class FastConnection(Connection):
    """`errand`: the request that is on the fast path. `early`: what came before aiohttp was at rest
    again; a client that answers an answer at once would else never leave the ordinary path."""

    __slots__ = ("_early", "_errand", "_lane", "_reading_held", "_returned")

    def __init__(
        self,
        server: PublicServer,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        refuse: Refuse,
        lane: Lane,
    ) -> None:
        super().__init__(server, loop, limits, refuse)
        self._lane = lane
        self._errand: Errand | None = None
        self._returned: Returned | None = None
        self._early: bytearray | None = None
        self._reading_held = False

    @property
    def idle(self) -> bool:
        return self._errand is None and self._early is None and super().idle

    def data_received(self, data: bytes) -> None:
        if self._errand is not None:
            self._errand.more(data)
        elif self._early is not None:
            self._early += data
            self._bound_early(self._early)
        elif not data or not self._is_free:  # aiohttp calls this itself, with nothing
            super().data_received(data)
        elif self._waiter is not None:
            self._offer(data)
        else:
            self._early = bytearray(data)
            self._bound_early(self._early)
            if self._arrival is None:
                self._loop.call_soon(self._now_at_rest)

    def end(self) -> None:
        super().end()
        if self._early is not None:  # aiohttp hears of the end in between
            self._loop.call_soon(self._loop.call_soon, self._now_at_rest)

    def _offer(self, data: bytes) -> None:
        if not self._lane.begin(self, data):
            super().data_received(data)

    def _bound_early(self, early: bytearray) -> None:
        if len(early) < HEAD_BYTES:
            return
        if self._arrival is None:
            self.hold_reading()  # a loop may read megabytes of a body before that turn comes
        else:
            self._early = None  # aiohttp knows to bound what comes behind a request
            super().data_received(bytes(early))

    def _now_at_rest(self) -> None:
        """Unless aiohttp has still something to do with the request before."""
        early, self._early = self._early, None
        if early and self.transport is not None:
            data = bytes(early)
            self._let_read()
            if self._is_free and self._waiter is not None:
                self._offer(data)
            else:
                super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if (returned := self.returned()) is not None:
            returned.bury()
        if self._errand is not None:
            self._errand.client_gone()

    @property
    def _is_free(self) -> bool:
        """Nothing of a request is with aiohttp; it waits for one if it has a `_waiter`."""
        return (
            not self._messages
            and not self._head_bytes
            and not self._upgraded
            and not self._close
            and not self._force_close
            and self._between_requests
        )

    def _process_keepalive(self) -> None:
        if self._errand is not None:
            self._next_keepalive_close_time = self._loop.time() + self._limits.keepalive_s
        super()._process_keepalive()

    # -- for the fast path ------------------------------------------------------------------------

    def errand_begins(self, errand: Errand) -> None:
        self._head_arrived()
        self._stop_expecting_taking()
        self._errand = errand

    def errand_over(self, held: Sequence[bytes] | None, *, keep: bool) -> None:
        """The request is answered; `held` is what came behind it."""
        self._errand = None
        if self.transport is None:
            return
        self._expect_taking()
        if not keep:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._limits.keepalive_s
        if held:
            self._let_read()
            self.data_received(b"".join(held))

    def hand_back(self, errand: Returned, data: bytes) -> None:
        """The request, and what came behind it, go the ordinary way."""
        self._errand = None
        self._returned = errand
        self._let_read()
        super().data_received(data)

    def returned(self) -> Returned | None:
        returned, self._returned = self._returned, None
        return returned

    def lend_rest(self) -> socket.socket | None:
        """The client's socket, for the rest of a body to be read from it, while reading is held;
        None where that cannot be. The borrower closes it."""
        return self.lend(reading=False)

    def rest_passed(self) -> None:
        """What comes now is no part of that body."""
        self._let_read()

    def linger(self, left: int) -> None:
        """The request is answered before its end: `left` bytes of it are read for nobody, and for
        a while only, since to close at once would keep its client from reading the answer."""
        self._errand = None
        if self.transport is not None:
            self._expect_taking()
            timer = self._loop.call_later(self._limits.lingering_s, self.force_close)
            self._errand = _Lingering(self, left, timer)
            self._let_read()

    def hold_reading(self) -> None:
        """Until it is known what to do with what has come, which is much."""
        if self.transport is not None and not self._reading_held:
            self._reading_held = True
            self.transport.pause_reading()

    def _let_read(self) -> None:
        if self.transport is not None and self._reading_held:
            self._reading_held = False
            self.transport.resume_reading()

    def arrival(
        self, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], *, whole: bool
    ) -> Arrival:
        """A request that aiohttp has not seen, with its body taken, `whole` or as much as ever will
        be; for the running task."""
        message = RawRequestMessage(
            method,
            target,
            HttpVersion11,
            CIMultiDictProxy(CIMultiDict()),
            tuple(headers),
            should_close=not whole,
            compression=None,
            upgrade=False,
            chunked=False,
            url=URL(),
        )
        return Arrival(message, EMPTY_PAYLOAD, self, StreamWriter(self, self._loop))


class _Lingering:
    """The rest of a request that was answered before its end."""

    def __init__(self, connection: FastConnection, left: int, timer: asyncio.TimerHandle) -> None:
        self._connection = connection
        self._left = left
        self._timer = timer

    def more(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self._timer.cancel()
            self._connection.force_close()

    def client_gone(self) -> None:
        self._timer.cancel()


class FastServer(PublicServer):
    """Leads small requests past aiohttp."""

    lane: Lane

    def _connection(self) -> Connection:
        return FastConnection(self, self._event_loop, self._limits, self._refuse, self.lane)
