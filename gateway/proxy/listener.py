"""Listener: the socket clients connect to, by TCP or unix socket, with or without TLS.

Several processes can serve one address: each by a socket of its own, among which the kernel spreads
the connections (SO_REUSEPORT; TCP only), or all by one that was opened before.
"""

import asyncio
import inspect
import os
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.catalog.addresses import Address, TcpAddress

BACKLOG = 4_096
HANDSHAKE_S = 10.0
"""The longest a handshake of TLS may take: until it is over, nothing else limits the connection."""


@dataclass(frozen=True, slots=True)
class Shared:
    """How an address is shared with other processes: by `sockets` that listen already and are the
    caller's no more, or, if there are none, by the kernel."""

    sockets: Sequence[socket.socket] = ()


class Listener:
    """Open sockets of one address. `close` stops accepting; connections accepted before go on."""

    def __init__(self, servers: Sequence[asyncio.Server], address: str, path: str | None) -> None:
        self._servers = servers
        self._path = path
        self.address = address
        """What clients can connect to: `127.0.0.1:8080` or `unix:/path`."""

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._path is not None:
            await asyncio.to_thread(Path(self._path).unlink, missing_ok=True)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is spoken to those who connect."""

    protocol: Callable[[], asyncio.Protocol]
    tls: ssl.SSLContext | None = None
    handshake_s: float = HANDSHAKE_S

    @property
    def handshake_timeout_s(self) -> float | None:
        return None if self.tls is None else self.handshake_s


async def listen(spoken: Spoken, address: Address, shared: Shared | None = None) -> Listener:
    """Raises OSError."""
    if shared is not None and shared.sockets:
        return await _take_up(spoken, str(address), shared.sockets)
    match address:
        case TcpAddress(host, port):
            return await listen_tcp(spoken, host, port, alone=shared is None)
        case _:
            return await listen_unix(spoken, address.path)


async def listen_tcp(spoken: Spoken, host: str, port: int, *, alone: bool = True) -> Listener:
    """`host` "" is every interface, port 0 any free one. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        spoken.protocol,
        host or None,
        port,
        ssl=spoken.tls,
        backlog=BACKLOG,
        reuse_address=True,
        reuse_port=not alone,
        ssl_handshake_timeout=spoken.handshake_timeout_s,
    )
    return Listener((server,), shown(server.sockets[0]), None)


async def listen_unix(spoken: Spoken, path: str) -> Listener:
    """Takes over the socket that a gateway left behind when it died, but not one that is in use,
    nor anything that is not a socket. Raises OSError."""
    await asyncio.to_thread(clear, path)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        spoken.protocol,
        path,
        ssl=spoken.tls,
        backlog=BACKLOG,
        ssl_handshake_timeout=spoken.handshake_timeout_s,
    )
    return Listener((server,), f"unix:{path}", path)


async def _take_up(spoken: Spoken, address: str, sockets: Sequence[socket.socket]) -> Listener:
    loop = asyncio.get_running_loop()
    unix = partial(loop.create_unix_server)
    if "cleanup_socket" in inspect.signature(loop.create_unix_server).parameters:
        unix = partial(unix, cleanup_socket=False)  # Its path is not ours to take away.
    servers = []
    for each in sockets:
        each.setblocking(False)
        create = unix if each.family == socket.AF_UNIX else loop.create_server
        servers.append(
            await create(
                spoken.protocol,
                sock=each,
                ssl=spoken.tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=spoken.handshake_timeout_s,
            )
        )
    return Listener(servers, address, None)


def shown(listening: socket.socket) -> str:
    """The address of a TCP socket as clients write it."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def clear(path: str) -> None:
    """Take away a socket that nobody listens at. Raises OSError for anything else."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(f"{path} is in use by another process")
