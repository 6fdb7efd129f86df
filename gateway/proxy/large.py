"""Large: an upload on the fast path whose body passes by, once it is reserved.

    reserve ─▶ some of its body is here ─▶ upstream: all of it ─▶ answer ─▶ commit ─▶ answer
       │ else            │ else                   │ else
       └─ handed back    └────────────────────────┴─ carried on: broken off, or answered early

Reserved and handed back as in `rated.py`, kept and charged as in `small.py`; the rest of the body
moves as in `bulk.py`. From the grant to the body's end its connection reads nothing.
"""

import socket

from gateway.admission.measure import BodyCount
from gateway.clock import monotonic_s
from gateway.errors import REQUEST_TIMEOUT, ClientGoneError, Error, UpstreamError
from gateway.proxy.bulk import ending_of
from gateway.proxy.exchange import Exchange
from gateway.proxy.followers import Up
from gateway.proxy.forward import Forwarder
from gateway.proxy.passing import ASKING, AWAITING, CONNECTING, SENDING
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.small import Small
from gateway.proxy.splice import Splice
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import StoppedError


class Large(Small):
    """`_pace`: the facts of it, from the grant on. `_unread`: bytes that were
    not taken from the client by the end of the sending. `_ended`: what broke that off, if not an
    answer."""

    __slots__ = ("_ended", "_pace", "_sockets", "_splice", "_unread", "_waiting_s")
    # -- as long as all goes well -----------------------------------------------------------------

    def start(self, data: bytes, begin: int) -> None:
        self._pace: Exchange | None = None
        self._splice: Splice | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        self._ended: Exception | None = None
        self._unread = 0
        self._connection.hold_reading()
        super().start(data, begin)

    def _go_on(self) -> None:
        source = self._connection.lend_rest()
        if source is None:
            self._hand_back()
            return
        self._sockets = (source,)
        if self._missing < self._size or _has_come(source):
            self._send_on()
        else:
            self._step = AWAITING
            self._waiting_s = monotonic_s()
            self._connection.vessels.poller.until_readable(source.fileno(), self._come)

    def _come(self) -> None:
        """The first of the body, or word of its end."""
        try:
            self._await_no_more()
            if _has_come(self._sockets[0]):
                self._send_on()
            else:
                self._end_early(ClientGoneError())
        except Exception as failure:  # Other bodies, which come next, must not feel it.
            self._failed(failure)

    def _await_no_more(self) -> None:
        self._connection.vessels.poller.forget(self._sockets[0].fileno())

    def _send_on(self) -> None:
        pool = self._way.kind.pool
        if (upstream := pool.take()) is not None:
            self._borrow(upstream)
        else:
            self._step = CONNECTING
            self._means.tasks.start(self._connected(pool), name="connect to an upstream")

    async def _connected(self, pool: UpstreamPool) -> None:
        try:
            upstream = await pool.connect()
        except UpstreamError as failure:
            if self._step == CONNECTING:
                self._end_early(failure)
            return
        if self._step != CONNECTING:
            upstream.close()  # It is over already.
            return
        try:
            self._borrow(upstream)
        except Exception as failure:  # Else it would hold its reservation and its client for ever.
            self._failed(failure)

    def _borrow(self, upstream: UpstreamConnection) -> None:
        upstream.begin(self._way.verb)
        target = upstream.lend(reading=False)
        if target is None:
            upstream.close()
            self._close()
            self._hand_back()
            return
        self._upstream = upstream
        self._sockets = (*self._sockets, target)
        self._count()
        self._ask()

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
        follower = Up(pace, BodyCount(), None)
        splice = Splice(self._connection.vessels, source, target, self._missing, follower)
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
        except Exception as mistake:  # As above: the flow has ended, and nobody else hears of it.
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
        if late is not None:
            return late
        if self._step == AWAITING:
            waited_s = now_s - self._waiting_s
            return REQUEST_TIMEOUT if waited_s > self._way.kind.route.body_idle_s else None
        if self._step == SENDING:
            assert self._pace is not None
            return self._pace.overdue(now_s)
        return None

    # -- to the ordinary path ---------------------------------------------------------------------

    def halt(self, reason: object) -> None:
        if self._step in (AWAITING, CONNECTING, SENDING):
            self._end_early(StoppedError(reason))
        else:
            super().halt(reason)

    def client_gone(self) -> None:
        if self._step in (AWAITING, CONNECTING, SENDING):
            self._end_early(ClientGoneError())
        else:
            super().client_gone()

    def _end_early(self, ended: Exception) -> None:
        self._ended = ended
        self._carry_on()

    def _break_off(self, failure: Exception) -> None:
        assert self._upstream is not None
        self._upstream.on_answer = None
        ended = ending_of(failure, self._upstream)
        self._ended = None if isinstance(ended, StoppedError) else ended
        self._carry_on()

    def _carry_on(self) -> None:
        if self._step in (AWAITING, CONNECTING):
            self._count()
            self._await_no_more()
            self._close()
            self._unread = self._missing
        elif self._step == SENDING:
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

    @property
    def _is_whole(self) -> bool:
        return self._unread == 0

    def _hand_on(self, forwarder: Forwarder) -> None:
        passed = 0 if self._pace is None else self._pace.body_bytes
        forwarder.go_on_behind(passed, self._upstream, self._ended)

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
        elif self._sockets:
            self._await_no_more()
        self._close()
        super()._failed(failure)


def _has_come(source: socket.socket) -> bool:
    """A byte of it, at least."""
    try:
        return bool(source.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
