"""A real Redis or Valkey server for tests: found, started, paused, killed and started again."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.embedded import choosing
from gateway.embedded.choosing import OLDEST, found_here, judge

READY_WITHIN_S = 10.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Binary:
    path: Path
    product: str
    """`redis` or `valkey`."""
    version: str

    @property
    def name(self) -> str:
        return f"{self.product}-{self.version}"

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))


def found_binaries() -> tuple[Binary, ...]:
    """Every usable server of this machine, oldest first, one for each version."""
    unique: dict[str, Binary] = {}
    for found in found_here():
        if isinstance(server := judge(found, OLDEST), choosing.Binary):
            version = ".".join(map(str, server.version))
            binary = Binary(server.path, server.product.lower(), version)
            unique.setdefault(binary.name, binary)
    return tuple(sorted(unique.values(), key=lambda binary: binary.numbers))


def die_with_parent() -> None:
    """No server outlives tests that were killed. Linux alone knows this wish."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class RedisServer:
    """One server process in its own directory, on a unix socket and, when asked for, a port."""

    def __init__(
        self,
        binary: Binary,
        directory: Path,
        *,
        port: int = 0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.port = port
        self._options = {
            "save": "",
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        assert self.port
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert self._process is None
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "logfile": str(self.directory / "redis.log"),
            **self._options,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        # The directory is where `sentinel.conf` and the like are looked for, if any is named.
        self._process = subprocess.Popen(
            [self.binary.path, *words],
            cwd=self.directory,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - nothing here holds a lock
        )
        self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                if time.monotonic() > deadline or self._ended():
                    raise
                time.sleep(0.01)

    @contextmanager
    def client(self) -> Iterator["redis.Redis"]:
        """A blocking client for the test's own questions, by the unix socket."""
        client = redis.Redis(
            unix_socket_path=str(self.socket), protocol=2, retry=Retry(NoBackoff(), 0)
        )
        try:
            yield client
        finally:
            client.close()

    def run(self, *words: str | int | bytes) -> object:
        """One command, at once, beside whatever the code under test does."""
        with self.client() as client:
            answer: object = client.execute_command(*words)  # type: ignore[no-untyped-call]
            return answer

    def info(self, section: str) -> bytes:
        """INFO as text."""
        with self.client() as client:
            client.response_callbacks.pop("INFO", None)
            answer: object = client.execute_command("INFO", section)  # type: ignore[no-untyped-call]
        assert isinstance(answer, bytes)
        return answer

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While the block runs the server hangs: it is there, and does nothing."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def config(self, name: str, value: str | int) -> Iterator[None]:
        """While the block runs, one setting is another."""
        with self.client() as client:
            before = client.config_get(name)[name] or ""
            client.config_set(name, value)
            try:
                yield
            finally:
                client.config_set(name, before)

    @contextmanager
    def demoted(self) -> Iterator[None]:
        """While the block runs the server is a replica, of nobody who is there."""
        self.run("REPLICAOF", "127.0.0.1", 1)
        try:
            yield
        finally:
            self.run("REPLICAOF", "NO", "ONE")

    def cpu_ns(self) -> int:
        """CPU time of the process so far (Linux)."""
        assert self._process is not None
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0])

    def kill(self) -> None:
        """As a crash would end it: nothing is flushed, the sockets are reset."""
        if self._process is not None:
            # With a child of its own that may be writing files just now.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """As an operator would end it, unless it takes too long for that."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(READY_WITHIN_S)
            self._process = None
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None
