"""The gateway's own Redis server: one per state directory, shared by all who use that directory.

Whoever comes first starts it, whoever comes later attaches, and the last one to leave stops it; a
process that was killed has left too, without stopping anything, and the next to come takes over.
Two servers never write the same books: a server holds a lock for as long as it lives, even while it
does not answer. When it ends although it is used, it is started again. A server at the socket that
holds no such lock is somebody else's: it is used, but never stopped.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError

from gateway.clock import monotonic_s
from gateway.embedded.choosing import Binary, choose, found_here
from gateway.embedded.home import Home, usable
from gateway.embedded.launching import launch
from gateway.embedded.locks import POLL_S, Lock
from gateway.errors import STORE_UNAVAILABLE, ConfigError, StoreError
from gateway.ledger.redispy import no_retry
from gateway.tasks import TaskSet, shielded

log = logging.getLogger(__name__)

DOOR_WITHIN_S = 30.0
DIALS_WITHIN_S = 1.0
LISTENS_WITHIN_S = 10.0
ANSWERS_WITHIN_S = 10.0
STOPS_WITHIN_S = 10.0
DIES_WITHIN_S = 5.0

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
CALM_S = 10.0
"""A server that ran as long is not one that keeps failing."""

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user, group."""


class EmbeddedRedis:
    """`attach` or `start` once, then `leave`. `name` tells product and version once it runs."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.name = ""
        self._process: int | None = None
        self._users = Lock(home.users)
        self._server = Lock(home.server)
        self._tasks = TaskSet()
        self._launching = TaskSet()

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.home.socket))}"

    async def attach(self) -> bool:
        """Use the server that runs here, or comes up just now; False when there is none."""
        return await self._use(None)

    async def start(self, binary: Binary) -> None:
        """Use the server that runs here, or one that is started. Raises `StoreError`."""
        await self._use(binary)

    async def leave(self) -> None:
        """Stop the server if nobody else uses it. What it holds is on the disk then."""
        await self._tasks.stop()
        if not self._users.held:
            return
        try:
            async with self._alone():
                self._users.free()
                if self._users.take():
                    await self._stop()
        except (StoreError, OSError) as failure:
            log.warning("the Redis server in %s is left running: %s", self._place, failure)
        finally:
            self._users.free()

    # -- coming -----------------------------------------------------------------------------------

    async def _use(self, binary: Binary | None) -> bool:
        with usable():
            async with self._alone():
                if not self._users.held:
                    self._users.take(shared=True)
                if not await self._listening(binary):
                    self._users.free()
                    return False
            await self._answering()
        if len(self._tasks) == 0:
            self._tasks.start(self._keep_running(), name="embedded Redis")
        return True

    async def _listening(self, binary: Binary | None) -> bool:
        """See that a server takes connections, started if need be; False if there is none."""
        launched = False
        deadline_s = monotonic_s() + LISTENS_WITHIN_S
        while not await self._accepts():
            if self._server.take():
                if launched or binary is None:
                    self._server.free()
                if launched:
                    raise self._unavailable(f"ended at once: {self.home.log_tail()}")
                if binary is None:
                    return False
                starting = asyncio.to_thread(launch, binary, self.home, self._server.hand_over())
                await shielded(starting, self._launching, name="start Redis")
                launched = True
            elif monotonic_s() >= deadline_s:
                raise self._unavailable("runs, but takes no connections")
            else:
                await asyncio.sleep(POLL_S)
        return True

    async def _answering(self) -> None:
        """Wait until it has read its books, however long that takes, and answers."""
        deadline_s = monotonic_s() + ANSWERS_WITHIN_S
        loading = False
        while True:
            try:
                await self._told("PING", within_s=ANSWERS_WITHIN_S)
                facts = await self._told("INFO", "server", within_s=ANSWERS_WITHIN_S)
                break
            except BusyLoadingError:
                if not loading:
                    log.info("the Redis server in %s is reading its books", self._place)
                loading = True
                deadline_s = monotonic_s() + ANSWERS_WITHIN_S
            except (RedisError, TimeoutError) as failure:
                if not self._lives():
                    raise self._unavailable(f"ended: {self.home.log_tail()}") from failure
                if monotonic_s() >= deadline_s:
                    raise self._unavailable(f"does not answer: {failure}") from failure
            await asyncio.sleep(POLL_S)
        product = "Valkey" if "valkey_version" in facts else "Redis"
        version = facts.get("valkey_version", facts["redis_version"])
        self.name = f"{product} {version}"
        with contextlib.suppress(OSError):
            self._process = await self._pid()
        self.home.written_by(version)

    # -- staying ----------------------------------------------------------------------------------

    async def _keep_running(self) -> None:
        pause_s = PAUSE_FIRST_S
        while True:
            began_s, process = monotonic_s(), self._process
            await self._hung_up()
            if monotonic_s() - began_s > CALM_S:
                pause_s = PAUSE_FIRST_S
            if not await self._accepts():
                log.error("the Redis server in %s has ended; starting it again", self._place)
                await self._again()
            await asyncio.sleep(pause_s)
            _bury(process)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _hung_up(self) -> None:
        """Wait, on a connection that is used for nothing else, for its end."""
        with contextlib.suppress(OSError):
            async with self._dialled() as (reader, _):
                while await reader.read(1024):
                    pass

    async def _again(self) -> None:
        try:
            choice = await asyncio.to_thread(choose, found_here(), oldest=self.home.oldest())
            assert isinstance(choice, Binary)
            await self.start(choice)
        except (ConfigError, StoreError) as failure:
            log.error("the Redis server in %s does not start: %s", self._place, failure)
        else:
            log.warning("%s runs again in %s", self.name, self._place)

    # -- leaving ----------------------------------------------------------------------------------

    async def _stop(self) -> None:
        if not await self._listening(None) or not self._lives():
            return  # Nobody is there, or somebody else's server.
        pid = await self._pid()
        try:
            await self._told("SHUTDOWN", within_s=STOPS_WITHIN_S)
        except ConnectionError:
            pass  # As it should be: it ends without an answer.
        except (RedisError, TimeoutError) as failure:
            log.warning("the Redis server in %s: shutdown: %s", self._place, failure)
        if not await self._server.wait(STOPS_WITHIN_S):
            if pid is None:
                raise self._unavailable("does not stop")
            log.error("the Redis server in %s does not stop; killing it", self._place)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not await self._server.wait(DIES_WITHIN_S):
                raise self._unavailable("does not die")
        self.home.clear_socket_place()
        self._server.free()

    # -- asking -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """While the block runs, nobody else starts the server or stops it."""
        door = Lock(self.home.door)
        if not await door.wait(DOOR_WITHIN_S):
            raise self._unavailable("has been starting or stopping for too long")
        try:
            yield
        finally:
            door.free()

    def _lives(self) -> bool:
        """Whether there is a server of ours, be it too busy to answer."""
        if self._server.take():
            self._server.free()
            return False
        return True

    async def _accepts(self) -> bool:
        try:
            async with self._dialled():
                return True
        except OSError:
            return False

    async def _pid(self) -> int | None:
        """The process that listens, where the system tells it."""
        if sys.platform != "linux":
            return None
        async with self._dialled() as (_, writer):
            raw = writer.get_extra_info("socket")
            packed = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(packed)[0]
        return pid or None  # 0: it is of another namespace.

    @asynccontextmanager
    async def _dialled(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Raises OSError when nobody listens."""
        path = self.home.socket
        if path is None:
            raise FileNotFoundError
        async with asyncio.timeout(DIALS_WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(path)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _told(self, *words: str, within_s: float) -> Any:
        """The answer to one command. Raises RedisError, and TimeoutError."""
        client = Redis(
            unix_socket_path=str(self.home.socket),
            protocol=2,
            retry=no_retry(),
            # redis-py's own timeout loses cancellations on Python 3.11 (asyncio.wait_for).
            socket_timeout=None,
        )
        try:
            async with asyncio.timeout(within_s):
                return await client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            # Cancelled meanwhile, redis-py would not close the connection at all.
            await shielded(client.aclose(), self._launching, name="hang up")

    @property
    def _place(self) -> Path:
        return self.home.directory

    def _unavailable(self, what: str) -> StoreError:
        text = f"the Redis server in {self._place} {what}"
        return StoreError(STORE_UNAVAILABLE, text, transient=False)


def _bury(pid: int | None) -> None:
    """Process 1 of a container is the parent of all orphans, a daemon that died among them."""
    if pid is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
