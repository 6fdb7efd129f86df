"""HTTP/1.1 clients on raw sockets: kept connections, many at once, and uploads at a pace."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.processes.gateway_process import WITHIN_S


@dataclass(frozen=True, slots=True)
class Reply:
    """Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps(self) -> bool:
        return self.headers.get("connection", "") != "close"


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next final answer; raises IncompleteReadError when the gateway closes before its end."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        status = int(first.split(" ")[1])
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        if status >= 200:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            return Reply(status, headers, body)


def head(method: str, target: str, key: str, *lines: str) -> bytes:
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: gateway", f"X-API-Key: {key}", *lines, "", ""]
    ).encode()


class Kept:
    """A connection that is kept from request to request, and opened again when it was closed."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.opened = 0

    async def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self.opened += 1
        reader, writer = self._streams
        writer.write(head(method, target, self._key, f"Content-Length: {len(body)}") + body)
        reply = await read_reply(reader)
        if not reply.keeps:
            self.close()
        return reply

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def hammer(
    ports: Sequence[int], key: str, targets: Iterator[str], body: bytes, *, lines: int
) -> Counter[int]:
    """PUT `body` to every target, over `lines` kept connections to the ports in turn; how often
    each status was answered. Raises when any request is not answered."""
    statuses: Counter[int] = Counter()

    async def work(port: int) -> None:
        line = Kept(port, key)
        try:
            for target in targets:  # shared: each takes the next one
                statuses[(await line.ask("PUT", target, body)).status] += 1
        finally:
            line.close()

    async with asyncio.TaskGroup() as group:
        for number in range(lines):
            group.create_task(work(ports[number % len(ports)]))
    return statuses


class Upload:
    """One PUT of `size` bytes, sent as the test says; `chunked` does not tell the size before."""

    def __init__(
        self, port: int, key: str, target: str, size: int, *, chunked: bool = False
    ) -> None:
        self.target = target
        self.size = size
        self.sent = 0
        self._port = port
        self._chunked = chunked
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        self._head = head("PUT", target, key, framing)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def begin(self, part: int = 0) -> "Upload":
        """Send the head and `part` bytes of the body."""
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(self._head)
        await self.send(part)
        return self

    async def send(self, part: int) -> None:
        assert self._streams is not None
        part = min(part, self.size - self.sent)
        self.sent += part
        data = b"u" * part
        if self._chunked and part:
            data = b"%x\r\n%b\r\n" % (part, data)
            data += b"0\r\n\r\n" if self.sent == self.size else b""
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def pace(self, piece: int, every_s: float) -> None:
        """Send the rest of it piece by piece."""
        while self.sent < self.size:
            await self.send(piece)
            await asyncio.sleep(every_s)

    async def reply(self, *, within_s: float = WITHIN_S) -> Reply | None:
        """The answer; None when the gateway broke off without one."""
        assert self._streams is not None
        try:
            async with asyncio.timeout(within_s):
                return await read_reply(self._streams[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
