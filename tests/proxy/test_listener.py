"""Sockets that clients connect to, and what is found where one should be."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.proxy.listener import Spoken, listen_tcp, listen_unix


class Hangs(asyncio.Protocol):
    """Hangs up at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


HANGS = Spoken(Hangs)


async def test_a_free_port_is_told() -> None:
    listener = await listen_tcp(HANGS, "127.0.0.1", 0)
    host, _, port = listener.address.rpartition(":")
    assert host == "127.0.0.1"
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await reader.read() == b""
    writer.close()
    await listener.close()


async def test_an_address_in_use_is_an_error() -> None:
    listener = await listen_tcp(HANGS, "127.0.0.1", 0)
    port = int(listener.address.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        await listen_tcp(HANGS, "127.0.0.1", port)
    await listener.close()


async def test_a_socket_left_behind_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    listener = await listen_unix(HANGS, str(path))
    assert listener.address == f"unix:{path}"
    await listener.close()
    assert not path.exists()


async def test_a_socket_in_use_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    listener = await listen_unix(HANGS, path)
    with pytest.raises(OSError, match="in use"):
        await listen_unix(HANGS, path)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    writer.close()
    await listener.close()


async def test_a_file_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FileExistsError):
        await listen_unix(HANGS, str(path))
    assert path.read_text() == "data"
