"""What stays on the machine is not paced; whatever else a connection uses is left alone."""

import socket

import pytest

from gateway.catalog.routes import Upstream
from gateway.errors import UPSTREAM_UNREACHABLE, UpstreamError
from gateway.proxy import pacing
from gateway.proxy.pacing import UNPACED, unpace, unpaced
from gateway.proxy.vessels import Vessels
from tests.proxy.exchanges import exchange, pool_of, serving
from tests.proxy.flows import drink, ends, feed, tcp_pair
from tests.upstreams import Answer, Repeat, Request

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="not Linux")


ON_EVERY_LOOP = True


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


@pytest.fixture
def all_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine uses."""
    monkeypatch.setattr(pacing, "PACED", b"")


@pytest.mark.usefixtures("all_is_paced")
@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", False),
        ("192.0.2.1", False),
        ("store.example", False),
    ],
)
def test_which_upstreams_are_on_this_machine(host: str, here: bool) -> None:
    sock = unpaced(host)
    assert (sock is not None) == here
    if sock is not None:
        with sock:
            assert congestion_control(sock) == UNPACED


def test_without_pacing_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PACED", b"no such thing")
    assert unpaced("127.0.0.1") is None


@pytest.mark.usefixtures("all_is_paced")
async def test_a_connection_to_an_upstream_on_this_machine() -> None:
    async with serving([Repeat([Request(), Answer(200, body=b"ok")])]) as (_, pool):
        connection = await pool.connect()
        lent = connection.lend(reading=False)
        assert lent is not None
        with lent:
            assert congestion_control(lent) == UNPACED
            assert lent.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert await exchange(connection) == b"ok"
        assert await exchange(await pool.connect()) == b"ok"
        assert pool.open == 1


@pytest.mark.usefixtures("all_is_paced")
async def test_one_that_nobody_takes_leaves_no_socket_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with pool_of(Upstream("gone", f"http://127.0.0.1:{port}")) as pool:
        with pytest.raises(UpstreamError) as caught:
            await pool.connect()
        assert caught.value.error is UPSTREAM_UNREACHABLE
