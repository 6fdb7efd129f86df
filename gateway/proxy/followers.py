"""Followers: what a body on its way means to its request, turn by turn.

Only numbers are known of one that passes by the parsers. They are written down after every turn, so
that whatever ends it finds them exact.
"""

from collections.abc import Awaitable, Callable

from gateway.admission.measure import BodyCount
from gateway.clock import monotonic_s
from gateway.proxy.connection import Arrival
from gateway.proxy.exchange import Exchange

Cover = Callable[[int], Awaitable[None]]
"""Called with the number of bytes in hand, before they are passed on; raises to stop them."""


async def covered(count: BodyCount, cover: Cover, data: bytes) -> None:
    """Count a piece of a request's body and have it covered. What is stopped there, by a denial or
    by an early answer, is not passed on and does not count."""
    before = count.mark()
    count.feed(data)
    try:
        await cover(len(data))
    except BaseException:  # Also when cancelled: what is not passed on is not counted, however.
        count.stop_at(before)
        raise


class Up:
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

    def lost(self, count: int) -> None:
        """So much of what was covered is not passed on, and nothing more will be."""
        if self.covers and count:
            self._count.take_back(count)

    def stalls(self) -> None:
        self._exchange.waits(monotonic_s())

    def flows(self) -> None:
        self._exchange.goes_on(monotonic_s())


class Down:
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
