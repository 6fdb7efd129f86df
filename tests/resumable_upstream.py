"""A small server of the IETF's resumable uploads as a step of a scripted upstream.

It keeps what it got of a request that broke off, says where to go on before it has it all, and
answers the one that completes an upload as the resource would that was asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.tus_upstream import relative
from tests.upstream_line import Field, Line
from tests.upstreams import Answer, Reset

BASE = b"/resume"
RESUMPTION_SUPPORTED = 104


@dataclass
class Begun:
    """One upload; `target` is what was asked for at its creation."""

    target: bytes
    length: int | None = None
    data: bytearray = field(default_factory=bytearray)
    complete: bool = False


@dataclass
class ResumableServer:
    """`announces`: uploads are announced by 104. `knows`: without it, it stores like any other
    server. `mute` is the method whose next request is carried out and not answered. `refuse` is the
    status of everything, `fails` that of representations it has all of."""

    location: Callable[[bytes, bytes], bytes] = relative
    announces: bool = True
    knows: bool = True
    limit: bytes | None = None
    mute: bytes = b""
    refuse: int | None = None
    fails: int | None = None
    stored: dict[bytes, bytes] = field(default_factory=dict)
    uploads: dict[bytes, Begun] = field(default_factory=dict)

    async def play(self, line: Line) -> None:
        while True:
            await line.read_head()
            answer = await self._answer(line)
            if line.request.method == self.mute:
                self.mute = b""
                await Reset().play(line)
                return
            await line.send(answer.wire())

    async def _answer(self, line: Line) -> Answer:
        request = line.request
        path = request.target.partition(b"?")[0]
        if self.refuse is not None:
            await line.read_body()
            return Answer(self.refuse)
        if request.method == b"OPTIONS":
            return Answer(204, [(b"Accept-Patch", b"application/partial-upload"), *self._limits])
        if path.startswith(BASE + b"/"):
            return await self._about(line, path)
        if request.get(b"upload-complete") is None or not self.knows:
            await line.read_body()
            self.stored[path] = bytes(request.body)
            return Answer(201, body=b"stored")
        return await self._create(line, path)

    @property
    def _limits(self) -> list[Field]:
        return [] if self.limit is None else [(b"Upload-Limit", self.limit)]

    async def _create(self, line: Line, target: bytes) -> Answer:
        begun = Begun(target, _number(line, b"upload-length"))
        path = BASE + b"/r%d" % (len(self.uploads) + 1)
        self.uploads[path] = begun
        where = (b"Location", self.location(line.request.get(b"host") or b"", path))
        if self.announces:
            await line.send(Answer(RESUMPTION_SUPPORTED, [where, *self._limits]).wire())
        await self._keep(line, begun)
        if line.request.get(b"upload-complete") == b"?1":
            return self._completed(begun)
        return Answer(201, [where, *self._limits])

    async def _about(self, line: Line, path: bytes) -> Answer:
        begun = self.uploads.get(path)
        if begun is None:
            await line.read_body()
            return Answer(404)
        match line.request.method:
            case b"PATCH":
                return await self._append(line, begun)
            case b"HEAD":
                return Answer(204, self._told(begun))
            case b"DELETE":
                del self.uploads[path]
                return Answer(204)
        return Answer(405)

    async def _append(self, line: Line, begun: Begun) -> Answer:
        if begun.complete or _number(line, b"upload-offset") != len(begun.data):
            await line.read_body()
            return Answer(409, self._told(begun))
        length = _number(line, b"upload-length")
        begun.length = begun.length if length is None else length
        if self.announces:
            news = [(b"Upload-Offset", b"%d" % len(begun.data)), (b"Location", b"/nowhere")]
            await line.send(Answer(RESUMPTION_SUPPORTED, news).wire())
        await self._keep(line, begun)
        if line.request.get(b"upload-complete") == b"?1":
            return self._completed(begun)
        return Answer(204, self._told(begun))

    def _completed(self, begun: Begun) -> Answer:
        begun.complete = True
        if self.fails is not None:
            return Answer(self.fails, self._told(begun))
        self.stored[begun.target] = bytes(begun.data)
        return Answer(201, self._told(begun), b"stored")

    async def _keep(self, line: Line, begun: Begun) -> None:
        """Also when the other side breaks off."""
        before = bytes(begun.data)
        try:
            await line.read_body()
        finally:
            begun.data[:] = before + line.request.body

    def _told(self, begun: Begun) -> list[Field]:
        fields = [
            (b"Upload-Offset", b"%d" % len(begun.data)),
            (b"Upload-Complete", b"?1" if begun.complete else b"?0"),
            (b"Cache-Control", b"no-store"),
        ]
        if begun.length is not None:
            fields.append((b"Upload-Length", b"%d" % begun.length))
        return fields


def _number(line: Line, name: bytes) -> int | None:
    value = line.request.get(name)
    return None if value is None else int(value)
