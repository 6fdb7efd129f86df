"""Listener: the socket clients connect to, by TCP or unix socket, with or without TLS."""

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

BACKLOG = 4_096
HANDSHAKE_S = 10.0
"""The longest a handshake of TLS may take: until it is over, nothing else limits the connection."""


class Listener:
    """One open socket. `close` stops accepting; connections that were accepted go on."""

    def __init__(self, server: asyncio.Server, address: str, path: str | None) -> None:
        self._server = server
        self._path = path
        self.address = address
        """What clients can connect to: `127.0.0.1:8080` or `unix:/path`."""

    async def close(self) -> None:
        self._server.close()
        if self._path is not None:
            await asyncio.to_thread(Path(self._path).unlink, missing_ok=True)


async def listen_tcp(
    protocol: Callable[[], asyncio.Protocol],
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    handshake_s: float = HANDSHAKE_S,
) -> Listener:
    """`host` "" is every interface, port 0 any free one. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol,
        host or None,
        port,
        ssl=context,
        backlog=BACKLOG,
        reuse_address=True,
        ssl_handshake_timeout=None if context is None else handshake_s,
    )
    bound_host, bound_port = server.sockets[0].getsockname()[:2]
    shown = f"[{bound_host}]" if server.sockets[0].family == socket.AF_INET6 else bound_host
    return Listener(server, f"{shown}:{bound_port}", None)


async def listen_unix(
    protocol: Callable[[], asyncio.Protocol],
    path: str,
    context: ssl.SSLContext | None,
    handshake_s: float = HANDSHAKE_S,
) -> Listener:
    """Takes over the socket that a gateway left behind when it died, but not one that is in use,
    nor anything that is not a socket. Raises OSError."""
    await asyncio.to_thread(_clear, path)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        protocol,
        path,
        ssl=context,
        backlog=BACKLOG,
        ssl_handshake_timeout=None if context is None else handshake_s,
    )
    return Listener(server, f"unix:{path}", path)


def _clear(path: str) -> None:
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
