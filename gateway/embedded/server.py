"""The Redis server that `redis = "auto"` starts: one for each state directory, shared by its users.

The first who comes starts it, the last who leaves stops it, and who was killed has left: presence
is a shared lock that the kernel takes back. The server is in a session of its own, so that neither
Ctrl-C nor the death of a gateway ends it; whoever comes next finds it running. If it dies while
it is used, the first user who notices starts it again on the same files.

The server inherits a lock that it holds for as long as it lives. Nobody starts a second one on the
same files while that is held, whether the first answers or not.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from gateway.clock import monotonic_s
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.redispy import no_retry
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

Version = tuple[int, int, int]

SOCKET_PATH_MAX = 107
"""Bytes that the kernel allows for the path of a unix socket."""

VERSION_FILE = "version"
"""Says which version wrote the books."""

READY_WITHIN_S = 20.0
ANSWER_WITHIN_S = 5.0
POLL_S = 0.02
LOOK_EVERY_S = 1.0
LOG_LINES = 3


class EmbeddedRedis:
    """`join` before use, `leave` after. `directory` is made, for this user alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.socket = socket_path(self.directory)
        self._life = self.directory / "server.lock"
        self._presence: int | None = None
        self._tasks = TaskSet()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log_file(self) -> Path:
        return self.directory / "redis.log"

    def written_by(self) -> tuple[int, int] | None:
        """The version of the server that last wrote here; None when there are no books yet.

        An older one must not be started on them: 6.2 does not even see the append-only files of 7,
        and would begin with empty books.
        """
        try:
            major, minor, *_ = (self.directory / VERSION_FILE).read_text().split(".")
        except FileNotFoundError:
            return None
        return int(major), int(minor)

    async def join(self, binary: Path, version: Version) -> None:
        """Use the server, started if it does not run. Raises StoreError when that fails."""
        _private(self.directory)
        _private(self.socket.parent)
        async with self._alone():
            self._presence = _locked(self.directory / "users.lock", fcntl.LOCK_SH)
            try:
                await self._run(binary, version)
            except BaseException:
                self._release()
                raise
        self._tasks.start(
            self._keep_running(binary, version), name="keep the embedded Redis running"
        )

    async def leave(self) -> None:
        """Stop the server if nobody else uses it; what it holds is on disk then."""
        await self._tasks.stop()
        async with self._alone():
            self._release()
            try:
                nobody = _locked(self.directory / "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            try:
                await self._shut_down()
            finally:
                os.close(nobody)

    async def _run(self, binary: Path, version: Version) -> None:
        """See to it that the server runs and answers."""
        try:
            life = _locked(self._life, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await self._until_ready()
            return
        try:
            await self._launch(binary, life)
        except OSError as failure:
            raise StoreError(
                STORE_UNAVAILABLE, f"{binary}: {failure.strerror}", transient=False
            ) from failure
        finally:
            os.close(life)
        await self._until_ready()
        (self.directory / VERSION_FILE).write_text(f"{'.'.join(map(str, version))}\n")

    async def _launch(self, binary: Path, life: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        settings = {
            "daemonize": "yes",
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "pidfile": str(self.directory / "redis.pid"),
            "logfile": str(self.log_file),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        process = await asyncio.create_subprocess_exec(
            binary,
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.directory,
            env={},
            pass_fds=(life,),
        )
        await process.wait()

    async def _until_ready(self) -> None:
        """Reading large files may take as long as it takes; being silent may not."""
        deadline_s = monotonic_s() + READY_WITHIN_S
        client = self._client()
        try:
            while True:
                try:
                    await client.ping()
                    return
                except BusyLoadingError:
                    deadline_s = monotonic_s() + READY_WITHIN_S
                except (RedisError, OSError):
                    if monotonic_s() > deadline_s or not self._alive():
                        raise StoreError(STORE_UNAVAILABLE, self._why(), transient=False) from None
                await asyncio.sleep(POLL_S)
        finally:
            await client.aclose()

    async def _shut_down(self) -> None:
        client = self._client()
        try:
            await client.shutdown()
        except (RedisError, OSError) as failure:
            log.warning("the embedded Redis could not be stopped: %s", failure)
        finally:
            await client.aclose()
        deadline_s = monotonic_s() + READY_WITHIN_S
        while True:
            if not self._alive() or monotonic_s() > deadline_s:
                return
            await asyncio.sleep(POLL_S)

    def _alive(self) -> bool:
        """Whether there is a server, be it busy, or on its way in or out."""
        try:
            os.close(_locked(self._life, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            return True
        return False

    def _client(self) -> "Redis":
        return Redis(
            unix_socket_path=str(self.socket),
            protocol=2,
            retry=no_retry(),
            socket_timeout=ANSWER_WITHIN_S,
        )

    async def _keep_running(self, binary: Path, version: Version) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._alive():
                continue
            log.error("the embedded Redis has died; starting it again")
            try:
                async with self._alone():
                    await self._run(binary, version)
            except StoreError as failure:
                log.error("the embedded Redis does not start: %s", failure)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """While the block runs nobody else starts or stops this server."""
        deadline_s = monotonic_s() + 2 * READY_WITHIN_S
        while True:
            try:
                lock = _locked(self.directory / "start.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic_s() > deadline_s:
                    text = f"{self.directory}: somebody else has been starting Redis for too long"
                    raise StoreError(STORE_UNAVAILABLE, text, transient=True) from None
                await asyncio.sleep(POLL_S)
        try:
            yield
        finally:
            os.close(lock)

    def _release(self) -> None:
        if self._presence is not None:
            os.close(self._presence)
            self._presence = None

    def _why(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        return f"the Redis server in {self.directory} does not answer: {' / '.join(lines)}"


def socket_path(directory: Path) -> Path:
    """In the directory, or at a short place of this user when the kernel could not take that."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    print_ = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"quota-gateway-{os.getuid()}-{print_}" / "redis.sock"


def _locked(path: Path, how: int) -> int:
    """A descriptor that holds the lock until it is closed, or its process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _private(directory: Path) -> None:
    """Make the directory; see that nobody else can have put something there."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = directory.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        text = f"{directory} must belong to this user, and be writable for no other"
        raise StoreError(STORE_UNAVAILABLE, text, transient=False)
