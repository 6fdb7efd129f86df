"""Resets: to end a connection so that nobody takes it for the proper end of a message."""

import asyncio
import socket
import struct
from contextlib import suppress

_AT_ONCE = struct.pack("ii", 1, 0)


def break_off(transport: asyncio.Transport) -> None:
    """Close with a reset; what was not sent is dropped. Not every transport has a socket."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
