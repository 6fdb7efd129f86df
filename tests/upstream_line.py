"""One connection to a scripted upstream: reads requests off it and records what came."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

Field = tuple[bytes, bytes]

KEPT_BODY_MAX = 8 * 1024 * 1024
"""Bodies are kept up to here; of larger ones only the count and the digest."""


@dataclass(slots=True)
class Received:
    """One request as the upstream saw it; `ended` once its body was complete."""

    method: bytes = b""
    target: bytes = b""
    headers: list[Field] = field(default_factory=list)
    head: bytes = b""
    body: bytearray = field(default_factory=bytearray)
    body_bytes: int = 0
    trailers: list[Field] = field(default_factory=list)
    ended: bool = False
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def get(self, name: bytes) -> bytes | None:
        """The value of the field with this lower-case name; asserts that it is there once."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    def take(self, data: bytes) -> None:
        self.body_bytes += len(data)
        self.digest.update(data)
        if self.body_bytes <= KEPT_BODY_MAX:
            self.body += data


class Record:
    """What an upstream saw. `until` waits for any of it to become what a test needs."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.requests: list[Received] = []
        """All that came, whole or not."""
        self.stored: dict[bytes, bytes] = {}
        self.connections = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.resets = 0
        """Connections that the other side broke off with a RST."""
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until `true()`; fails the test when that takes too long."""
        if true():
            return
        news = asyncio.get_running_loop().create_future()
        self._watchers.append((true, news))
        async with asyncio.timeout(timeout_s):
            await news

    async def pause(self, seconds: float) -> None:
        """Let time pass, but not beyond the upstream's end."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopped.wait()
        except TimeoutError:
            pass

    def received(self, request: Received) -> None:
        self.requests.append(request)
        self.changed()

    def count(self, more: int) -> None:
        self.bytes_in += more
        self.changed()

    def changed(self) -> None:
        for true, news in self._watchers:
            if not news.done() and true():
                news.set_result(None)


class Line:
    """One connection that a script is played on."""

    def __init__(
        self, record: "Record", reader: asyncio.StreamReader, w: asyncio.StreamWriter
    ) -> None:
        self.record = record
        self.reader = reader
        self.writer = w
        self.request = Received()
        self.unread_body: int | None = 0
        """Bytes of body still to come; None: it is chunked."""

    async def read_head(self) -> None:
        request = self.request = Received()
        head = request.head = await self.reader.readuntil(b"\r\n\r\n")
        self.record.count(len(head))
        first, *lines = head[:-4].split(b"\r\n")
        request.method, request.target, _ = first.split(b" ")
        request.headers = [fields(line) for line in lines]
        length = request.get(b"content-length")
        self.unread_body = int(length or 0)
        if request.get(b"transfer-encoding") is not None:
            self.unread_body = None
        self.record.received(request)

    async def read_body(self, most: int | None = None) -> None:
        """The rest of the body, or `most` bytes of it."""
        if self.unread_body is None:
            await self._read_chunks(most)
            return
        wanted = self.unread_body if most is None else min(most, self.unread_body)
        while wanted:
            data = await self.reader.read(min(wanted, 262_144))
            if not data:
                raise asyncio.IncompleteReadError(b"", wanted)
            wanted -= len(data)
            self.unread_body -= len(data)
            self._take(data)
        if self.unread_body == 0:
            self._ended()

    async def _read_chunks(self, most: int | None) -> None:
        left = float("inf") if most is None else most
        while left > 0:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                    self.request.trailers.append(fields(line[:-2]))
                self._ended()
                return
            self._take((await self.reader.readexactly(size + 2))[:-2])
            left -= size

    def _take(self, data: bytes) -> None:
        self.request.take(data)
        self.record.count(len(data))

    def _ended(self) -> None:
        self.request.ended = True
        self.record.changed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.record.bytes_out += len(data)
        self.record.changed()


def fields(line: bytes) -> Field:
    name, _, value = line.partition(b":")
    return name, value.strip()
