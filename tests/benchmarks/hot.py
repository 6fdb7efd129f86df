"""A hot account: its two calls sent to its master without a pause, to see what one core serves."""

import socket
import time
from collections.abc import Iterator
from uuid import uuid4

import hiredis
import redis

from gateway.ledger.resp import command
from tests.benchmarks.books import Customer
from tests.benchmarks.learning import overheard
from tests.benchmarks.overheard import Monitor, filled
from tests.redis_server import RedisServer

AT_ONCE = 64
"""Calls under way: as many as a busy gateway has."""
SIZE = 1024


def saturated(master: RedisServer, gateway_port: int, customer: Customer, seconds: float) -> int:
    """How many requests it served: a reserve and a commit each, as that gateway asks for them."""
    with (
        Monitor(master.port) as monitor,
        redis.Redis(port=master.port, protocol=2) as client,
    ):
        calls = overheard(gateway_port, monitor, client, customer, SIZE)
    served, began = 0, time.monotonic()
    with socket.create_connection(("127.0.0.1", master.port), 10) as connection:
        while time.monotonic() - began < seconds:
            ids = [uuid4().hex[: calls.id_length].encode() for _ in range(AT_ONCE)]
            for template in (calls.reserve, calls.commit):
                connection.sendall(b"".join(command(*filled(template, name)) for name in ids))
                for reply in _replies(connection, len(ids)):
                    if not isinstance(reply, list) or reply[0] not in (b"granted", b"settled"):
                        raise RuntimeError(f"the master answers {reply!r}")
            served += len(ids)
    return served


def _replies(connection: socket.socket, count: int) -> Iterator[object]:
    reader = hiredis.Reader()
    while count:
        reader.feed(connection.recv(65_536))
        while (reply := reader.gets()) is not False:
            count -= 1
            yield reply
