"""Memory: what a connection costs that waits, and one whose body comes slowly."""

import resource
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks.backend import Errand
from tests.benchmarks.cases import Case
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned
from tests.benchmarks.results import Memory
from tests.benchmarks.stage import House, stage

PIECE = b"z" * 1024
SLOW_BODY = 100_000_000
SLOW_SECONDS = 4
STEADY = 0.002
"""What two readings a moment apart may differ by, once nothing moves any more."""
STEADY_WITHIN_S = 10.0
WARM = Case("warm", "warm", Errand("POST", "/files/upload", 1024, 1, count=200))


@dataclass(frozen=True, slots=True)
class Widths:
    """How many connections."""

    idle: int
    slow: int


def measure(house: House, peer: Peer, widths: Widths) -> Memory:
    """Of a process that has just been started, as PSS."""
    _allow_open_files(widths.idle + widths.slow + 100)
    with stage(house) as running:
        running.start(peer)
        running.warm(peer.name, WARM)
        process, port = running.process(peer.name), running.port(peer.name)
        base = _steady_bytes(process)
        with ExitStack() as stack:
            for number in range(widths.idle):
                key = house.customers[number % len(house.customers)].key
                connection = _connected(port, key, len(PIECE), stack)
                connection.sendall(PIECE)
                _read_answer(connection)
            idle = _steady_bytes(process)
        empty = _steady_bytes(process)
        with ExitStack() as stack:
            slow = [
                _connected(port, house.customers[n % len(house.customers)].key, SLOW_BODY, stack)
                for n in range(widths.slow)
            ]
            _trickle(slow)
            trickling = _steady_bytes(process)
    # What an allocator keeps for the next connections is theirs: `empty` is not held against it.
    return Memory(
        base,
        max(0.0, idle - base) / widths.idle,
        max(0.0, trickling - min(base, empty)) / widths.slow,
    )


def _connected(port: int, key: str, length: int, stack: ExitStack) -> socket.socket:
    """A connection on which the head of an upload has been sent."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
    head = (
        "POST /files/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-API-Key: {key}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def _read_answer(connection: socket.socket) -> None:
    """All of it: the answer of the sink fits into one piece."""
    said = connection.recv(65_536)
    if b" 200 " not in said[:16]:
        raise RuntimeError(f"an idle connection was answered {said[:200]!r}")


def _trickle(connections: Sequence[socket.socket]) -> None:
    """A piece a second on each."""
    began = time.monotonic()
    for second in range(SLOW_SECONDS):
        time.sleep(max(0.0, began + second - time.monotonic()))
        for connection in connections:
            connection.sendall(PIECE)


def _steady_bytes(process: Pinned) -> int:
    """Once it grows and shrinks no more, or after some time."""
    deadline = time.monotonic() + STEADY_WITHIN_S
    before = process.pss_bytes
    while True:
        time.sleep(0.25)
        now = process.pss_bytes
        if abs(now - before) <= STEADY * before or time.monotonic() > deadline:
            return now
        before = now


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
