"""Pytest plugin: the stores that tests run on, every server at hand and both transports.

`store` runs a test on fakeredis and on each real server, by redis-py and by the pipelined
connection. `redis_server` runs it on each real server. Servers live as long as the session and are
emptied between tests; each run ends with a line that says which ones were used by how many tests,
so that none hides what it left out.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.ledger.address import Address
from gateway.ledger.redispy import client_of
from gateway.ledger.store import Store, connect
from tests.redis_server import Binary, RedisServer, found_binaries

BINARIES = found_binaries()


class Via(StrEnum):
    REDIS_PY = "redis-py"
    PIPELINED = "pipelined"


@dataclass(frozen=True, slots=True)
class Flavour:
    """One way to reach one kind of store; `binary` None is fakeredis."""

    binary: Binary | None
    via: Via

    def __str__(self) -> str:
        return f"{self.binary.name}-{self.via}" if self.binary else "fakeredis"


FAKE = Flavour(None, Via.REDIS_PY)
REAL = tuple(Flavour(binary, via) for binary in BINARIES for via in (Via.REDIS_PY, Via.PIPELINED))
FLAVOURS = (FAKE, *REAL)


def newest() -> Binary:
    """For tests that need some real server, and not each."""
    if not BINARIES:
        pytest.skip("no Redis or Valkey server was found")
    return BINARIES[-1]


class RedisServers:
    """The session's servers, each started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[Binary, RedisServer] = {}

    def empty(self, binary: Binary) -> RedisServer:
        """The running server of this binary, with nothing in it."""
        server = self._running.get(binary)
        if server is None:
            # Not pytest's own directory: the path of a unix socket has 107 bytes at most.
            server = RedisServer(binary, Path(tempfile.mkdtemp(prefix="qg-redis-")))
            server.start()
            self._running[binary] = server
        server.run("FLUSHALL")
        return server

    def stop(self) -> None:
        for server in self._running.values():
            server.kill()
            shutil.rmtree(server.directory)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = [
        report.nodeid
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]

    def used(name: str) -> str:
        return f"{sum(name in nodeid for nodeid in ran)} tests"

    real = [f"{each.product} {each.version}: {used(each.name)}" for each in BINARIES]
    fake = f"fakeredis {version('fakeredis')}: {used('fakeredis')}"
    terminalreporter.line(f"stores: {', '.join([fake, *(real or ['NO REAL SERVER FOUND'])])}")


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[RedisServers]:
    servers = RedisServers()
    yield servers
    servers.stop()


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.name)
def redis_server(request: pytest.FixtureRequest, redis_servers: RedisServers) -> RedisServer:
    """A real server, empty; the test must leave it running and configured as it was."""
    return redis_servers.empty(request.param)


@pytest.fixture(params=FLAVOURS, ids=str)
async def store(
    request: pytest.FixtureRequest, redis_servers: RedisServers
) -> AsyncIterator[Store]:
    flavour: Flavour = request.param
    opened = await open_flavour(flavour, redis_servers)
    yield opened
    await opened.close()


async def open_flavour(
    flavour: Flavour, servers: RedisServers, *, op_timeout_s: float = 0.25
) -> Store:
    if flavour.binary is None:
        return Store.fake()
    server = servers.empty(flavour.binary)
    if flavour.via is Via.PIPELINED:
        return await connect(server.url, op_timeout_s=op_timeout_s)
    return Store.over(client_of(Address(path=str(server.socket))), flavour.binary.name)
