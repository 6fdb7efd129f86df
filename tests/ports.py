"""Ports for servers that must be told theirs before they listen."""

import random
import socket

BUS_OFFSET = 10_000
"""From a node's port to that of its cluster bus."""


def free_port() -> int:
    """A port nobody listens on now, its bus port included. Both are below those that the kernel
    gives to outgoing connections, so that none of these takes one before the server does; of many,
    so that tests that run beside this one hardly choose the same."""
    for _ in range(1_000):
        port = random.randrange(11_000, 22_000)
        try:
            for each in (port, port + BUS_OFFSET):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
    raise RuntimeError("no free port for a server")
