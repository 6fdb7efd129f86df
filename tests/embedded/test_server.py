"""The server of `redis = "auto"`: shared, kept through deaths, stopped by the last who leaves."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.embedded.server import SOCKET_PATH_MAX, EmbeddedRedis, socket_path
from gateway.errors import StoreError
from gateway.ledger.redispy import no_retry
from tests.redis_server import Binary
from tests.stores import BINARIES, newest


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="qg-embedded-") as name:
        yield Path(name) / "redis"
        for file in Path(name).rglob("redis.pid"):  # Left by a test that failed.
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.name)
def binary(request: pytest.FixtureRequest) -> Binary:
    found: Binary = request.param
    return found


async def join(directory: Path, binary: Binary) -> EmbeddedRedis:
    server = EmbeddedRedis(directory)
    major, minor, patch = binary.numbers
    await server.join(binary.path, (major, minor, patch))
    return server


async def ask(server: EmbeddedRedis, *words: str) -> object:
    client = Redis(unix_socket_path=str(server.socket), protocol=2, retry=no_retry())
    try:
        answer: object = await client.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer
    finally:
        await client.aclose()


def pid(server: EmbeddedRedis) -> int:
    return int((server.directory / "redis.pid").read_text())


async def test_books_survive_a_restart(directory: Path, binary: Binary) -> None:
    server = await join(directory, binary)
    await ask(server, "SET", "used", "7")
    await server.leave()
    with pytest.raises((RedisError, OSError)):
        await ask(server, "PING")
    again = await join(directory, binary)
    assert await ask(again, "GET", "used") == b"7"
    await again.leave()


async def test_it_keeps_what_it_is_told_and_evicts_nothing(directory: Path, binary: Binary) -> None:
    """failure row 23"""
    server = await join(directory, binary)
    facts = await ask(server, "INFO")
    assert isinstance(facts, dict)
    assert facts["maxmemory_policy"] == "noeviction"
    assert facts["aof_enabled"] == 1
    assert facts["tcp_port"] == 0
    assert facts["config_file"] == ""
    assert server.socket.stat().st_mode & 0o777 == 0o700
    assert server.directory.stat().st_mode & 0o777 == 0o700
    await server.leave()


async def test_the_last_who_leaves_stops_it(directory: Path, binary: Binary) -> None:
    first, second = await asyncio.gather(join(directory, binary), join(directory, binary))
    assert pid(first) == pid(second)
    await first.leave()
    assert await ask(second, "PING")
    await second.leave()
    with pytest.raises((RedisError, OSError)):
        await ask(second, "PING")


async def test_many_who_come_and_go_at_once_share_one(directory: Path) -> None:
    async def visit(number: int) -> None:
        server = await join(directory, newest())
        await ask(server, "RPUSH", "visitors", str(number))
        await server.leave()

    await asyncio.gather(*(visit(number) for number in range(12)))
    server = await join(directory, newest())
    assert await ask(server, "LLEN", "visitors") == 12
    await server.leave()


VISITOR = """
import asyncio, sys
from pathlib import Path
from gateway.embedded.server import EmbeddedRedis

async def main():
    await EmbeddedRedis(Path(sys.argv[1])).join(Path(sys.argv[2]), (7, 0, 0))
    print("joined", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_outlives_a_killed_gateway_and_the_next_one_takes_over(
    directory: Path, binary: Binary
) -> None:
    """failure row 2"""
    gateway = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", VISITOR, str(directory), str(binary.path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert gateway.stdout is not None
    assert await gateway.stdout.readline() == b"joined\n"
    gateway.kill()
    await gateway.wait()
    server = EmbeddedRedis(directory)
    before = pid(server)
    assert await ask(server, "PING")
    await ask(server, "SET", "used", "7")
    next_one = await join(directory, binary)
    assert pid(next_one) == before
    assert await ask(next_one, "GET", "used") == b"7"
    await next_one.leave()
    with pytest.raises((RedisError, OSError)):
        await ask(server, "PING")


async def test_it_is_started_again_when_it_dies(
    directory: Path, binary: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 13"""
    monkeypatch.setattr("gateway.embedded.server.LOOK_EVERY_S", 0.02)
    server = await join(directory, binary)
    await ask(server, "SET", "used", "7")
    before = pid(server)
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await ask(server, "GET", "used") == b"7"
                break
            except (RedisError, OSError):
                await asyncio.sleep(0.02)
    assert pid(server) != before
    await server.leave()


async def test_a_hanging_server_is_not_doubled(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.embedded.server.READY_WITHIN_S", 0.2)
    monkeypatch.setattr("gateway.embedded.server.ANSWER_WITHIN_S", 0.1)
    server = await join(directory, newest())
    before = pid(server)
    os.kill(before, signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match="does not answer"):
            await join(directory, newest())
    finally:
        os.kill(before, signal.SIGCONT)
    assert pid(server) == before
    await server.leave()


async def test_a_server_that_does_not_start_tells_why(directory: Path) -> None:
    server = await join(directory, newest())
    await server.leave()
    spoil(directory)
    with pytest.raises(StoreError, match=r"(?i)bad file format") as caught:
        await join(directory, newest())
    assert not caught.value.transient


def spoil(directory: Path) -> None:
    for file in directory.rglob("*.aof"):
        file.write_bytes(b"nonsense that is no append-only file")


async def test_what_is_no_server_is_told(directory: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        await EmbeddedRedis(directory).join(Path("/nonexistent/redis-server"), (7, 0, 0))


@pytest.fixture
def open_directory(directory: Path) -> Path:
    directory.mkdir()
    directory.chmod(0o777)
    return directory


async def test_a_directory_that_others_may_write_is_refused(open_directory: Path) -> None:
    with pytest.raises(StoreError, match="writable for no other"):
        await EmbeddedRedis(open_directory).join(newest().path, (7, 0, 0))


async def test_a_long_path_gets_a_short_socket(directory: Path, binary: Binary) -> None:
    deep = directory / ("x" * 100)
    server = await join(deep, binary)
    assert not server.socket.is_relative_to(deep)
    assert await ask(server, "SET", "used", "7")
    await server.leave()
    assert sorted(
        path.name for path in deep.iterdir() if "aof" in path.name or "append" in path.name
    )
    server.socket.parent.rmdir()


@pytest.mark.parametrize(("length", "inside"), [(80, True), (96, True), (97, False), (200, False)])
def test_a_socket_is_in_its_directory_when_the_kernel_can_take_that(
    length: int, inside: bool
) -> None:
    directory = Path("/" + "d" * (length - 1))
    path = socket_path(directory)
    assert (path.parent == directory) == inside
    assert len(os.fsencode(path)) <= SOCKET_PATH_MAX


async def test_the_books_say_which_version_wrote_them(directory: Path, binary: Binary) -> None:
    assert EmbeddedRedis(directory).written_by() is None
    server = await join(directory, binary)
    assert server.written_by() == binary.numbers[:2]
    await server.leave()
    assert EmbeddedRedis(directory).written_by() == binary.numbers[:2]
