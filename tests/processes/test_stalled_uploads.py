"""Uploads that their upstream is slow to take wait in their clients, not in the gateway."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tasks import TaskSet
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import deployed

UPLOADS = 200
BODY = bytes(8_000_000)
"""More than there is room for in buffers of the system."""
EACH_MAX = 96 * 1024
"""Of memory, with all that a request takes."""
TOGETHER_MAX = 20 * 1024**2
"""Of the buffers that they share, and of what those that were fast before may keep."""


@contextlib.contextmanager
def deaf() -> Iterator[tuple[str, list[socket.socket]]]:
    """An upstream that takes connections and nothing else: its URL, and what it took."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(UPLOADS)
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])

        thread = threading.Thread(target=accept, name="deaf upstream")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", taken
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


@pytest.mark.parametrize("splice", ["true", "false"])
async def test_many(tmp_path: Path, splice: str) -> None:
    with deaf() as (upstream, taken):
        wishes = Wishes(upstream, server=f"splice = {splice}", storage=10**12)
        async with deployed(tmp_path, wishes) as house:
            (gateway,) = house.gateways
            acme = await house.customer("acme")
            before = gateway.memory_peak
            moved = 0

            async def upload(n: int) -> None:
                nonlocal moved
                with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
                    sock.setblocking(False)
                    head = (
                        f"PUT /files/{n} HTTP/1.1\r\nHost: t\r\nX-API-Key: {acme.key}\r\n"
                        f"Content-Length: {len(BODY)}\r\n\r\n"
                    )
                    left = memoryview(head.encode() + BODY)
                    while left:
                        try:
                            count = sock.send(left[: 1 << 16])
                        except BlockingIOError:
                            await asyncio.sleep(0.01)
                        except ConnectionError:
                            return  # It has been answered.
                        else:
                            moved += count
                            left = left[count:]

            tasks = TaskSet()
            for n in range(UPLOADS):
                tasks.start(upload(n), name="upload")
            await until(lambda: house.open_leases(acme) == UPLOADS, "all are under way")
            seen = -1

            def at_rest() -> bool:
                nonlocal seen
                seen, last = moved, seen
                return seen == last

            await until(at_rest, "nothing moves any more")
            assert moved < UPLOADS * len(BODY)
            assert gateway.memory_peak - before < UPLOADS * EACH_MAX + TOGETHER_MAX
            for each in taken:
                each.close()
            await house.settled(acme)
            await tasks.stop()
            assert await house.standing(acme) == (0, 0)
