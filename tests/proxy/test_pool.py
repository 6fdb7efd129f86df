"""How connections to an upstream are opened, kept, bounded and dropped."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.catalog.routes import Upstream
from gateway.errors import UPSTREAM_FAILED, UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, UpstreamError
from gateway.proxy.pool import Address, UpstreamPool, address
from gateway.proxy.upstream import UpstreamConnection
from gateway.tasks import TaskSet
from tests.certificates import Authority
from tests.proxy.exchanges import exchange, failure_of, pool_of, serving
from tests.upstreams import Answer, Close, Repeat, Request, Reset, Script, ScriptedUpstream

ON_EVERY_LOOP = True

SERVE: Script = [Repeat([Request(), Answer(200, body=b"ok")])]


async def unreachable(pool: UpstreamPool) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await pool.connect()
    assert not caught.value.before_bytes
    assert pool.open == 0
    return caught.value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://up:8080", Address("up", 8080, None, False, b"up:8080")),
        ("http://up", Address("up", 80, None, False, b"up")),
        ("https://up.example", Address("up.example", 443, None, True, b"up.example")),
        ("https://up.example:8443", Address("up.example", 8443, None, True, b"up.example:8443")),
        ("http://[::1]:81", Address("::1", 81, None, False, b"[::1]:81")),
        ("unix:/run/up.sock", Address("", 0, "/run/up.sock", False, b"localhost")),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert address(url) == expected


async def test_a_closed_port_is_told_at_once() -> None:
    """failure row 33"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with pool_of(Upstream("gone", f"http://127.0.0.1:{port}")) as pool:
        assert (await unreachable(pool)).error is UPSTREAM_UNREACHABLE


async def test_a_socket_file_that_is_not_there() -> None:
    """failure row 33"""
    async with pool_of(Upstream("gone", "unix:/nonexistent/up.sock")) as pool:
        assert (await unreachable(pool)).error is UPSTREAM_UNREACHABLE


async def test_a_name_that_does_not_resolve() -> None:
    """failure row 33"""
    async with pool_of(Upstream("gone", "http://upstream.invalid:80")) as pool:
        assert (await unreachable(pool)).error is UPSTREAM_UNREACHABLE


async def test_an_upstream_that_accepts_nothing_times_out() -> None:
    """failure row 33: its backlog is full, so that a SYN gets no answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with pool_of(Upstream("full", url, connect_timeout_s=0.1)) as pool:
            assert (await unreachable(pool)).error is UPSTREAM_TIMEOUT


async def test_the_last_connection_used_is_the_next_one_used() -> None:
    async with serving(SERVE) as (upstream, pool):
        first, second, third = [await pool.connect() for _ in range(3)]
        for connection in (second, third, first):
            assert not connection.reused
            assert await exchange(connection) == b"ok"
        assert pool.idle == 3
        for connection in (first, third, second):
            assert await pool.connect() is connection
            assert connection.reused
        assert pool.take() is None
        assert upstream.connections == 3


async def test_what_was_idle_for_too_long_is_closed() -> None:
    async with serving(SERVE, keepalive_s=0.1) as (upstream, pool):
        connections = [await pool.connect() for _ in range(3)]
        for connection in connections:
            await exchange(connection)
        await upstream.until(lambda: upstream.open == 0)
        assert pool.idle == pool.open == 0
        assert await exchange(await pool.connect()) == b"ok"
        assert upstream.connections == 4


async def test_another_try_gets_past_an_upstream_that_closes_idle_connections() -> None:
    """Whether its end is seen before the next request is sent is a race; both ways are told."""
    script: Script = [Request(), Answer(200, body=b"ok"), Close()]
    async with serving(script) as (upstream, pool):
        for count in range(1, 20):
            connection = await pool.connect()
            failure = await failure_of(exchange(connection))
            if failure is not None:
                assert connection.reused
                assert failure.before_bytes
                assert await exchange(await pool.connect()) == b"ok"
            assert upstream.connections == count


async def test_beyond_the_bound_one_waits_for_a_connection_that_comes_back() -> None:
    async with serving(SERVE, connections_max=2) as (upstream, pool):
        first, second = await pool.connect(), await pool.connect()
        tasks = TaskSet()
        third = tasks.start(pool.connect(), name="third")
        fourth = tasks.start(pool.connect(), name="fourth")
        await asyncio.sleep(0)
        await exchange(first)
        assert await third is first
        assert first.reused
        second.abort()  # Its place goes to the next in turn.
        assert not (await fourth).reused
        assert pool.open == 2
        assert upstream.connections == 3


async def test_a_connection_that_ends_as_it_is_handed_on_is_replaced() -> None:
    async with serving(SERVE, connections_max=1) as (upstream, pool):
        first = await pool.connect()
        waiting = TaskSet().start(pool.connect(), name="waits for its turn")
        await asyncio.sleep(0)
        await exchange(first)
        first.abort()
        second = await waiting
        assert second.usable
        await exchange(second)
        assert upstream.connections == 2


async def test_waiting_has_an_end() -> None:
    async with ScriptedUpstream(SERVE) as upstream:
        limits = Upstream("u", upstream.url, connections_max=1, connect_timeout_s=0.1)
        async with pool_of(limits) as pool:
            connection = await pool.connect()
            with pytest.raises(UpstreamError) as caught:
                await pool.connect()
            assert caught.value.error is UPSTREAM_UNREACHABLE
            await exchange(connection)
            assert pool.idle == pool.open == 1


async def test_whoever_gives_up_waiting_takes_nothing_along() -> None:
    """A connection or a place that was meant for a cancelled request goes to the next."""
    async with serving(SERVE, connections_max=1) as (_, pool):
        tasks = TaskSet()
        for end in (exchange, abort):
            connection = await pool.connect()
            leaves = tasks.start(pool.connect(), name="leaves")
            stays = tasks.start(pool.connect(), name="stays")
            await asyncio.sleep(0)
            await end(connection)
            leaves.cancel()
            kept = await stays
            assert leaves.cancelled()
            assert pool.open == 1
            await exchange(kept)
        assert pool.idle == 1


async def abort(connection: UpstreamConnection) -> None:
    connection.abort()
    for _ in range(3):
        await asyncio.sleep(0)  # The loop tells the pool.


async def test_the_bound_holds_under_a_crowd() -> None:
    async with serving(SERVE, connections_max=3) as (upstream, pool):

        async def one() -> None:
            assert await exchange(await pool.connect()) == b"ok"
            assert pool.open <= 3

        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(one())
        assert upstream.connections <= 3
        assert pool.idle == pool.open <= 3


@pytest.mark.parametrize("ending", [Close(), Reset()])
async def test_places_of_broken_connections_are_free_again(ending: Close | Reset) -> None:
    async with ScriptedUpstream([Request(), ending]) as upstream:
        limits = Upstream("u", upstream.url, connections_max=2, connect_timeout_s=1.0)
        async with pool_of(limits) as pool:
            for _ in range(10):
                with pytest.raises(UpstreamError) as caught:
                    await exchange(await pool.connect())
                assert caught.value.error is UPSTREAM_FAILED
            await upstream.until(lambda: upstream.open == 0)
        assert pool.open == 0


async def test_a_closed_pool_serves_what_began_with_it_and_keeps_nothing() -> None:
    """failure row 10: requests in flight stay with the configuration they began with."""
    async with ScriptedUpstream(SERVE) as upstream:
        pool = UpstreamPool(Upstream("u", upstream.url))
        idle, busy = await pool.connect(), await pool.connect()
        await exchange(idle)
        await pool.close()
        await upstream.until(lambda: upstream.open == 1)
        assert await exchange(busy) == b"ok"
        assert await exchange(await pool.connect()) == b"ok"
        await upstream.until(lambda: upstream.open == 0)
        assert pool.idle == pool.open == 0


async def test_a_unix_socket() -> None:
    with TemporaryDirectory(prefix="qg-") as directory:
        path = Path(directory) / "up.sock"
        async with serving(SERVE, path=path) as (upstream, pool):
            assert await exchange(await pool.connect()) == b"ok"
            assert await exchange(await pool.connect()) == b"ok"
            assert upstream.connections == 1


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_https_with_the_right_certificate(authority: Authority) -> None:
    tls = authority.issue("localhost").context()
    async with serving(SERVE, tls=tls, ca_file=str(authority.ca_file)) as (upstream, pool):
        assert await exchange(await pool.connect()) == b"ok"
        assert await exchange(await pool.connect()) == b"ok"
        assert upstream.connections == 1


async def test_https_with_a_certificate_for_another_name(authority: Authority) -> None:
    tls = authority.issue("elsewhere.example").context()
    async with serving(SERVE, tls=tls, ca_file=str(authority.ca_file)) as (upstream, pool):
        failure = await unreachable(pool)
        assert failure.error is UPSTREAM_UNREACHABLE
        assert "certificate" in str(failure)
        assert upstream.requests == []


async def test_https_with_a_certificate_of_an_unknown_authority(
    authority: Authority, tmp_path: Path
) -> None:
    tls = Authority(tmp_path, "stranger").issue("localhost").context()
    async with ScriptedUpstream(SERVE, tls=tls) as upstream:
        for ca_file in (str(authority.ca_file), None):
            async with pool_of(Upstream("u", upstream.url, ca_file)) as pool:
                assert (await unreachable(pool)).error is UPSTREAM_UNREACHABLE
        assert upstream.requests == []


async def test_a_body_that_ends_with_a_tls_connection_needs_its_proper_end(
    authority: Authority,
) -> None:
    """failure row 38: without close_notify anybody on the way may have cut it."""
    tls = authority.issue("localhost").context()
    whole: Script = [Request(), Answer(200, body=b"ok", length=None), Close()]
    cut: Script = [Request(), Answer(200, body=b"ok", length=None), Reset()]
    async with serving(whole, cut, tls=tls, ca_file=str(authority.ca_file)) as (_, pool):
        assert await exchange(await pool.connect()) == b"ok"
        with pytest.raises(UpstreamError) as caught:
            await exchange(await pool.connect())
        assert caught.value.error is UPSTREAM_FAILED


async def test_an_https_upstream_that_speaks_plain_http() -> None:
    async with ScriptedUpstream(SERVE) as upstream:
        url = f"https://localhost:{upstream.port}"
        async with pool_of(Upstream("u", url, connect_timeout_s=0.1)) as pool:
            failure = await unreachable(pool)
            assert failure.error in (UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT)
