"""The gateway's own Redis: shared, kept through deaths, stopped by the last who leaves."""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from gateway.embedded.choosing import Binary
from gateway.embedded.home import Home, settle
from gateway.embedded.locks import Lock
from gateway.embedded.server import EmbeddedRedis
from gateway.errors import StoreError
from gateway.ledger.redispy import no_retry
from gateway.tasks import TaskSet
from tests.redis_server import RedisServer
from tests.stores import newest as newest_found

ON_EVERY_LOOP = True

HANGS_S = 60
"""Nothing here is about time: what takes so long does not end."""


@pytest.fixture
def home(state_dir: Path) -> Home:
    return settle(state_dir)


@pytest.fixture
def path_has_newest(newest: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-server").symlink_to(newest.path)
    monkeypatch.setenv("PATH", str(tmp_path))


async def start(home: Home, binary: Binary) -> EmbeddedRedis:
    server = EmbeddedRedis(home)
    await server.start(binary)
    return server


async def ask(home: Home, *words: str | int) -> object:
    client = Redis(unix_socket_path=str(home.socket), protocol=2, retry=no_retry())
    try:
        answer: object = await client.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer
    finally:
        await client.aclose()


async def in_the_end(home: Home, *words: str | int) -> object:
    """The answer, as soon as there is a server to give it."""
    async with asyncio.timeout(HANGS_S):
        while True:
            with suppress(RedisError):
                return await ask(home, *words)
            await asyncio.sleep(0.01)


async def connections(home: Home) -> int:
    facts = await ask(home, "INFO", "clients")
    assert isinstance(facts, dict)
    return int(facts["connected_clients"])


def pid(home: Home) -> int:
    return int(home.pid.read_text())


def runs(home: Home) -> bool:
    lock = Lock(home.server)
    free = lock.take()
    lock.free()
    return not free


@contextmanager
def hanging(home: Home) -> Iterator[None]:
    process = pid(home)
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


# -- starting and stopping ------------------------------------------------------------------------


async def test_books_survive_a_restart(home: Home, binary: Binary) -> None:
    first = await start(home, binary)
    await ask(home, "SET", "used", "7")
    await first.leave()
    assert not runs(home)
    again = await start(home, binary)
    assert await ask(home, "GET", "used") == b"7"
    await again.leave()


async def test_it_is_private_and_forgets_nothing(home: Home, binary: Binary) -> None:
    """failure row 23"""
    server = await start(home, binary)
    facts = await ask(home, "INFO")
    assert isinstance(facts, dict)
    assert facts["maxmemory_policy"] == "noeviction"
    assert facts["aof_enabled"] == 1
    assert facts["tcp_port"] == 0
    assert facts["config_file"] == ""
    assert home.socket
    assert home.socket.stat().st_mode & 0o777 == 0o700
    assert server.name == f"{binary.product} {'.'.join(map(str, binary.version))}"
    assert home.oldest() == binary.version[:2]
    await server.leave()


async def test_it_is_out_of_reach_of_the_terminal(home: Home, newest: Binary) -> None:
    server = await start(home, newest)
    assert os.getsid(pid(home)) != os.getsid(0)
    assert os.getpgid(pid(home)) != os.getpgid(0)
    await server.leave()


async def test_a_long_path_is_no_trouble(state_dir: Path, binary: Binary) -> None:
    home = settle(state_dir / ("d" * 60) / ("e" * 60))
    server = await start(home, binary)
    assert home.socket
    short = home.socket.parent
    assert not short.is_relative_to(home.directory)
    other = EmbeddedRedis(Home(home.directory))
    assert await other.attach()
    await other.leave()
    assert await ask(home, "PING")
    await server.leave()
    assert not short.exists()


async def test_leaving_without_having_come_is_nothing(home: Home) -> None:
    server = EmbeddedRedis(home)
    assert not await server.attach()
    await server.leave()
    await server.leave()
    assert not runs(home)


# -- sharing --------------------------------------------------------------------------------------


async def test_the_last_who_leaves_stops_it(home: Home, binary: Binary) -> None:
    first, second = EmbeddedRedis(home), EmbeddedRedis(home)
    await asyncio.gather(first.start(binary), second.start(binary))
    await first.leave()
    assert await ask(home, "PING")
    await second.leave()
    assert not runs(home)


async def test_many_who_come_and_go_at_once_lose_nothing(home: Home, newest: Binary) -> None:
    async def visit(number: int) -> None:
        server = await start(home, newest)
        await ask(home, "RPUSH", "visitors", number)
        await server.leave()

    await asyncio.gather(*(visit(number) for number in range(12)))
    assert not runs(home)
    server = await start(home, newest)
    assert await ask(home, "LLEN", "visitors") == 12
    await server.leave()


VISITOR = """
import asyncio, sys
from pathlib import Path
from gateway.embedded.choosing import Binary
from gateway.embedded.home import settle
from gateway.embedded.server import EmbeddedRedis

async def main():
    server = EmbeddedRedis(settle(Path(sys.argv[1])))
    await server.start(Binary(Path(sys.argv[2]), "Redis", (7, 0, 0)))
    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.leave()

asyncio.run(main())
"""


@asynccontextmanager
async def visitors(
    state_dir: Path, binary: Binary, count: int
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Other processes, each of which uses the server until it is sent a line, or the block ends: a
    loop does not close while one of its processes runs."""
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(count):
            started.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", VISITOR, str(state_dir), str(binary.path)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            )
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def here(process: asyncio.subprocess.Process) -> None:
    assert process.stdout
    assert await process.stdout.readline() == b"here\n"


async def test_processes_that_start_at_once_share_one(
    state_dir: Path, home: Home, newest: Binary
) -> None:
    async with visitors(state_dir, newest, 3) as several:
        for process in several:
            await here(process)
        # Nobody could have attached to the first one's server if each had one of its own.
        assert await ask(home, "SET", "shared", "yes")
        for process in several:
            assert runs(home)
            await process.communicate(b"leave\n")
            assert process.returncode == 0
    assert not runs(home)


async def test_a_killed_gateway_loses_nothing_and_the_next_takes_over(
    state_dir: Path, home: Home, binary: Binary
) -> None:
    """failure row 2"""
    async with visitors(state_dir, binary, 1) as (gateway,):
        await here(gateway)
        await ask(home, "SET", "used", "7")
        before = pid(home)
        gateway.kill()
        await gateway.communicate()
    assert runs(home)
    following = EmbeddedRedis(home)
    assert await following.attach()
    assert pid(home) == before
    assert await ask(home, "GET", "used") == b"7"
    await following.leave()
    assert not runs(home)


async def test_somebody_elses_server_is_used_and_never_stopped(home: Home) -> None:
    theirs = RedisServer(newest_found(), home.directory)
    theirs.start()
    try:
        server = EmbeddedRedis(home)
        assert await server.attach()
        await server.leave()
        assert theirs.run("PING")
    finally:
        theirs.stop()


async def test_who_is_stopped_while_asking_leaves_no_connection_open(
    home: Home, newest: Binary
) -> None:
    """At whichever turn of the loop that is."""
    server = await start(home, newest)
    tasks, before = TaskSet(), await connections(home)
    for turns in range(100):
        tasks.start(server._told("PING", within_s=HANGS_S), name="ask")
        for _ in range(turns):
            await asyncio.sleep(0)
        await tasks.stop()
    assert await connections(home) == before
    await server.leave()


# -- trouble --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("path_has_newest")
async def test_it_is_started_again_when_it_dies(
    home: Home, newest: Binary, caplog: pytest.LogCaptureFixture
) -> None:
    """failure row 13"""
    first, second = await start(home, newest), await start(home, newest)
    for total in (1, 2, 3):
        before = pid(home)
        assert await ask(home, "INCR", "used") == total
        os.kill(before, signal.SIGKILL)
        assert await in_the_end(home, "GET", "used") == b"%d" % total
        assert pid(home) != before
    assert "has ended; starting it again" in caplog.text
    await first.leave()
    assert await ask(home, "PING")
    await second.leave()
    assert not runs(home)


@pytest.fixture
def as_process_1() -> Iterator[None]:
    """The parent of all orphans among its descendants, as process 1 of a container is."""
    prctl = ctypes.CDLL(None).prctl
    set_child_subreaper = 36
    assert prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    prctl(set_child_subreaper, 0, 0, 0, 0)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


@pytest.mark.usefixtures("path_has_newest", "as_process_1")
async def test_one_that_died_is_no_zombie_in_a_container(home: Home, newest: Binary) -> None:
    server = await start(home, newest)
    before = pid(home)
    os.kill(before, signal.SIGKILL)
    assert await in_the_end(home, "PING")
    async with asyncio.timeout(10):
        while await asyncio.to_thread(Path(f"/proc/{before}").exists):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await server.leave()


async def test_where_it_cannot_be_started_again_that_is_logged_and_tried_again(
    home: Home, newest: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 13"""
    monkeypatch.setattr("gateway.embedded.server.PAUSE_MAX_S", 0.05)
    monkeypatch.setattr("gateway.embedded.server.found_here", lambda: iter(()))
    told = asyncio.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "does not start: redis: " in record.getMessage():
                told.set()

    handler = Told()
    logging.getLogger("gateway.embedded.server").addHandler(handler)
    server = await start(home, newest)
    await ask(home, "SET", "used", "7")
    os.kill(pid(home), signal.SIGKILL)
    await asyncio.wait_for(told.wait(), HANGS_S)
    logging.getLogger("gateway.embedded.server").removeHandler(handler)
    monkeypatch.undo()
    (tmp_path / "redis-server").symlink_to(newest.path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await in_the_end(home, "GET", "used") == b"7"
    await server.leave()


async def test_a_hanging_server_is_not_doubled(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 15"""
    server = await start(home, newest)
    before = pid(home)
    monkeypatch.setattr("gateway.embedded.server.ANSWERS_WITHIN_S", 0.2)
    with hanging(home):
        other = EmbeddedRedis(home)
        with pytest.raises(StoreError, match="does not answer"):
            await other.start(newest)
        await other.leave()
    assert pid(home) == before
    assert await ask(home, "PING")
    await server.leave()


async def test_a_hanging_server_is_killed_at_last(
    home: Home, binary: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(home, binary)
    await ask(home, "SET", "used", "7")
    monkeypatch.setattr("gateway.embedded.server.STOPS_WITHIN_S", 0.2)
    with hanging(home):
        await server.leave()
        assert not runs(home)
    again = await start(home, binary)
    assert await ask(home, "GET", "used") == b"7"
    await again.leave()


async def test_one_that_has_gone_when_the_last_leaves_is_no_trouble(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.embedded.server.found_here", lambda: iter(()))
    server = await start(home, newest)
    os.kill(pid(home), signal.SIGKILL)
    await server.leave()
    assert not runs(home)


async def test_books_that_cannot_be_read_are_told(home: Home, binary: Binary) -> None:
    server = await start(home, binary)
    await ask(home, "SET", "used", "7")
    await server.leave()
    for file in home.directory.rglob("*.aof"):
        file.write_bytes(b"*3\r\n$3\r\nnonsense that is no append-only file" * 9)
    server = EmbeddedRedis(home)
    with pytest.raises(StoreError, match=r"Bad file format") as caught:
        await server.start(binary)
    assert not caught.value.transient
    await server.leave()
    assert not runs(home)


async def test_what_is_no_server_is_told(home: Home) -> None:
    server = EmbeddedRedis(home)
    with pytest.raises(StoreError, match="No such file"):
        await server.start(Binary(Path("/nonexistent/redis-server"), "Redis", (7, 0, 0)))
    await server.leave()


@contextmanager
def read_slowly(home: Home, binary: Binary) -> Iterator[None]:
    """A server that reads the books of this home one key after the other."""
    words = {
        "dir": home.directory,
        "unixsocket": home.socket,
        "port": 0,
        "appendonly": "yes",
        "key-load-delay": 20_000,
        "loading-process-events-interval-bytes": 1024,
        "logfile": home.log,
    }
    command = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen([binary.path, *command]) as server:
        try:
            yield
        finally:
            server.terminate()


async def rewritten(home: Home) -> None:
    """Wait until the append-only file begins with a snapshot."""
    await ask(home, "BGREWRITEAOF")
    while True:
        facts = await ask(home, "INFO", "persistence")
        assert isinstance(facts, dict)
        if not (facts["aof_rewrite_in_progress"] or facts["aof_rewrite_scheduled"]):
            return
        await asyncio.sleep(0.01)


async def reading(home: Home) -> None:
    """Wait until the server says that it reads its books."""
    while True:
        try:
            await ask(home, "PING")
        except BusyLoadingError:
            return
        except RedisError:
            await asyncio.sleep(0.01)


async def test_large_books_may_take_their_time_to_be_read(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = await start(home, newest)
    for number in range(50):
        await ask(home, "SET", f"account-{number}", os.urandom(1024).hex())
    async with asyncio.timeout(10):
        await rewritten(home)
    await server.leave()
    monkeypatch.setattr("gateway.embedded.server.ANSWERS_WITHIN_S", 0.2)
    with read_slowly(home, newest):
        async with asyncio.timeout(10):
            await reading(home)
        reader = EmbeddedRedis(home)
        assert await reader.attach()
        assert "is reading its books" in caplog.text
        assert await ask(home, "EXISTS", "account-49") == 1
        await reader.leave()


async def test_a_door_that_stays_shut_is_told(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.embedded.server.DOOR_WITHIN_S", 0.05)
    door = Lock(home.door)
    assert door.take()
    server = EmbeddedRedis(home)
    with pytest.raises(StoreError, match="starting or stopping for too long"):
        await server.start(newest)
    door.free()


async def test_one_that_cannot_be_stopped_is_left_and_that_is_logged(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(home, newest)
    monkeypatch.setattr("gateway.embedded.server.DOOR_WITHIN_S", 0.05)
    door = Lock(home.door)
    assert door.take()
    await server.leave()
    door.free()
    assert "is left running" in caplog.text
    assert runs(home)
    following = EmbeddedRedis(home)
    assert await following.attach()
    await following.leave()
    assert not runs(home)


async def test_a_shutdown_that_is_refused_is_enforced(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(home, newest)
    await ask(home, "SET", "used", "7")
    await ask(home, "ACL", "SETUSER", "default", "-shutdown")
    monkeypatch.setattr("gateway.embedded.server.STOPS_WITHIN_S", 0.2)
    await server.leave()
    assert "does not stop; killing it" in caplog.text
    assert not runs(home)
    again = await start(home, newest)
    assert await ask(home, "GET", "used") == b"7"
    await again.leave()


async def test_one_whose_process_is_not_known_is_left_running(
    home: Home, newest: Binary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the system does not tell who listens at a socket."""
    server = await start(home, newest)
    monkeypatch.setattr("gateway.embedded.server.STOPS_WITHIN_S", 0.2)
    monkeypatch.setattr("gateway.embedded.server.sys.platform", "other")
    with hanging(home):
        await server.leave()
    monkeypatch.undo()
    assert "is left running: the Redis server in" in caplog.text
    following = EmbeddedRedis(home)
    await following.attach()
    await following.leave()
    assert not runs(home)
