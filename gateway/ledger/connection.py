"""One connection to Redis that many callers share: commands leave together, replies come in order.

The n-th reply belongs to the n-th command and to nothing else. Calls of one family that wait to be
written become one command. So a caller that was cancelled keeps
its place (its reply is let go when it comes), and a connection whose replies stop is dropped as a
whole, because a late reply must never meet a later command.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hiredis import ProtocolError, Reader

from gateway.errors import StoreError
from gateway.ledger.joined import Joined
from gateway.ledger.resp import unavailable
from gateway.ledger.template import Call, Family, Template
from gateway.ledger.transport import Heard, Then

FLUSH_AT = 16
"""Calls written together at most: Redis works on one batch while the next one is made."""

GRACE_S = 0.01
"""For what waits in the socket of a loop that was itself too busy to read."""


class Connection(asyncio.Protocol):
    """An idle connection writes a call at once, a busy one at its turn's end. So does an idle one
    to which several came in the turn before: they become one command. `one_slot`: only calls of
    the same account are joined, since a cluster runs no others as one."""

    __slots__ = (
        "_crowded",
        "_doomed",
        "_gone",
        "_heard",
        "_joined",
        "_loop",
        "_on_lost",
        "_one_slot",
        "_out",
        "_pending",
        "_reader",
        "_retired",
        "_timeout_s",
        "_transport",
        "_under_way",
        "_unwritten",
        "_waiters",
        "_watchdog",
        "pending_max",
        "place",
    )

    def __init__(
        self,
        place: str,
        on_lost: Callable[["Connection"], None],
        *,
        timeout_s: float,
        pending_max: int,
        one_slot: bool = False,
        heard: Heard | None = None,
    ) -> None:
        self.place = place
        self.pending_max = pending_max
        self._one_slot = one_slot
        self._heard = heard
        self._on_lost = on_lost
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._pending: deque[tuple[asyncio.Future[Any] | Then, float]] = deque()
        self._under_way = 0
        """Calls in `_pending`."""
        self._out: list[bytes | Joined] = []
        self._joined: dict[Family | Template, Joined] = {}
        self._crowded = False
        """At the end of the last turn more than one call was there."""
        self._unwritten = 0
        """Calls in `_out`; `_joined` finds those there that more can join."""
        self._transport: asyncio.Transport | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._doomed: asyncio.Future[Any] | Then | None = None
        self._retired = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._gone = asyncio.Event()

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        """The reply (an error reply is a value, `hiredis.ReplyError`), or `StoreError` for none."""
        future = self._loop.create_future()
        self.ask(packed, future)
        return future

    def ask(self, packed: bytes, who: asyncio.Future[Any] | Then) -> None:
        """As `call`; a `Then` is told within the turn in which the reply comes."""
        self._write_soon(packed, who)

    def join(self, call: Call, then: Then) -> None:
        """As `ask`, and as one with others of its family that wait to be written."""
        name = call.template if self._one_slot else call.template.family
        joined = self._joined.get(name)
        if joined is not None:
            joined.add(call, then)
            self._one_more()
            return
        joined = Joined(call, then, self._heard)
        if self._write_soon(joined, joined):
            self._joined[name] = joined

    def _write_soon(self, part: bytes | Joined, who: asyncio.Future[Any] | Then) -> bool:
        """Whether it waits to be written."""
        if self._transport is None:
            _tell(who, unavailable(f"{self.place}: connection lost"))
            return False
        self._pending.append((who, self._loop.time()))
        self._out.append(part)
        if len(self._pending) == 1:
            self._under_way = 0
            if self._watchdog is None:
                self._watchdog = self._loop.call_later(self._timeout_s, self._watch)
            if not self._crowded:
                self._under_way = 1
                self._flush()
                return False
        if len(self._out) == 1:
            self._loop.call_soon(self._turn_over)
        self._one_more()
        return bool(self._out)

    def _one_more(self) -> None:
        self._under_way += 1
        self._unwritten += 1
        if self._unwritten >= FLUSH_AT:
            self._flush()

    @property
    def full(self) -> bool:
        """Whether a new call must wait its turn for room."""
        return self._under_way >= self.pending_max or bool(self._waiters)

    async def room(self) -> None:
        """Wait for the replies that make room, first come first served; or until it is dropped."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    async def gone(self) -> None:
        await self._gone.wait()

    def retire(self) -> None:
        """Close once the calls under way are answered; the owner makes no more."""
        self._retired = True
        if not self._pending and self._transport is not None:
            self._transport.close()

    def drop(self, why: str) -> None:
        """Close now; what is under way fails. What was written may have taken effect."""
        if self._transport is None:
            return
        self._transport.abort()
        self._transport = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        written = len(self._pending) - len(self._out)
        self._forget_unwritten()
        pending, self._pending = self._pending, deque()
        self._under_way = 0
        for number, (who, _) in enumerate(pending):
            _tell(who, unavailable(f"{self.place}: {why}", indeterminate=number < written))
        self._let_in(len(self._waiters))
        self._on_lost(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        pending = self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not pending:
                    self.drop("a reply that nobody asked for")
                    return
                who, _ = pending.popleft()
                self._under_way -= len(who) if type(who) is Joined else 1
                if not isinstance(who, asyncio.Future):
                    who(reply)
                elif not who.done():
                    who.set_result(reply)
        except ProtocolError as error:
            self.drop(f"not the protocol of Redis ({error})")
            return
        if self._waiters:
            self._let_in(self.pending_max - self._under_way)
        if self._retired and not pending and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop("connection lost")
        self._gone.set()

    def _let_in(self, count: int) -> None:
        waiters = self._waiters
        while count > 0 and waiters:
            waiter = waiters.popleft()
            if not waiter.done():  # One that is done has been cancelled.
                waiter.set_result(None)
                count -= 1

    def _turn_over(self) -> None:
        self._crowded = self._unwritten != 1
        self._flush()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            parts = [part if isinstance(part, bytes) else part.packed() for part in self._out]
            self._forget_unwritten()
            self._transport.write(b"".join(parts))

    def _forget_unwritten(self) -> None:
        self._out.clear()
        self._joined.clear()
        self._unwritten = 0

    def _watch(self) -> None:
        """Replies come in order, so the oldest call alone tells whether they have stopped.

        A call found overdue gets a moment more: after a pause of this very loop its reply may be
        waiting to be read, and timers can run before the socket is looked at.
        """
        if not self._pending:
            self._watchdog = self._doomed = None
            return
        oldest, since_s = self._pending[0]
        left_s = since_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._doomed = None
        elif oldest is not self._doomed:
            self._doomed, left_s = oldest, GRACE_S
        else:
            self.drop(f"no answer within {self._timeout_s * 1000:.0f} ms")
            return
        self._watchdog = self._loop.call_later(left_s, self._watch)


def _tell(who: asyncio.Future[Any] | Then, error: StoreError) -> None:
    if not isinstance(who, asyncio.Future):
        who(error)
    elif not who.done():
        who.set_exception(error)
        who.exception()  # Counts as seen: a caller that is cancelled just now will not look.
