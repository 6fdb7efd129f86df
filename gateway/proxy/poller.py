"""Poller: tells flows when their sockets are ready, a few of them in each turn of the loop.

A loop that hears of fifty ready sockets at once serves all fifty before anything else has its turn,
which is long when each of them moves a megabyte. An epoll of its own hands out a few at a time, in
turn; it also costs a flow that waits less memory, and one that stalls fewer calls, than the loop's
own readers and writers, which are used where there is no epoll.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

TURNS_MAX = 4
"""Flows that move something before the loop goes on to other things."""


class Poller(Protocol):
    """A descriptor is watched for one thing at a time, until it is forgotten."""

    def until_readable(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call this as often as there is something to be read."""
        ...

    def until_writable(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call this as often as there is room."""
        ...

    def forget(self, descriptor: int) -> None:
        """Watch it no more, if it is watched."""
        ...

    def close(self) -> None: ...


def poller() -> Poller:
    """Of the running loop."""
    return EpollPoller() if hasattr(select, "epoll") else LoopPoller()


class EpollPoller:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def until_readable(self, descriptor: int, call: Callable[[], None]) -> None:
        self._watch(descriptor, select.EPOLLIN, call)

    def until_writable(self, descriptor: int, call: Callable[[], None]) -> None:
        self._watch(descriptor, select.EPOLLOUT, call)

    def forget(self, descriptor: int) -> None:
        if self._calls.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _watch(self, descriptor: int, events: int, call: Callable[[], None]) -> None:
        self._epoll.register(descriptor, events)
        self._calls[descriptor] = call

    def _ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0, TURNS_MAX):
            call = self._calls.get(descriptor)
            if call is not None:  # not forgotten by another one's turn
                call()


class LoopPoller:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def until_readable(self, descriptor: int, call: Callable[[], None]) -> None:
        self._loop.add_reader(descriptor, call)

    def until_writable(self, descriptor: int, call: Callable[[], None]) -> None:
        self._loop.add_writer(descriptor, call)

    def forget(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)

    def close(self) -> None:
        """Nothing is its own."""
