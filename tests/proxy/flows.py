"""Sockets for flows, and somebody who follows one."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.proxy.chunks import ChunkScanner
from gateway.proxy.rechunk import Rechunk
from gateway.proxy.splice import Splice
from gateway.proxy.vessels import Vessels


@dataclass
class Followed:
    """Writes down what it hears. `most`: what it covers before it refuses; None: it covers
    nothing."""

    most: int | None = None
    put: int = 0
    asked: list[int] = field(default_factory=list)
    stalled: int = 0
    went_on: int = 0

    @property
    def covers(self) -> bool:
        return self.most is not None

    async def cover(self, count: int) -> None:
        await asyncio.sleep(0)
        self.asked.append(count)
        if self.most is not None and sum(self.asked) > self.most:
            raise PermissionError("no more than this")

    def moved(self, count: int) -> None:
        self.put += count

    def stalls(self) -> None:
        self.stalled += 1

    def flows(self) -> None:
        self.went_on += 1


class Turned(Followed):
    """Of several: `turns` tells which of them has moved something, after which other."""

    def __init__(self, name: int, turns: list[int]) -> None:
        super().__init__()
        self._name = name
        self._turns = turns

    def moved(self, count: int) -> None:
        assert count <= 1024 * 1024
        if not self._turns or self._turns[-1] != self._name:
            self._turns.append(self._name)


@dataclass(frozen=True)
class Ends:
    """`client` → `source` → (the flow) → `target` → `upstream`, all non-blocking."""

    client: socket.socket
    source: socket.socket
    target: socket.socket
    upstream: socket.socket

    def flow(self, vessels: Vessels, left: int, followed: Followed | None = None) -> Splice:
        return Splice(vessels, self.source, self.target, left, followed or Followed())

    def chunk_flow(
        self, vessels: Vessels, followed: Followed | None = None, *, to_chunks: bool = True
    ) -> Rechunk:
        """Of a body that begins with what `source` gets."""
        scanner, follower = ChunkScanner(), followed or Followed()
        return Rechunk(vessels, self.source, self.target, scanner, follower, to_chunks=to_chunks)


@contextlib.contextmanager
def ends(*, tcp: bool = True) -> Iterator[Ends]:
    with contextlib.ExitStack() as stack:
        pairs = [*(tcp_pair() if tcp else socket.socketpair()), *tcp_pair()]
        for each in pairs:
            stack.enter_context(each).setblocking(False)
        yield Ends(*pairs)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    return near, far


async def feed(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def drink(sock: socket.socket, count: int) -> bytes:
    """Exactly so much, or what there is until the end."""
    got = bytearray()
    while len(got) < count:
        piece = await asyncio.get_running_loop().sock_recv(sock, min(65_536, count - len(got)))
        if not piece:
            break
        got += piece
    return bytes(got)
