"""Salvage: what a peer had said before a write to it failed.

An upstream that refuses an upload (413, 507) and closes at once makes our next write fail; its
answer is then still in the socket, where asyncio would leave it unread.
"""

import asyncio
import os
import socket
from collections.abc import Iterator

PIECE_BYTES = 65_536


def left_in(transport: asyncio.Transport) -> Iterator[bytes]:
    """The pieces that are still there, b"" last if the peer has ended its side. Nothing of a
    connection that is encrypted."""
    sock = transport.get_extra_info("socket")
    if transport.get_extra_info("ssl_object") is not None or sock is None or sock.fileno() < 0:
        return
    with socket.socket(fileno=os.dup(sock.fileno())) as left:
        left.setblocking(False)
        try:
            while data := left.recv(PIECE_BYTES):
                yield data
        except OSError:
            return
        yield b""
