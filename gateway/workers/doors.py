"""Doors: the addresses of a gateway, held by the supervisor for all workers.

By TCP, each worker listens at the public address by a socket of its own, among which the kernel
spreads the connections (SO_REUSEPORT): no worker wakes for what another takes, and what waits for
one that died goes no further than its own queue. The supervisor's socket there never listens: it
finds out whether the address is free (which a shared one does not tell), chooses the port where any
will do, and keeps it while no worker lives. Unix sockets cannot be shared so, and the admin
listener must not be: a worker that hangs would take its part of the probes. There all workers
accept from one queue.
"""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from gateway.catalog.addresses import Address, TcpAddress
from gateway.proxy.listener import BACKLOG, clear, shown


@dataclass
class Door:
    """One address. `address` has a port; `shared` are sockets to accept from, if there are any."""

    address: Address
    shown: str
    """As clients write it."""
    shared: list[socket.socket] = field(default_factory=list)
    kept: list[socket.socket] = field(default_factory=list)

    @classmethod
    def public(cls, address: Address) -> "Door":
        """Raises OSError."""
        if not isinstance(address, TcpAddress):
            return cls._unix(address.path, address)
        bound, address = _bound(address)
        for each in bound:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return cls(address, shown(bound[0]), kept=bound)

    @classmethod
    def admin(cls, address: Address) -> "Door":
        """Raises OSError."""
        if not isinstance(address, TcpAddress):
            return cls._unix(address.path, address)
        bound, address = _bound(address)
        for each in bound:
            each.listen(BACKLOG)
        return cls(address, shown(bound[0]), bound)

    @classmethod
    def _unix(cls, path: str, address: Address) -> "Door":
        clear(path)
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(path)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return cls(address, str(address), [listening])

    def close(self) -> None:
        """Idempotent. What the workers have of it is theirs to close."""
        for each in (*self.shared, *self.kept):
            each.close()
        if self.shared and not isinstance(self.address, TcpAddress):
            Path(self.address.path).unlink(missing_ok=True)
        self.shared, self.kept = [], []


def _bound(address: TcpAddress) -> tuple[list[socket.socket], TcpAddress]:
    """A socket for each interface that the host stands for, all with one port."""
    port = address.port
    found = socket.getaddrinfo(
        address.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, at in dict.fromkeys(found):
            try:
                each = socket.socket(family, kind, protocol)
            except OSError:
                continue  # The machine does not speak it.
            bound.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _bind(each, (at[0], port, *at[2:]))
            port = each.getsockname()[1]
        if not bound:
            raise OSError(f"there is no address to listen at for {address}")
    except OSError:
        for each in bound:
            each.close()
        raise
    return bound, TcpAddress(address.host, port)


def _bind(unbound: socket.socket, at: tuple[object, ...]) -> None:
    try:
        unbound.bind(at)
    except OSError as failure:
        why = os.strerror(failure.errno or 0).lower()
        raise OSError(
            failure.errno, f"error while attempting to bind on address {at}: {why}"
        ) from None
