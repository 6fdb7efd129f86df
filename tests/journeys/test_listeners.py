"""Listeners: TLS with a certificate that can change, unix sockets, reload, and the admin side."""

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from gateway.ledger.store import Store
from gateway.proxy.tls import client_context
from gateway.tasks import TaskSet
from tests.certificates import Authority
from tests.journeys.rig import TOKEN, Rig, Way, Wishes, configuration, running
from tests.upstreams import Answer, Hang, Head, Request, Wait


async def test_tls_outside_and_inside(fake: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    wishes = Wishes(
        server=f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"',
        upstream=f'ca_file = "{authority.ca_file}"',
    )
    async with running(fake, tmp_path, wishes=wishes, tls=server) as rig:
        trust = client_context(str(authority.ca_file))
        async with rig.session.put(
            f"https://localhost:{rig.port}/files/a", data=b"x" * 100, headers=rig.headers, ssl=trust
        ) as answer:
            assert answer.status == 201
        assert rig.upstream.requests[0].get(b"x-forwarded-proto") == b"https"
        assert await rig.standing() == (100, 0)


def listening_on_tls(authority: Authority, *more: str) -> Wishes:
    pair = authority.issue("localhost")
    lines = [f'tls_cert = "{pair.cert}"', f'tls_key = "{pair.key}"', *more]
    return Wishes(server="\n".join(lines))


async def test_a_long_body_by_tls_waits_for_an_upstream_that_is_slow(
    fake: Store, tmp_path: Path
) -> None:
    """No more of it is taken than has room in sockets and buffers: it cannot pass by."""
    authority, piece = Authority(tmp_path), b"x" * 500_000
    async with running(fake, tmp_path, [Head(), Hang()], wishes=listening_on_tls(authority)) as rig:
        _, writer = await asyncio.open_connection(
            "localhost", rig.port, ssl=client_context(str(authority.ca_file))
        )
        head = f"PUT /pass/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
        writer.write(f"{head}Content-Length: 100000000\r\n\r\n".encode())
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < 100_000_000:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), 1)
                taken += len(piece)
        assert taken < 40_000_000
        writer.transport.abort()


async def test_tls_that_breaks_within_a_body_is_a_client_that_has_gone(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 29"""
    authority = Authority(tmp_path)
    async with running(fake, tmp_path, wishes=listening_on_tls(authority)) as rig:
        _, writer = await asyncio.open_connection(
            "localhost", rig.port, ssl=client_context(str(authority.ca_file))
        )
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
            f"Content-Length: 1000\r\n\r\n".encode()
            + b"x" * 500
        )
        await rig.upstream.until(lambda: rig.upstream.bytes_in > 500)
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as below:
            below.send(b"no record of TLS at all" * 10)
        await rig.settled()
        writer.transport.abort()
    assert b'"level":"ERROR"' not in rig.log_bytes()
    assert b'"outcome":"client-gone"' in rig.log_bytes()


async def test_a_handshake_that_does_not_go_on_is_broken_off(fake: Store, tmp_path: Path) -> None:
    """failure row 32: it would hold a connection that no other limit counts."""
    wishes = listening_on_tls(Authority(tmp_path), 'header_timeout = "300ms"')
    async with running(fake, tmp_path, wishes=wishes) as rig:
        reader, writer = await asyncio.open_connection("localhost", rig.port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_unix_socket_as_listener(fake: Store, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    async with running(fake, tmp_path, wishes=Wishes(listen=f"unix:{path}")) as rig:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.put("http://here/files/a", data=b"x" * 100, headers=rig.headers) as answer,
        ):
            assert answer.status == 201
        assert await rig.standing() == (100, 0)
    assert not path.exists()


async def test_a_reload_changes_what_comes_and_not_what_runs(fake: Store, tmp_path: Path) -> None:
    """failure row 10"""
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), Answer(201)]) as rig:
        running_put = TaskSet().start(rig.put("a", b"x" * 100), name="put")
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        closed = Wishes(upload="length_required = true", plan='caps = { file_bytes = "10B" }')
        await rig.gateway.reload(configuration(rig.upstream.url, tmp_path, closed))
        assert (await rig.put("b", b"x" * 100))[0] == 413
        go_on.set()
        assert (await running_put)[0] == 201
        assert await rig.standing() == (100, 0)


async def admin(rig: Rig, path: str, token: str | None = TOKEN) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with rig.session.get(
        f"http://{rig.gateway.admin_address}{path}", headers=headers
    ) as answer:
        return answer.status, await answer.text()


async def test_the_admin_side_needs_its_token(rig: Rig) -> None:
    """failure row 67"""
    await rig.put("a", b"x" * 100)
    assert (await admin(rig, "/metrics", None))[0] == 401
    assert (await admin(rig, "/metrics", "wrong-token-of-some-length"))[0] == 401
    status, exposition = await admin(rig, "/metrics")
    assert status == 200
    (line,) = [
        line
        for line in exposition.splitlines()
        if line.startswith("quota_gateway_requests_total{") and 'route="upload"' in line
    ]
    assert line.endswith(" 1.0")
    assert (await admin(rig, "/livez", None))[0] == 200
    assert (await admin(rig, "/readyz", None))[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/v1/reservations", "/%2e/metrics"])
async def test_the_public_side_serves_nothing_of_the_admin_side(
    fake: Store, tmp_path: Path, path: str
) -> None:
    """failure row 67"""
    async with running(fake, tmp_path) as rig:
        answer = await rig.raw(
            f"GET {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Connection: close\r\n\r\n".encode()
        )
        assert answer[9:12] in (b"404", b"400")


@pytest.mark.parametrize("way", Way, ids=str, indirect=True)
async def test_a_connection_at_rest_is_closed_as_soon_as_the_gateway_drains(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 9: else its client asks again, and waits for nothing as long as another request
    may take to end."""
    go_on = asyncio.Event()
    scripts = [[Request(), Answer(201), Request(), Wait(go_on), Answer(201)]]
    async with running(fake, tmp_path, *scripts) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\n"
        writer.write(f"{head}Content-Length: 1\r\n\r\nx".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")
        other = TaskSet().start(rig.put("b", b"x"), name="put")
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 2)
        stopping = TaskSet().start(rig.gateway.stop(), name="stop")
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()
        go_on.set()
        assert (await other)[0] == 201
        assert await stopping == 0


async def test_draining_is_said_to_probes_and_to_new_requests(fake: Store, tmp_path: Path) -> None:
    """failure row 9"""
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), Answer(201)]) as rig:
        running_put = TaskSet().start(rig.put("a", b"x" * 100), name="put")
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        stopping = TaskSet().start(rig.gateway.stop(), name="stop")
        async with asyncio.timeout(5):
            while (await admin(rig, "/readyz", None))[0] != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        go_on.set()
        assert (await running_put)[0] == 201
        assert await stopping == 0
