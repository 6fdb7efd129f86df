"""Stores behind TLS: the server is verified, and it may want a certificate of ours."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.errors import StoreError
from gateway.ledger.store import connect
from tests.certificates import Authority
from tests.ledger.scripts import ADD, ECHO
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.stores import newest

ON_EVERY_LOOP = True


@dataclass(frozen=True)
class Secured:
    server: RedisServer
    port: int
    authority: Authority
    directory: Path

    def url(self, *parameters: str, host: str = "localhost") -> str:
        query = "&".join((f"ssl_ca_certs={self.authority.ca_file}", *parameters))
        return f"rediss://{host}:{self.port}?{query}"


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    binary = newest()
    if b"tls-cert-file" not in binary.path.read_bytes():  # the name of a setting it has to know
        pytest.skip(f"{binary.name} was built without TLS")
    with TemporaryDirectory(prefix="qg-tls-") as name:
        directory = Path(name)
        authority = Authority(directory)
        pair = authority.issue("localhost", "127.0.0.1")
        port = free_port()
        options = {
            "tls-port": str(port),
            "tls-cert-file": str(pair.cert),
            "tls-key-file": str(pair.key),
            "tls-ca-cert-file": str(authority.ca_file),
            "tls-auth-clients": "optional",
        }
        server = RedisServer(binary, directory, options=options)
        server.start()
        yield Secured(server, port, authority, directory)
        server.kill()


async def test_scripts_and_records_go_through_tls(secured: Secured) -> None:
    store = await connect(secured.url())
    assert await store.admission.run(ADD, [b"n"], [b"2"]) == 2
    assert await store.settlement.run(ECHO, [b"n"], [b"x" * 100_000]) == b"x" * 100_000
    assert await store.client.get("n") == b"2"
    await store.close()
    secured.server.run("FLUSHALL")


async def test_a_server_with_a_strange_certificate_is_not_spoken_to(
    secured: Secured, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(StoreError, match="certificate verify failed"):
        await connect(f"rediss://u:s3cret@localhost:{secured.port}?ssl_ca_certs={stranger.ca_file}")


async def test_a_certificate_for_another_host_is_not_enough(
    secured: Secured, tmp_path: Path
) -> None:
    other = secured.authority.issue("elsewhere.example", file="elsewhere")
    secured.server.run(
        "CONFIG", "SET", "tls-cert-file", str(other.cert), "tls-key-file", str(other.key)
    )
    try:
        with pytest.raises(StoreError, match="certificate verify failed"):
            await connect(secured.url())
    finally:
        before = secured.directory
        secured.server.run(
            *("CONFIG", "SET", "tls-cert-file", str(before / "server.pem")),
            *("tls-key-file", str(before / "server.key")),
        )


async def test_a_client_certificate_is_shown_when_one_is_given(secured: Secured) -> None:
    mine = secured.authority.issue("gateway", file="gateway")
    secured.server.run("CONFIG", "SET", "tls-auth-clients", "yes")
    try:
        with pytest.raises(StoreError):
            await connect(secured.url())
        store = await connect(secured.url(f"ssl_certfile={mine.cert}", f"ssl_keyfile={mine.key}"))
        assert await store.admission.run(ECHO, [b"n"], [b"x"]) == b"x"
        await store.close()
    finally:
        secured.server.run("CONFIG", "SET", "tls-auth-clients", "optional")


async def test_files_that_are_not_there_are_told(secured: Secured) -> None:
    with pytest.raises(StoreError, match="No such file"):
        await connect(f"rediss://localhost:{secured.port}?ssl_ca_certs=/nonexistent.pem")


async def test_a_server_that_speaks_no_redis_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(StoreError):
            await connect(f"redis://127.0.0.1:{port}")
