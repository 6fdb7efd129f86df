"""Certificates of the listener, exchanged while it runs, and what a client context refuses."""

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from gateway.proxy.tls import client_context, reload_certificate, server_context
from tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def serial_shown(port: int, client: ssl.SSLContext) -> str:
    """The serial number of the certificate a new handshake shows."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client, server_hostname="localhost"
    )
    shown = writer.get_extra_info("peercert")["serialNumber"]
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()
    await writer.wait_closed()
    return str(shown)


def put(pair: Pair, into: Pair) -> None:
    shutil.copy(pair.cert, into.cert)
    shutil.copy(pair.key, into.key)


async def test_a_reload_changes_new_handshakes_and_a_bad_pair_changes_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    """failure row 10"""
    one, two = (authority.issue("localhost", file=name) for name in ("one", "two"))
    used = Pair(tmp_path / "used.pem", tmp_path / "used.key")
    put(one, used)
    context = server_context(used.cert, used.key)
    client = client_context(str(authority.ca_file))
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    first = await serial_shown(port, client)
    put(two, used)
    assert await serial_shown(port, client) == first
    reload_certificate(context, used.cert, used.key)
    second = await serial_shown(port, client)
    assert second != first
    for cert, key in ((one.cert, two.key), (one.cert, tmp_path / "none"), (one.key, one.key)):
        with pytest.raises((ssl.SSLError, OSError)):
            reload_certificate(context, cert, key)
        assert await serial_shown(port, client) == second
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    assert handshake(authority, version) == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(authority: Authority) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(authority, ssl.TLSVersion.TLSv1_1)


def handshake(authority: Authority, version: ssl.TLSVersion) -> str | None:
    """Both sides in memory; the version agreed on."""
    pair = authority.issue("localhost")
    client_side = ssl.create_default_context(cafile=str(authority.ca_file))
    client_side.minimum_version = client_side.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(down, up, server_hostname="localhost")
    server = server_context(pair.cert, pair.key).wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version()


def test_a_client_context_verifies(authority: Authority, tmp_path: Path) -> None:
    context = client_context(str(authority.ca_file))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    (tmp_path / "empty.pem").write_text("")
    for missing in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        with pytest.raises((ssl.SSLError, OSError)):
            client_context(str(missing))
