"""The transport of the data path: every caller's scripts over one pipelined connection.

It connects, and connects again, in the background; a call made meanwhile waits for `wait_s` at most
and fails at once when the last attempt has failed. Only a script that the server does not know is
repeated here, for it has not run.
"""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hiredis import ReplyError

from gateway.errors import StoreError
from gateway.ledger.address import Address
from gateway.ledger.connection import Connection
from gateway.ledger.resp import (
    NOSCRIPT,
    READONLY,
    Word,
    command,
    error_code,
    script_call,
    store_error,
    unavailable,
)
from gateway.ledger.scripts import Script
from gateway.ledger.template import Call
from gateway.ledger.transport import Heard, Then
from gateway.tasks import TaskSet

Locate = Callable[[], Awaitable[Address]]
"""Where the server is now; asked before each attempt to connect."""

OLDEST = (6, 2)
ASKING = command(b"ASKING")

RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the store may take. Together `wait_s` and `op_timeout_s` bound every call."""

    op_timeout_s: float = 0.25
    """From the call to its reply; then the connection is dropped."""
    wait_s: float = 0.05
    """For a connection, or for room among the calls under way."""
    connect_timeout_s: float = 1.0
    pending_max: int = 2048
    replicas: int = 0
    """Replicas that must have a script's writes before its reply counts (WAIT)."""
    replicas_timeout_s: float = 0.1


class PipelinedTransport:
    """Runs scripts on one server. `start` before use, `close` after."""

    __slots__ = (
        "_acknowledging",
        "_changed",
        "_closing",
        "_connection",
        "_limits",
        "_locate",
        "_one_slot",
        "_tasks",
        "_trouble",
        "connects",
        "heard",
    )

    def __init__(
        self, locate: Locate, limits: Limits | None = None, *, one_slot: bool = False
    ) -> None:
        """`one_slot`: of a cluster, which runs no script on the keys of two slots."""
        self._locate = locate
        self._one_slot = one_slot
        self.heard: Heard | None = None
        self._limits = limits or Limits()
        self._connection: Connection | None = None
        self._acknowledging: tuple[Connection, asyncio.Future[Any]] | None = None
        self._changed = asyncio.Event()
        self._tasks = TaskSet()
        self._closing = False
        self._trouble: str | None = None
        """Why the last attempt to connect failed; None while none has."""
        self.connects = 0

    async def start(self) -> None:
        """The first connection; raises `StoreError` when the server cannot be used."""
        self._use(await self._connect())

    def begin(self) -> None:
        """Like `start`, in the background: calls made before it is done wait or fail."""
        self._leave()

    @property
    def ready(self) -> bool:
        """A call is written without waiting."""
        connection = self._connection
        return connection is not None and not connection.full

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        reply = await self.attempt(script, keys, args)
        if type(reply) is ReplyError:
            raise store_error(str(reply), doing=script.name)
        return reply

    async def attempt(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, asking: bool = False
    ) -> Any:
        """As `run`, but an error reply is a value. `asking`: this node is only taking a slot over.

        A cluster's redirections are told by error replies.
        """
        connection = self._connection
        if connection is None or connection.full:
            connection = await self._ready(script.name)
        if asking:
            connection.call(ASKING)
        reply = await connection.call(script_call(b"EVALSHA", script.sha, keys, args))
        if type(reply) is ReplyError and error_code(str(reply)) == NOSCRIPT:
            if asking:
                connection.call(ASKING)
            # By its source: that loads it too, and cannot miss it when it is flushed again.
            reply = await connection.call(script_call(b"EVAL", script.source, keys, args))
        if type(reply) is ReplyError:
            self._heed(connection, str(reply))
        elif self._limits.replicas:
            await self._acknowledged(connection)
        return reply

    def send(self, call: Call, then: Then) -> bool:
        """Without replicas to wait for. Calls that join are made as one where that can be; `heard`
        is told of these."""
        connection = self._connection
        if connection is None or connection.full or self._limits.replicas:
            return False
        if call.template.joins:
            connection.join(call, then)
        else:
            connection.ask(call.packed(), then)
        return True

    def _told(self, script: Script, calls: int, seconds: float, reply: Any) -> None:
        if self.heard is not None:
            self.heard(script, calls, seconds, reply)

    async def command(self, doing: str, *words: Word) -> Any:
        """One command that is no script."""
        reply = await self.ask(doing, *words)
        if type(reply) is ReplyError:
            raise store_error(str(reply), doing=doing)
        return reply

    async def ask(self, doing: str, *words: Word, asking: bool = False) -> Any:
        """As `command`, but an error reply is a value. `asking`: as in an `attempt`."""
        connection = self._connection
        if connection is None or connection.full:
            connection = await self._ready(doing)
        if asking:
            connection.call(ASKING)
        reply = await connection.call(command(doing, *words))
        if type(reply) is ReplyError:
            self._heed(connection, str(reply))
        return reply

    def move(self, address: Address) -> None:
        """The server is there now: leave a connection to anywhere else."""
        connection = self._connection
        if connection is not None and connection.place != str(address):
            self._leave()
            connection.retire()

    async def close(self) -> None:
        """Calls under way are answered first, within their time."""
        self._closing = True
        await self._tasks.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.retire()
            await connection.gone()

    async def _ready(self, doing: str) -> Connection:
        """A connection with room on it, soon."""
        try:
            async with asyncio.timeout(self._limits.wait_s):
                while True:
                    connection = self._connection
                    if connection is not None:
                        if connection.full:
                            await connection.room()
                        if connection is self._connection:
                            return connection
                    elif self._closing or self._trouble is not None:
                        raise unavailable(f"{doing}: {self._trouble or 'closed'}")
                    else:
                        await self._changed.wait()
        except TimeoutError:
            what = "not connected" if self._connection is None else "too many calls under way"
            raise unavailable(f"{doing}: {what}") from None

    def _heed(self, connection: Connection, text: str) -> None:
        if error_code(text) == READONLY and connection is self._connection:
            # A primary no more. Those who wait get their answers; the next calls go elsewhere.
            self._leave()
            connection.retire()

    # -- replication ------------------------------------------------------------------------------

    async def _acknowledged(self, connection: Connection) -> None:
        """Wait for the replicas; the scripts answered in one turn share one WAIT.

        On the same connection, because WAIT speaks of its own connection's writes.
        """
        sharing = self._acknowledging
        if sharing is None or sharing[0] is not connection:
            sharing = self._acknowledging = (connection, connection.call(self._wait()))
            asyncio.get_running_loop().call_soon(self._close_sharing)
        reached = await asyncio.shield(sharing[1])
        if type(reached) is ReplyError:
            raise store_error(str(reached), doing="wait")
        if reached < self._limits.replicas:
            text = f"{reached} of {self._limits.replicas} replicas have the write"
            raise unavailable(text, indeterminate=True)

    def _wait(self) -> bytes:
        timeout_ms = round(self._limits.replicas_timeout_s * 1000)
        return command(b"WAIT", b"%d" % self._limits.replicas, b"%d" % timeout_ms)

    def _close_sharing(self) -> None:
        self._acknowledging = None

    # -- connecting -------------------------------------------------------------------------------

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        self._trouble = None
        self.connects += 1
        self._changed.set()

    def _leave(self) -> None:
        self._connection = None
        self._changed.clear()
        if not self._closing:
            self._tasks.start(self._reconnect(), name="connect to the store")

    def _lost(self, connection: Connection) -> None:
        if connection is self._connection:
            self._leave()

    async def _reconnect(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            try:
                self._use(await self._connect())
                return
            except StoreError as error:
                self._trouble = str(error)
                self._changed.set()
                self._changed.clear()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, RETRY_MAX_S)

    async def _connect(self) -> Connection:
        place = "the store"
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                address = await self._locate()
                place = str(address)
                connection = await self._open(address)
                try:
                    await greet(connection, address)
                except BaseException:  # Also when cancelled: nobody else knows of it yet.
                    connection.drop("not usable")
                    await connection.gone()
                    raise
                return connection
        except TimeoutError:
            raise unavailable(f"{place}: no connection in time") from None
        except OSError as error:
            raise unavailable(f"{place}: {error.strerror or error}") from error

    async def _open(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        limits = self._limits

        def protocol() -> Connection:
            return Connection(
                str(address),
                self._lost,
                timeout_s=limits.op_timeout_s,
                pending_max=limits.pending_max,
                one_slot=self._one_slot,
                heard=self._told,
            )

        if address.path:
            return (await loop.create_unix_connection(protocol, address.path))[1]
        transport, connection = await loop.create_connection(
            protocol, address.host, address.port, ssl=address.tls_context()
        )
        # Not left to the loop's default: a batch must not wait for the acknowledgement of the last.
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection


async def greet(connection: Connection, address: Address) -> None:
    """Log in, choose the database, and see that this is a primary of a version that will do."""
    words = [b"HELLO", b"2"]
    if address.password:
        words += [b"AUTH", (address.user or "default").encode(), address.password.encode()]
    answer = await connection.call(command(*words))
    # Only the code of an error: the text of some repeats the words of the command.
    if type(answer) is ReplyError:
        raise store_error(f"{error_code(str(answer))} (login)", doing=str(address))
    _judge(answer, address)
    if address.db:
        chosen = await connection.call(command(b"SELECT", b"%d" % address.db))
        if type(chosen) is ReplyError:
            raise store_error(str(chosen), doing=f"{address}: database {address.db}")


def _judge(greeting: Any, address: Address) -> None:
    """Raises StoreError when who answered is not the server that is wanted."""
    try:
        facts = dict(zip(greeting[::2], greeting[1::2], strict=True))
        role, version = facts[b"role"], facts[b"version"].decode()
        major, minor, *_ = (int(number) for number in version.split(".")[:2])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unavailable(f"{address}: does not introduce itself as Redis does") from None
    if (major, minor) < OLDEST:
        raise unavailable(f"{address}: Redis {version} is older than 6.2")
    if role != b"master":
        raise unavailable(f"{address}: is a replica")
