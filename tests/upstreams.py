"""A scripted upstream on a raw socket: what an upstream may do to us, byte for byte.

    async with ScriptedUpstream([Request(), Answer(200, body=b"hi"), Reset()]) as upstream:
        ... upstream.url, upstream.requests, upstream.connections ...

A script is a list of steps and is played once per connection; the first connection plays the first
script, the last script serves all further ones. Without a script, requests are answered like a
small file store: PUT and POST keep the body, GET, HEAD and DELETE of what was kept work.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.upstream_line import Field, Line, Received, Record

# -- steps ----------------------------------------------------------------------------------------


class Step(Protocol):
    async def play(self, line: Line) -> None: ...


Script = Sequence[Step]


@dataclass(frozen=True, slots=True)
class Head:
    """Read the head of a request and nothing of its body."""

    async def play(self, line: Line) -> None:
        await line.read_head()


@dataclass(frozen=True, slots=True)
class Body:
    """Read the rest of the body, or the next `most` bytes of it."""

    most: int | None = None

    async def play(self, line: Line) -> None:
        await line.read_body(self.most)


@dataclass(frozen=True, slots=True)
class Request:
    """Read a whole request."""

    async def play(self, line: Line) -> None:
        await line.read_head()
        await line.read_body()


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes

    async def play(self, line: Line) -> None:
        await line.send(self.data)


@dataclass(frozen=True, slots=True)
class Answer:
    """Write an answer. `length` defaults to the body's; None leaves the field out. `chunked` sends
    every part of `body` (bytes or a list of them) as a chunk."""

    status: int = 200
    headers: Sequence[Field] = ()
    body: bytes | Sequence[bytes] = b""
    chunked: bool = False
    length: int | None = -1
    trailers: Sequence[Field] = ()

    async def play(self, line: Line) -> None:
        await line.send(self.wire())

    def wire(self) -> bytes:
        pieces = [self.body] if isinstance(self.body, bytes) else list(self.body)
        lines = [b"HTTP/1.1 %d Scripted" % self.status]
        lines += [b"%b: %b" % item for item in self.headers]
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.length is not None and self.status >= 200 and self.status not in (204, 304):
            length = sum(map(len, pieces)) if self.length < 0 else self.length
            lines.append(b"Content-Length: %d" % length)
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if not self.chunked:
            return head + b"".join(pieces)
        ends = b"".join(b"%b: %b\r\n" % item for item in self.trailers)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        return head + chunks + b"0\r\n" + ends + b"\r\n"


@dataclass(frozen=True, slots=True)
class Stream:
    """Write `total` bytes of `pattern`, over and over."""

    total: int
    pattern: bytes = bytes(range(256)) * 1024

    async def play(self, line: Line) -> None:
        left = self.total
        while left:
            await line.send(self.pattern[:left])
            left -= min(left, len(self.pattern))


@dataclass(frozen=True, slots=True)
class Drip:
    """Write `data` in pieces of `piece` bytes, one every `every_s`."""

    data: bytes
    piece: int = 1
    every_s: float = 0.02

    async def play(self, line: Line) -> None:
        for start in range(0, len(self.data), self.piece):
            await line.send(self.data[start : start + self.piece])
            await line.record.pause(self.every_s)


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection properly (FIN; close_notify on TLS)."""

    async def play(self, line: Line) -> None:
        line.writer.close()


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a RST."""

    async def play(self, line: Line) -> None:
        sock: socket.socket = line.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Hang:
    """Neither read nor write until the upstream stops."""

    async def play(self, line: Line) -> None:
        await line.record.stopped.wait()


@dataclass(frozen=True, slots=True)
class Linger:
    """Read and forget until the other side is gone."""

    async def play(self, line: Line) -> None:
        while data := await line.reader.read(65_536):
            line.record.count(len(data))


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on when the test sets the event."""

    event: asyncio.Event

    async def play(self, line: Line) -> None:
        await self.event.wait()


@dataclass(frozen=True, slots=True)
class Echo:
    """After an upgrade: send back whatever comes, until the other side is done."""

    async def play(self, line: Line) -> None:
        while data := await line.reader.read(65_536):
            line.record.count(len(data))
            await line.send(data)


SWITCH = Answer(101, [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")])


@dataclass(frozen=True, slots=True)
class Repeat:
    """Play these steps for one request after the other."""

    steps: Script

    async def play(self, line: Line) -> None:
        while True:
            for step in self.steps:
                await step.play(line)


@dataclass(frozen=True, slots=True)
class Store:
    """Keep what is sent and give it back, over and over."""

    async def play(self, line: Line) -> None:
        while True:
            await line.read_head()
            await line.read_body()
            await line.send(self._answer(line.record.stored, line.request).wire())

    def _answer(self, stored: dict[bytes, bytes], request: Received) -> Answer:
        path = request.target.partition(b"?")[0]
        if request.method in (b"PUT", b"POST"):
            stored[path] = bytes(request.body)
            told = b'{"size": %d}' % request.body_bytes
            return Answer(201, [(b"Content-Type", b"application/json")], told)
        if path not in stored:
            return Answer(404, body=b"" if request.method == b"HEAD" else b"not here")
        if request.method == b"DELETE":
            del stored[path]
            return Answer(204)
        body = stored[path]
        return Answer(200, body=b"" if request.method == b"HEAD" else body, length=len(body))


# -- the server -----------------------------------------------------------------------------------


class ScriptedUpstream(Record):
    """Listens while the `async with` block runs, on TCP, TLS or (`path`) a unix socket."""

    def __init__(
        self,
        *scripts: Script,
        tls: ssl.SSLContext | None = None,
        path: Path | None = None,
    ) -> None:
        super().__init__()
        self._scripts = list(scripts) or [[Store()]]
        self._tls = tls
        self._path = path
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self.url = ""
        self.port = 0

    @property
    def open(self) -> int:
        return len(self._lines)

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            self.url = f"unix:{self._path}"
        else:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20
            )
            self.port = self._server.sockets[0].getsockname()[1]
            self.url = f"{'https://localhost' if self._tls else 'http://127.0.0.1'}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.stopped.set()
        for line in tuple(self._lines):
            line.writer.transport.abort()
        tasks = tuple(self._lines.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._lines[line] = task
        self.connections += 1
        self.changed()
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        try:
            for step in script:
                await step.play(line)
            await Linger().play(line)
        except ConnectionError:
            self.resets += 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The other side is gone, or the test is over.
        finally:
            writer.close()
            del self._lines[line]
            self.changed()
