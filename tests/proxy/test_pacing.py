"""What stays on the machine is not paced; whatever else a connection uses is left alone."""

import socket

import pytest

from gateway.proxy.pacing import UNPACED, unpace
from gateway.proxy.vessels import Vessels
from tests.proxy.flows import drink, ends, feed, tcp_pair

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="not Linux")


def congestion_control(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def pace(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    except OSError:
        pytest.skip("this kernel has no BBR, or not for everybody")


async def test_a_flow_within_the_machine_is_not_paced_and_goes_on_as_it_did() -> None:
    vessels = Vessels()
    with ends() as e:
        pace(e.target)
        pace(e.source)
        await feed(e.client, b"body")
        await e.flow(vessels, 4).run(source_s=None, target_s=5.0)
        assert await drink(e.upstream, 4) == b"body"
        assert congestion_control(e.target) == UNPACED
        assert congestion_control(e.source) == b"bbr", "nothing is sent there"
    vessels.close()


def test_between_two_addresses_it_is_paced_as_it_was() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname(), source_address=("127.0.0.2", 0))
        near, _ = listening.accept()
    with near, far:
        pace(near)
        assert not unpace(near)
        assert congestion_control(near) == b"bbr"


def test_another_congestion_control_stays() -> None:
    near, far = tcp_pair()
    with near, far:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
        assert not unpace(near)
        assert congestion_control(near) == UNPACED


def test_sockets_that_are_not_tcp_or_not_connected_any_more() -> None:
    unix, other = socket.socketpair()
    near, far = tcp_pair()
    with unix, other, far:
        assert not unpace(unix)
        near.close()
        assert not unpace(near)
