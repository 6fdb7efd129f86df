"""An upstream of changing temper: it stores, refuses, breaks off, lies in the way, or says nothing.

What it does with a request follows from the seed and from the request's target alone. It keeps
sizes, not bodies: `stored` is the truth that the books are compared with in the end.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs

from tests.upstream_line import Line, Record

UPLOAD = {
    "store": 60, "slowly": 6, "refuse": 9, "early": 7, "reset before": 3, "reset amid": 6,
    "vanish": 4, "hang": 1, "truncate": 4, "half a head": 3, "nonsense": 2, "interim": 4,
}  # fmt: skip
DOWNLOAD = {"give": 70, "slowly": 8, "refuse": 7, "truncate": 8, "reset before": 4, "vanish": 3}
DELETE = {"remove": 70, "slowly": 6, "refuse": 8, "reset before": 4, "vanish": 10, "truncate": 2}
REFUSALS = (400, 403, 409, 413, 429, 500, 502, 503, 507)
LONG = b"x" * 200


class GoneError(Exception):
    """The connection is over, as the upstream wanted it."""


@dataclass
class Storage:
    """`most`: the most there ever was at one time. `targets`: what was put; one that is put twice
    was sent twice on its way, by a gateway that may."""

    sizes: dict[str, int]
    total: int = 0
    most: int = 0
    targets: set[str] = field(default_factory=set)

    def put(self, target: str, name: str, size: int) -> None:
        self.total += size - self.sizes.get(name, 0)
        self.most = max(self.most, self.total)
        self.sizes[name] = size
        self.targets.add(target)

    def remove(self, name: str) -> None:
        self.total -= self.sizes.pop(name)


class StormUpstream:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.storage = Storage({})
        self.given = 0
        """Bytes of downloads."""
        self.misleading = 0
        """Uploads neither stored nor answered, whose probes find an older one."""
        self.tempers: Counter[str] = Counter()
        self.url = ""
        self._record = Record()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = Line(self._record, reader, writer)
        try:
            while True:
                await line.read_head()
                await _Turn(self, line).play()
        except (GoneError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Either side has ended it, or the test is over.
        finally:
            self._tasks.discard(task)
            writer.close()


class _Turn:
    """One request and what becomes of it."""

    def __init__(self, upstream: StormUpstream, line: Line) -> None:
        self.upstream = upstream
        self.line = line
        self.method = line.request.method.decode()
        self.target = line.request.target.decode()
        path, _, query = self.target.partition("?")
        self.name = path.rpartition("/")[2]
        self.query = parse_qs(query)
        self.chance = random.Random(f"{upstream.seed} {self.method} {self.target}")

    async def play(self) -> None:
        match self.method:
            case "HEAD":
                await self._tell()
            case "GET":
                await self._download(self._temper(DOWNLOAD))
            case "DELETE":
                await self._delete(self._temper(DELETE))
            case _:
                await self._upload(self._temper(UPLOAD))

    def _temper(self, weights: dict[str, int]) -> str:
        temper = self.chance.choices(list(weights), list(weights.values()))[0]
        self.upstream.tempers[f"{self.method} {temper}"] += 1
        return temper

    # -- the methods ------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Always true: probes ask so."""
        await self.line.read_body()
        size = self.upstream.storage.sizes.get(self.name)
        await self._answer(404 if size is None else 200, length=size or 0)

    async def _upload(self, temper: str) -> None:
        match temper:
            case "reset before":
                self._mislead()
                self._reset()
            case "reset amid":
                await self.line.read_body(self.chance.randrange(1, 60_000))
                self._mislead()
                self._reset()
            case "early":
                await self.line.read_body(self.chance.randrange(0, 30_000))
                await self._answer(self.chance.choice(REFUSALS), LONG, close=True)
                await self._let_go()
            case "interim":
                await self.line.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await self.line.read_body()
        match temper:
            case "refuse":
                await self._answer(self.chance.choice(REFUSALS), LONG)
                return
            case "slowly":
                await asyncio.sleep(self.chance.uniform(0.02, 0.4))
            case "vanish" | "hang" | "half a head" | "nonsense":
                if self.chance.random() < 0.5:
                    self._store()
                else:
                    self._mislead()
                await self._leave(temper)
        self._store()
        if temper == "truncate":
            await self._truncate(201)
        await self._answer(201, b"stored", chunked=self.chance.random() < 0.3)

    async def _download(self, temper: str) -> None:
        await self.line.read_body()
        size = self.upstream.storage.sizes.get(self.name)
        if temper == "refuse" or size is None:
            await self._answer(404 if size is None else self.chance.choice(REFUSALS), LONG)
            return
        await self._leave(temper)
        if temper == "truncate":
            await self._truncate(200)
        if temper == "slowly":
            await asyncio.sleep(self.chance.uniform(0.02, 0.4))
        self.upstream.given += size
        await self._answer(200, b"d" * size, chunked=self.chance.random() < 0.3)

    async def _delete(self, temper: str) -> None:
        await self.line.read_body()
        if temper == "reset before":
            self._reset()
        if temper == "refuse":
            await self._answer(self.chance.choice(REFUSALS), LONG)
            return
        there = self.name in self.upstream.storage.sizes
        if there and (temper != "vanish" or self.chance.random() < 0.5):
            self.upstream.storage.remove(self.name)
        if temper == "slowly":
            await asyncio.sleep(self.chance.uniform(0.02, 0.4))
        await self._leave(temper)
        if temper == "truncate":
            await self._truncate(200)
        await self._answer(204 if there else 404)

    def _store(self) -> None:
        """A form stores its files, and its client says how large they are."""
        files = self.query.get("files")
        size = self.line.request.body_bytes if files is None else int(files[0])
        self.upstream.storage.put(self.target, self.name, size)

    def _mislead(self) -> None:
        self.upstream.misleading += self.name in self.upstream.storage.sizes

    # -- the answers ------------------------------------------------------------------------------

    async def _answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        length: int | None = None,
        chunked: bool = False,
        close: bool = False,
    ) -> None:
        close = close or self.chance.random() < 0.1
        head = f"HTTP/1.1 {status} So\r\nX-Target: {self.target}\r\n"
        head += "Connection: close\r\n" if close else ""
        if status != 204:
            told = len(body) if length is None else length
            head += "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {told}\r\n"
        data = body
        if chunked:
            half = len(body) // 2
            pieces = [piece for piece in (body[:half], body[half:]) if piece]
            data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            data += b"0\r\n\r\n"
        await self.line.send(head.encode() + b"\r\n" + data)
        if close and self.line.request.ended:
            raise GoneError

    async def _truncate(self, status: int) -> None:
        """The head says more than comes."""
        head = f"HTTP/1.1 {status} So\r\nX-Target: {self.target}\r\nContent-Length: 5000\r\n\r\n"
        part = LONG[: self.chance.randrange(0, 200)]
        self.upstream.given += len(part) if self.method == "GET" else 0
        await self.line.send(head.encode() + part)
        if self.chance.random() < 0.5:
            self._reset()
        raise GoneError

    async def _leave(self, temper: str) -> None:
        """Without an answer, or with none that can be understood."""
        match temper:
            case "reset before":
                self._reset()
            case "vanish":
                raise GoneError
            case "hang":
                await asyncio.sleep(60)
                raise GoneError
            case "half a head":
                await self.line.send(b"HTTP/1.1 201 So\r\nX-Tar")
                self._reset() if self.chance.random() < 0.5 else None
                raise GoneError
            case "nonsense":
                await self.line.send(b"<html>this is no HTTP</html>\r\n\r\n")
                raise GoneError

    async def _let_go(self) -> None:
        """After an early answer: read on for a while, or not."""
        if not self.line.request.ended and self.chance.random() < 0.5:
            await self.line.read_body()
        raise GoneError

    def _reset(self) -> None:
        sock: socket.socket = self.line.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.line.writer.transport.abort()
        raise GoneError
