"""Addresses that a supervisor holds for its workers: free or not, and with a port for all."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.catalog.addresses import TcpAddress, UnixAddress
from gateway.proxy.listener import Shared, Spoken, listen
from gateway.workers.doors import Door

HERE = TcpAddress("127.0.0.1", 0)


class Greets(asyncio.Protocol):
    """Says who it is, and hangs up."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._name)
        transport.close()


def greeting(name: bytes) -> Spoken:
    return Spoken(lambda: Greets(name))


async def heard(port: int, times: int = 64) -> set[bytes]:
    said = set()
    for _ in range(times):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said.add(await reader.read())
        writer.close()
    return said


async def test_workers_listen_at_the_port_that_was_found_and_share_it() -> None:
    door = Door.public(HERE)
    assert isinstance(door.address, TcpAddress)
    assert door.address.port > 0
    assert door.shown == f"127.0.0.1:{door.address.port}"
    assert door.shared == []
    first = await listen(greeting(b"1"), door.address, Shared())
    second = await listen(greeting(b"2"), door.address, Shared())
    assert await heard(door.address.port) == {b"1", b"2"}
    await first.close()
    assert await heard(door.address.port) == {b"2"}
    await second.close()
    # Nobody listens, but the port is kept: a worker that is started later has it again.
    with pytest.raises(ConnectionRefusedError):
        await heard(door.address.port, 1)
    third = await listen(greeting(b"3"), door.address, Shared())
    assert await heard(door.address.port) == {b"3"}
    await third.close()
    door.close()
    door.close()


async def test_workers_of_another_gateway_are_in_the_way() -> None:
    """SO_REUSEPORT alone would let two gateways share an address without a word."""
    door = Door.public(HERE)
    worker = await listen(greeting(b"1"), door.address, Shared())
    for other in (Door.public, Door.admin):
        with pytest.raises(OSError, match="address already in use"):
            other(door.address)
    await worker.close()
    door.close()


async def test_one_queue_serves_all_and_closes_with_the_last() -> None:
    door = Door.admin(HERE)
    assert isinstance(door.address, TcpAddress)
    copies = [[each.dup() for each in door.shared] for _ in range(2)]
    first = await listen(greeting(b"1"), door.address, Shared(copies[0]))
    second = await listen(greeting(b"2"), door.address, Shared(copies[1]))
    assert await heard(door.address.port, 8) <= {b"1", b"2"}
    door.close()
    await first.close()
    assert await heard(door.address.port, 8) == {b"2"}
    await second.close()
    with pytest.raises(ConnectionRefusedError):
        await heard(door.address.port, 1)


@pytest.mark.skipif(not socket.has_ipv6, reason="the machine does not speak IPv6")
def test_every_interface_has_one_port() -> None:
    for opened in (Door.public, Door.admin):
        door = opened(TcpAddress("", 0))
        assert isinstance(door.address, TcpAddress)
        assert door.address.host == ""
        sockets = [*door.shared, *door.kept]
        assert {each.getsockname()[1] for each in sockets} == {door.address.port}
        assert len({each.family for each in sockets}) == len(sockets)
        door.close()


async def test_a_unix_socket_goes_with_the_supervisor_and_with_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # By a gateway that died.
    door = Door.public(UnixAddress(str(path)))
    assert door.shown == f"unix:{path}"
    with pytest.raises(OSError, match="in use"):
        Door.admin(UnixAddress(str(path)))
    worker = await listen(
        greeting(b"1"), door.address, Shared([each.dup() for each in door.shared])
    )
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b"1"
    writer.close()
    await worker.close()
    assert path.exists()
    door.close()
    assert not path.exists()
