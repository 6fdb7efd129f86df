"""Watchdog: one timer for the time limits of all requests in flight.

A timer per read would cost more than the read; limits of seconds need no better resolution than
one look a second at every request.
"""

import asyncio
from typing import Protocol

from gateway.clock import monotonic_s
from gateway.errors import Error

TICK_S = 1.0


class InFlight(Protocol):
    """A request in flight, as its limits see it."""

    @property
    def account(self) -> str: ...

    @property
    def key_id(self) -> str: ...

    def halt(self, reason: object) -> None:
        """Stop it."""

    def overdue(self, now_s: float) -> Error | None:
        """The limit of time it has passed, if any."""


class Watchdog:
    """Keeps the set of requests in flight; stops the overdue, and at the end of a drain all."""

    def __init__(self) -> None:
        self._exchanges: set[InFlight] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        """There while somebody waits for it."""

    def __len__(self) -> int:
        return len(self._exchanges)

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enter(self, exchange: InFlight) -> None:
        self._exchanges.add(exchange)

    def leave(self, exchange: InFlight) -> None:
        self._exchanges.discard(exchange)
        if self._idle is not None and not self._exchanges:
            self._idle.set()

    def stop_all(self, reason: object) -> None:
        for exchange in tuple(self._exchanges):
            exchange.halt(reason)

    def stop_of(self, account: str, key_id: str | None, reason: object) -> None:
        """Stop what runs under an API key, or with `key_id` None under a whole account."""
        for exchange in tuple(self._exchanges):
            if exchange.account == account and key_id in (None, exchange.key_id):
                exchange.halt(reason)

    async def idle(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight, at most `timeout_s`; say whether that came true."""
        if not self._exchanges:
            return True
        self._idle = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        finally:
            self._idle = None
        return True

    def _tick(self) -> None:
        now_s = monotonic_s()
        for exchange in tuple(self._exchanges):
            if (limit := exchange.overdue(now_s)) is not None:
                exchange.halt(limit)
        self.start()
