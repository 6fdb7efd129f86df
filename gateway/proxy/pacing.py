"""Pacing: between two programs of one machine a body is not sent by the clock.

BBR, where it is what a machine's connections use, sends every 64 KiB or less by a timer, at the
pace that it takes the path to bear. That is for networks. Where there is none, the timers cost more
than the bytes: a large body takes half as much processor time again.
"""

import socket

PACED = b"bbr"
"""How the names of congestion controls that pace begin."""
UNPACED = b"reno"
"""The one that every kernel has, and lets everybody use."""
NAME_BYTES = 16

_OPTION: int | None = getattr(socket, "TCP_CONGESTION", None)


def unpace(sock: socket.socket) -> bool:
    """Send by no clock on a connection that does not leave the machine; True if it was one that
    did. What cannot be had is done without."""
    if _OPTION is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        if not sock.getsockopt(socket.IPPROTO_TCP, _OPTION, NAME_BYTES).startswith(PACED):
            return False
        if sock.getsockname()[0] != sock.getpeername()[0]:
            return False
        sock.setsockopt(socket.IPPROTO_TCP, _OPTION, UNPACED)
    except OSError:
        return False
    return True
