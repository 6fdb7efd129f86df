"""Pacing: between two programs of one machine a body is not sent by the clock.

BBR, where it is what a machine's connections use, sends every 64 KiB or less by a timer, at the
pace that it takes the path to bear. That is for networks. Where there is none, the timers cost more
than the bytes: a large body takes half as much processor time again.
"""

import ipaddress
import socket
from contextlib import ExitStack, suppress

PACED = b"bbr"
"""How the names of congestion controls that pace begin."""
UNPACED = b"reno"
"""The one that every kernel has, and lets everybody use."""
NAME_BYTES = 16

_OPTION: int | None = getattr(socket, "TCP_CONGESTION", None)


def unpace(sock: socket.socket) -> bool:
    """Send by no clock on a connection that does not leave the machine; True if it was one that
    did. What cannot be had is done without."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    with suppress(OSError):
        return _is_paced(sock) and sock.getsockname()[0] == sock.getpeername()[0] and _off(sock)
    return False


def unpaced(host: str) -> socket.socket | None:
    """A socket to be connected to `host` that never was paced: where BBR has been at work, some of
    its pacing stays. None: that is no address of this machine, or nothing is paced here."""
    try:
        there = ipaddress.ip_address(host)
    except ValueError:  # a name
        return None
    if not there.is_loopback:
        return None
    with suppress(OSError), ExitStack() as unless_used:
        family = socket.AF_INET if there.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        unless_used.enter_context(sock)
        if _is_paced(sock) and _off(sock):
            sock.setblocking(False)
            unless_used.pop_all()
            return sock
    return None


def _is_paced(sock: socket.socket) -> bool:
    if _OPTION is None:
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, _OPTION, NAME_BYTES).startswith(PACED)


def _off(sock: socket.socket) -> bool:
    assert _OPTION is not None
    sock.setsockopt(socket.IPPROTO_TCP, _OPTION, UNPACED)
    return True
