"""Channel: what a supervisor and one of its workers say to each other, and what it means.

    supervisor                                          worker
      Begin ─────────────────────────────────────────────▶
      ◀──────────────────────────────── Started, or Failed
      Reload ──▶ ◀── Reloaded     Count ──▶ ◀── Counted        any number of times
      ◀── Scrape   Joint ──▶
      Stop ──▶                             ◀── Counted, end

It is a socket that nobody else has an end of: when it ends, the other process has. Messages are
pickled, which is as safe as the fork that the processes have in common.
"""

import asyncio
import pickle
import socket
import struct
from dataclasses import dataclass

from gateway.errors import ConfigError, ConfigProblem, Error, StoreError
from gateway.settings import Configuration
from gateway.telemetry.joining import Exposition, Tally

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Begin:
    """To worker `number` of `count`. The addresses in `configuration` are resolved; `url` is where
    the store is, `log_turns` the file that is locked by who logs. Of the descriptors that came
    along, the first is the channel, the next `public` are of the public listener and the rest are
    of the admin one."""

    number: int
    count: int
    configuration: Configuration
    url: str
    public: int
    log_turns: int


@dataclass(frozen=True, slots=True)
class Started:
    public_address: str
    admin_address: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot serve."""

    why: str
    error: Error | None = None
    problems: tuple[ConfigProblem, ...] = ()

    @classmethod
    def by(cls, failure: Exception) -> "Failed":
        match failure:
            case StoreError():
                return cls(str(failure), failure.error)
            case ConfigError():
                return cls(str(failure), problems=failure.problems)
            case _:
                return cls(str(failure))

    def failure(self) -> Exception:
        """What it was, once more."""
        if self.error is not None:
            return StoreError(self.error, self.why, transient=False)
        return ConfigError(self.problems) if self.problems else OSError(self.why)


@dataclass(frozen=True, slots=True)
class Reload:
    question: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`why` the old configuration stays, or "" if it does not."""

    question: int
    why: str


@dataclass(frozen=True, slots=True)
class Count:
    question: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Everything the worker has counted; `question` 0: at its end, unasked."""

    question: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Scrape:
    """A worker asks what all of them have counted."""

    question: int


@dataclass(frozen=True, slots=True)
class Joint:
    question: int
    exposition: Exposition


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain, then end."""


Message = (
    Begin | Started | Failed | Reload | Reloaded | Count | Counted | Scrape | Joint | Stop
)  # fmt: skip


class Channel:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Never waits. Nothing happens when the other process has ended."""
        if not self._writer.is_closing():
            text = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(text)) + text)

    async def receive(self) -> Message | None:
        """None: the other process has ended."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            message: Message = pickle.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def close(self) -> None:
        """What was sent arrives, unless the other process has ended."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
