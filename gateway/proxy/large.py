"""Large: an upload on the fast path whose body passes by, once it is reserved.

    reserve ─▶ its head, and what has come ─▶ the rest passes by ─▶ answer ─▶ commit ─▶ answer
       │ else                │ else                  │ else
       └──── handed back ────┘                       └─ carried on: ended, or answered early

Reserved and handed back as in `rated.py`, kept and charged as in `small.py`; the rest of the body
moves as in `bulk.py`. From the grant to the body's end nothing is read from the client here.
"""

import socket

from gateway.clock import monotonic_s
from gateway.errors import ClientGoneError, Error
from gateway.proxy.bulk import ending_of
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.passing import ASKING, SENDING
from gateway.proxy.small import Small
from gateway.proxy.splice import Splice
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import StoppedError


class Large(Small):
    """Follows its own body. `_pace`: the facts of it, from the grant on. `_unread`: bytes that were
    not taken from the client by the end of the sending. `_ended`: what broke that off, if not an
    answer."""

    __slots__ = ("_ended", "_pace", "_sockets", "_splice", "_unread")

    covers = False

    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        self._pace: Exchange | None = None
        self._splice: Splice | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        self._ended: Exception | None = None
        self._unread = 0
        self._connection.hold_reading()
        super().start(data, begin)

    def _is_ready(self) -> bool:
        """With a connection to the upstream, and its socket and the client's, if all can be had. A
        body of which nothing has come is waited for on the ordinary path."""
        source = self._connection.lend_rest()
        if source is None:
            return False
        self._sockets = (source,)
        if self._missing < self._size or _has_come(source):
            upstream = self._way.kind.pool.take()
            if upstream is not None and self._borrows(upstream):
                return True
        self._close()
        return False

    def _borrows(self, upstream: UpstreamConnection) -> bool:
        upstream.begin(self._way.verb)
        target = upstream.lend(reading=False)
        if target is None:
            upstream.close()
            return False
        self._upstream = upstream
        self._sockets = (*self._sockets, target)
        return True

    def _ask(self) -> None:
        """Send what is here to the upstream, and let the rest pass by."""
        assert self._upstream is not None
        self._step = SENDING
        self._upstream.on_answer = self._carry_on
        self._upstream.on_informational = self._inform
        pace = self._pace = self._facts()
        pace.receives(monotonic_s())
        pace.body_bytes = self._size - self._missing
        source, target = self._sockets
        splice = Splice(self._connection.vessels, source, target, self._missing, self)
        self._splice = splice
        ahead = (self._head(), *self._body())
        self._raw = [self._raw[0][: self._begin]]
        idle_s = self._way.kind.pool.upstream.idle_timeout_s
        splice.start(self._sent, ahead, source_s=None, target_s=idle_s)

    def _sent(self, failure: Exception | None) -> None:
        """The body is with the upstream, or has been broken off."""
        try:
            if failure is None:
                self._listen()
            else:
                self._break_off(failure)
        except Exception as mistake:
            self._failed(mistake)

    def _listen(self) -> None:
        upstream, pace = self._upstream, self._pace
        assert upstream is not None
        assert pace is not None
        self._step = ASKING
        self._end_passing()
        upstream.on_answer = None
        upstream.listen(self._answered, self._way.kind.pool.upstream.answer_timeout_s)

    def overdue(self, now_s: float) -> Error | None:
        late = super().overdue(now_s)
        if late is None and self._step == SENDING:
            assert self._pace is not None
            late = self._pace.overdue(now_s)
        return late

    # -- follows the body -------------------------------------------------------------------------

    async def cover(self, count: int) -> None:
        """All of it was reserved by its head."""

    def moved(self, count: int) -> None:
        assert self._pace is not None
        self._pace.body_bytes += count
        self._pace.last_body_s = monotonic_s()

    def stalls(self) -> None:
        assert self._pace is not None
        self._pace.waits(monotonic_s())

    def flows(self) -> None:
        assert self._pace is not None
        self._pace.goes_on(monotonic_s())

    # -- to the ordinary path ---------------------------------------------------------------------

    def _break_off(self, failure: Exception) -> None:
        assert self._upstream is not None
        self._upstream.on_answer = None
        ended = ending_of(failure, self._upstream)
        self._ended = None if isinstance(ended, StoppedError) else ended
        self._carry_on()

    def _carry_on(self) -> None:
        if self._step == SENDING:
            assert self._upstream is not None
            self._upstream.on_answer = None
            self._end_passing()
        super()._carry_on()

    def _end_passing(self) -> None:
        splice, pace = self._splice, self._pace
        assert splice is not None
        assert pace is not None
        splice.stop()
        self._unread = self._missing = splice.left
        pace.received()
        self._close()
        if not self._unread:
            self._connection.rest_passed()

    def _close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = ()

    def client_gone(self) -> None:
        if self._step == SENDING:
            self._ended = ClientGoneError()
            self._carry_on()
        else:
            super().client_gone()

    @property
    def _is_whole(self) -> bool:
        return self._unread == 0

    def _hand_on(self, forwarder: Forwarder) -> None:
        assert self._upstream is not None
        assert self._pace is not None
        forwarder.go_on_behind(self._pace.body_bytes, self._upstream, self._ended)

    def _let_go(self, *, keep: bool) -> None:
        if self._unread:
            self._connection.linger(self._unread)
        else:
            super()._let_go(keep=keep)

    def _facts(self) -> Exchange:
        return self._pace or super()._facts()

    def _failed(self, failure: Exception) -> None:
        if self._splice is not None:
            self._splice.stop()
        self._close()
        super()._failed(failure)


def _has_come(source: socket.socket) -> bool:
    """A byte, at least."""
    try:
        return bool(source.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
