"""Clients of every habit: whole and broken uploads, downloads, deletes, pipelines, slow and gone.

Each has names of its own in the upstream, and stops using one whose state it cannot know. What it
was told has to be true: an upload that was answered 201 is there, an answer is to the request that
it came for.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.processes.storm_upstream import StormUpstream

PATIENCE_S = 30.0
SIZES = ((0, 1), (1, 2_000), (1, 60_000), (1, 60_000), (1, 300_000), (128_000, 1_000_000))
BOUNDARY = "a-boundary"
CRLF = "\r\n"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request on the wire. `stores`: what an upload leaves at the upstream."""

    method: str
    target: str
    name: str
    head: bytes
    body: bytes = b""
    stores: int = 0
    waits: bool = False
    """For `100 Continue`."""


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    keeps: bool
    from_upstream: bool
    got: int


@dataclass
class Client:
    number: int
    seed: int
    ports: Sequence[int]
    key: str
    upstream: StormUpstream
    names: dict[str, int] = field(default_factory=dict)
    """name → bytes that are there."""
    statuses: Counter[str] = field(default_factory=Counter)
    got: int = 0
    """Bytes of downloads."""
    count: int = 0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.number}")

    async def live(self, until_s: float) -> None:
        """Ask for one thing after the other until the loop's clock says so."""
        clock = asyncio.get_running_loop().time
        while clock() < until_s:
            habit = self.chance.random()
            if habit < 0.15:
                await self._pipeline([self._next() for _ in range(self.chance.randint(2, 4))])
            elif habit < 0.35:
                await self._abort(self._next())
            else:
                await self._whole(self._next())
            if self.chance.random() < 0.1:
                self._hang_up(abrupt=self.chance.random() < 0.5)
            if self.chance.random() < 0.2:
                await asyncio.sleep(self.chance.uniform(0, 0.05))
        self._hang_up(abrupt=False)

    # -- what is asked for ------------------------------------------------------------------------

    def _next(self) -> Ask:
        self.count += 1
        known = list(self.names)
        if known and self.chance.random() < 0.5:
            name = self.chance.choice(known)
            method = self.chance.choice(["GET", "GET", "HEAD", "DELETE", "DELETE"])
            return self._ask(method, f"/files/{name}?n={self.count}", name)
        again = known and self.chance.random() < 0.25
        name = self.chance.choice(known) if again else f"c{self.number}-{self.count}"
        size = self.chance.randint(*self.chance.choice(SIZES))
        lines = ["Expect: 100-continue"] if self.chance.random() < 0.15 else []
        if self.chance.random() < 0.25:
            return self._form(name, size, lines)
        body = b"u" * size
        target = f"/files/{name}?n={self.count}"
        return self._ask("PUT", target, name, self._framed(body, lines), lines, stores=size)

    def _form(self, name: str, size: int, lines: list[str]) -> Ask:
        """Two files of so many bytes together, and a field that does not count."""
        lines.append(f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
        parts = [('name="note"', b"n" * 50)]
        first = self.chance.randint(0, size)
        parts += [(f'name="f"; filename="{n}"', b"f" * n) for n in (first, size - first)]
        body = b"".join(
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; {told}\r\n\r\n".encode()
            + data
            + b"\r\n"
            for told, data in parts
        )
        body += f"--{BOUNDARY}--\r\n".encode()
        target = f"/files/{name}?n={self.count}&files={size}"
        return self._ask("POST", target, name, self._framed(body, lines), lines, stores=size)

    def _framed(self, body: bytes, lines: list[str]) -> bytes:
        """The body as it is on the wire; how, is added to the lines of the head."""
        if self.chance.random() < 0.6:
            lines.append(f"Content-Length: {len(body)}")
            return body
        lines.append("Transfer-Encoding: chunked")
        wire = []
        while body:
            cut = self.chance.randint(1, 40_000)
            wire.append(b"%x\r\n%b\r\n" % (len(body[:cut]), body[:cut]))
            body = body[cut:]
        return b"".join(wire) + b"0\r\n\r\n"

    def _ask(
        self,
        method: str,
        target: str,
        name: str,
        body: bytes = b"",
        lines: Sequence[str] = (),
        *,
        stores: int = 0,
    ) -> Ask:
        first = (f"{method} {target} HTTP/1.1", "Host: gateway", f"X-API-Key: {self.key}")
        head = CRLF.join([*first, *lines, "", ""]).encode()
        return Ask(method, target, name, head, body, stores, "Expect: 100-continue" in lines)

    # -- how --------------------------------------------------------------------------------------

    async def _whole(self, ask: Ask) -> None:
        reader, writer = await self._connected()
        may_send = asyncio.Event()
        reply = asyncio.ensure_future(self._reply(ask, reader, may_send))  # noqa: TID251
        writer.write(ask.head)
        if ask.waits:
            await _either(may_send, reply)
        left = ask.body
        while left and not reply.done():
            cut = self.chance.choice([len(left), self.chance.randint(1, 50_000)])
            writer.write(left[:cut])
            left = left[cut:]
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, 0.03))
        told = await reply
        if left or told is None or not told.keeps:
            self._hang_up(abrupt=False)
        self._believe(ask, told)

    async def _pipeline(self, asks: list[Ask]) -> None:
        """All at once; each name once, so that what is known stays true from one to the next."""
        asks = [each for each in {ask.name: ask for ask in asks}.values() if not each.waits]
        reader, writer = await self._connected()
        writer.write(b"".join(ask.head + ask.body for ask in asks))
        told: Told | None = None
        for number, ask in enumerate(asks):
            if number == 0 or (told is not None and told.keeps):
                told = await self._reply(ask, reader, asyncio.Event())
                self._believe(ask, told)
            else:
                self._believe(ask, None)
        if told is None or not told.keeps:
            self._hang_up(abrupt=True)

    async def _abort(self, ask: Ask) -> None:
        """Gone somewhere on the way, or as soon as all is sent, or within the answer."""
        reader, writer = await self._connected()
        wire = ask.head + ask.body
        way = self.chance.random()
        if way < 0.1:
            wire = wire[: self.chance.randint(1, len(ask.head))]
        elif way < 0.6:
            wire = wire[: self.chance.randint(len(ask.head), len(wire))]
        elif way < 0.7 and b"chunked" in ask.head:
            wire = wire[: self.chance.randint(len(ask.head), len(wire))] + b"\r\nzz\r\n"
        writer.write(wire)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.uniform(0, 0.1))
        if self.chance.random() < 0.3:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(0.2):
                    self.got += await self._some(reader, ask)
        self._hang_up(abrupt=self.chance.random() < 0.5)
        self._believe(ask, None)

    # -- what comes back --------------------------------------------------------------------------

    async def _reply(
        self, ask: Ask, reader: asyncio.StreamReader, may_send: asyncio.Event
    ) -> Told | None:
        """None when the connection breaks off before its end."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._read(ask, reader, may_send)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _read(self, ask: Ask, reader: asyncio.StreamReader, may_send: asyncio.Event) -> Told:
        status, headers = 0, dict[str, str]()
        while status < 200:
            status, headers = await _head(reader)
            if status == 100:
                may_send.set()
        target = headers.get("x-target")
        assert target in (None, ask.target), f"{target} answers {ask.target}"
        got = 0
        if ask.method != "HEAD" and status not in (204, 304):
            counted = ask.method == "GET" and status == 200
            async for size in _pieces(reader, headers):
                got += size
                self.got += size if counted else 0
        keeps = headers.get("connection", "") != "close"
        return Told(status, keeps, target is not None, got)

    async def _some(self, reader: asyncio.StreamReader, ask: Ask) -> int:
        """Reads the beginning of an answer; how many bytes of a download came."""
        try:
            status, headers = await _head(reader)
        except asyncio.IncompleteReadError:
            return 0
        counted = ask.method == "GET" and status == 200 and "content-length" in headers
        return len(await reader.read(100)) if counted else 0

    def _believe(self, ask: Ask, told: Told | None) -> None:
        """What this client knows of a name now. Nobody else uses it: it must be so."""
        self.statuses[f"{ask.method} {told.status if told else 'broken off'}"] += 1
        there = self.upstream.storage.sizes
        match told:
            case Told(status=200 | 201 | 204, from_upstream=True):
                if ask.method == "DELETE":
                    assert ask.name not in there, ask
                    self.names.pop(ask.name, None)
                elif ask.method in ("PUT", "POST"):
                    assert there.get(ask.name) == ask.stores, ask
                    self.names[ask.name] = ask.stores
                elif ask.name in self.names and ask.method == "GET":
                    assert told.got == self.names[ask.name], (ask, told)
            case Told(status=404, from_upstream=True) if ask.method != "PUT":
                assert ask.name not in self.names or there[ask.name] == self.names[ask.name], ask
            case Told(status=status) if status < 500 or told.from_upstream:
                pass  # Refused: all is as before.
            case _ if ask.method in ("PUT", "POST", "DELETE"):
                self.names.pop(ask.name, None)

    # -- the connection ---------------------------------------------------------------------------

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self._hang_up(abrupt=False)
            port = self.chance.choice(self.ports)
            self._streams = await asyncio.open_connection("127.0.0.1", port)
        return self._streams

    def _hang_up(self, *, abrupt: bool) -> None:
        if self._streams is None:
            return
        writer = self._streams[1]
        self._streams = None
        if abrupt and not writer.is_closing():
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split(CRLF)
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers


async def _pieces(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[int]:
    """The lengths of what comes of a body."""
    if "transfer-encoding" in headers:
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield len((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
        return
    left = int(headers["content-length"])
    while left:
        data = await reader.read(min(left, 65_536))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        yield len(data)


async def _either(event: asyncio.Event, reply: "asyncio.Future[Told | None]") -> None:
    """Until one may send, or is answered without that."""
    waiting = asyncio.ensure_future(event.wait())  # noqa: TID251
    await asyncio.wait((waiting, reply), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
