"""A master that Sentinel replaces: the gateway finds the new one by itself."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import StoreError
from gateway.ledger import sentinel
from gateway.ledger.store import Store, connect
from tests.ledger.lively import until
from tests.ledger.scripts import ADD_ONCE
from tests.ports import free_port
from tests.redis_server import Binary, RedisServer, die_with_parent
from tests.stores import BINARIES

WITHIN_S = 20.0
CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {directory}
logfile {directory}/sentinel.log
sentinel monitor main 127.0.0.1 {master} 1
sentinel down-after-milliseconds main 300
sentinel failover-timeout main 2000
"""


@dataclass
class Guarded:
    """A primary, its replica, and a sentinel that watches both."""

    primary: RedisServer
    replica: RedisServer
    port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main"

    def ask(self, *words: str) -> object:
        client = redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))
        try:
            answer: object = client.execute_command(*words)  # type: ignore[no-untyped-call]
            return answer
        finally:
            client.close()

    def knows_the_replica(self) -> bool:
        try:
            known = self.ask("INFO", "sentinel")
        except redis.ConnectionError:
            return False
        assert isinstance(known, dict)
        return bool(known["master0"]["slaves"] == 1 and known["master0"]["status"] == "ok")


def guarded(binary: Binary, directory: Path) -> Iterator[Guarded]:
    options = {"repl-diskless-sync-delay": "0"}
    places = [directory / name for name in ("p", "r", "s")]
    for place in places:
        place.mkdir()
    primary = RedisServer(binary, places[0], port=free_port(), options=options)
    replica = RedisServer(binary, places[1], port=free_port(), options=options)
    port = free_port()
    configuration = places[2] / "sentinel.conf"
    configuration.write_text(
        CONFIGURATION.format(port=port, directory=places[2], master=primary.port)
    )
    primary.start()
    replica.start()
    replica.run("REPLICAOF", "127.0.0.1", primary.port)
    with primary.client() as client:
        client.set("warm", "1")
        assert client.wait(1, 10_000) == 1
    process = subprocess.Popen(
        [binary.path, configuration, "--sentinel"],
        cwd=places[2],
        preexec_fn=die_with_parent,  # noqa: PLW1509 - nothing here holds a lock
    )
    try:
        found = Guarded(primary, replica, port)
        deadline = time.monotonic() + WITHIN_S
        while not found.knows_the_replica():
            assert time.monotonic() < deadline, "the sentinel does not find the replica"
            time.sleep(0.05)
        yield found
    finally:
        process.kill()
        process.wait()
        replica.kill()
        primary.kill()


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.name)
def house(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    with TemporaryDirectory(prefix="qg-sentinel-") as directory:
        yield from guarded(request.param, Path(directory))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a machine that stalls: there is no second sentinel to be asked."""
    monkeypatch.setattr(sentinel, "ASK_TIMEOUT_S", 5.0)


async def count(store: Store, number: int) -> object:
    """As the ledger does it: the same id again, until there is an answer."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await store.admission.run(ADD_ONCE, [b"n", b"ids"], [b"%d" % number])
            except StoreError as error:
                if not error.transient:
                    raise
                await asyncio.sleep(0.02)


async def test_a_master_that_dies_is_replaced(house: Guarded) -> None:
    """failure row 19, failure row 20"""
    store = await connect(house.url, wait_replicas=1)
    for number in range(20):
        assert await count(store, number) == number + 1
    await store.close()
    store = await connect(house.url)
    house.primary.kill()
    assert await count(store, 20) == 21
    assert await store.client.get("n") == b"21"
    assert house.replica.run("GET", "n") == b"21"
    await store.close()


async def test_a_master_that_is_demoted_is_left(house: Guarded) -> None:
    """failure row 19"""
    store = await connect(house.url)
    assert await count(store, 0) == 1
    # Only a master that its sentinel has seen well for a while is handed over.
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                house.ask("SENTINEL", "FAILOVER", "main")
                break
            except redis.ResponseError:
                await asyncio.sleep(0.1)
    number = 1

    async def promoted() -> bool:
        try:
            return b"role:master" in house.replica.info("replication")
        except redis.ConnectionError:  # Sentinel cuts the clients of whom it promotes.
            return False

    async def counted_there() -> bool:
        nonlocal number
        number += 1
        await count(store, number)
        return house.replica.run("SISMEMBER", "ids", number) == 1

    await until(promoted)
    # Long before the old master is demoted, which takes a sentinel some ten seconds.
    await until(counted_there)
    await store.close()


async def test_a_master_that_no_sentinel_knows_is_told(house: Guarded) -> None:
    with pytest.raises(StoreError, match="no sentinel names a master of 'other'"):
        await connect(house.url.replace("/main", "/other"))


async def test_no_sentinel_is_told() -> None:
    """failure row 13"""
    with pytest.raises(StoreError, match="no sentinel names a master"):
        await connect("redis+sentinel://127.0.0.1:1/main")
