"""A small tus 1.0.0 server as a step of a scripted upstream, with the faults that tests need.

Like real ones it keeps what it got of an interrupted PATCH, and refuses offsets that do not match.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.upstream_line import Field, Line
from tests.upstreams import Answer, Hang, Reset

BASE = b"/uploads"


@dataclass
class Kept:
    """One upload. `length` None: not known yet."""

    length: int | None
    data: bytearray = field(default_factory=bytearray)
    partial: bool = False


def relative(host: bytes, path: bytes) -> bytes:
    return path


def absolute(host: bytes, path: bytes) -> bytes:
    return b"http://" + host + path


def elsewhere(host: bytes, path: bytes) -> bytes:
    return b"https://storage.example" + path


@dataclass
class TusServer:
    """`mute` is the method whose next request is carried out and then not answered: the connection
    is reset, or with `hangs` stays silent. `refuse` is the status that everything gets."""

    location: Callable[[bytes, bytes], bytes] = relative
    base: bytes = BASE
    max_size: int | None = None
    mute: bytes = b""
    hangs: bool = False
    refuse: int | None = None
    uploads: dict[bytes, Kept] = field(default_factory=dict)

    async def play(self, line: Line) -> None:
        while True:
            await line.read_head()
            answer = await self._answer(line)
            if line.request.method == self.mute:
                self.mute = b""
                await (Hang() if self.hangs else Reset()).play(line)
                return
            await line.send(answer.wire())

    def of(self, path: str) -> Kept:
        return self.uploads[path.encode()]

    async def _answer(self, line: Line) -> Answer:
        method, path = line.request.method, line.request.target.partition(b"?")[0]
        if self.refuse is not None:
            await line.read_body()
            return self._said(self.refuse)
        if method == b"OPTIONS":
            sizes = [] if self.max_size is None else [(b"Tus-Max-Size", b"%d" % self.max_size)]
            return self._said(204, (b"Tus-Version", b"1.0.0"), *sizes)
        if line.request.get(b"tus-resumable") != b"1.0.0":
            await line.read_body()
            return self._said(412)
        if method == b"POST" and path == self.base:
            return await self._create(line)
        kept = self.uploads.get(path)
        if kept is None:
            await line.read_body()
            return self._said(404)
        match method:
            case b"PATCH":
                return await self._append(line, kept)
            case b"HEAD":
                return self._told(kept)
            case b"DELETE":
                del self.uploads[path]
                return self._said(204)
        return self._said(405)

    async def _create(self, line: Line) -> Answer:
        concat = line.request.get(b"upload-concat") or b""
        length = line.request.get(b"upload-length")
        kept = Kept(None if length is None else int(length), partial=concat == b"partial")
        if concat.startswith(b"final;"):
            for reference in concat.removeprefix(b"final;").split():
                if reference not in self.uploads:
                    return self._said(400)
                kept.data += self.uploads[reference].data
            kept.length = len(kept.data)
        path = self.base + b"/u%d" % (len(self.uploads) + 1)
        self.uploads[path] = kept
        had_body = line.unread_body != 0
        await self._keep(line, kept)
        fields = [(b"Location", self.location(line.request.get(b"host") or b"", path))]
        if had_body:
            fields.append((b"Upload-Offset", b"%d" % len(kept.data)))
        return self._said(201, *fields)

    async def _append(self, line: Line, kept: Kept) -> Answer:
        if int(line.request.get(b"upload-offset") or -1) != len(kept.data):
            await line.read_body()
            return self._said(409)
        length = line.request.get(b"upload-length")
        if length is not None:
            kept.length = int(length)
        await self._keep(line, kept)
        return self._said(204, (b"Upload-Offset", b"%d" % len(kept.data)))

    async def _keep(self, line: Line, kept: Kept) -> None:
        """Also when the other side breaks off."""
        before = bytes(kept.data)
        try:
            await line.read_body()
        finally:
            kept.data[:] = before + line.request.body

    def _told(self, kept: Kept) -> Answer:
        fields = [(b"Upload-Offset", b"%d" % len(kept.data)), (b"Cache-Control", b"no-store")]
        if kept.length is None:
            fields.append((b"Upload-Defer-Length", b"1"))
        else:
            fields.append((b"Upload-Length", b"%d" % kept.length))
        return Answer(200, [(b"Tus-Resumable", b"1.0.0"), *fields], length=0)

    def _said(self, status: int, *fields: Field) -> Answer:
        return Answer(status, [(b"Tus-Resumable", b"1.0.0"), *fields])
