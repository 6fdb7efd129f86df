"""A small proxy on TCP or a unix socket that does to a connection what networks do.

    async with FaultProxy(target, listen=path) as proxy:
        proxy.drop_once()        # the next answer is lost and its connection closed
        proxy.hang_once()        # from the next answer on, nothing comes back on its connection
        proxy.delay_s = 2.0      # every piece of an answer takes so long
        proxy.gate.clear()       # answers wait until it is set again
        proxy.slices = Random(7) # answers arrive in small pieces of random length
        proxy.reset()            # every open connection is cut now, without a clean end
        proxy.refusing = True    # new connections are cut as they come

Faults are on the way back, from the target: what was asked has been done, the answer is lost.
"""

import asyncio
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType

from gateway.tasks import TaskSet

Place = str | tuple[str, int]
"""The path of a unix socket, or host and port."""

PIECE = 65_536


class FaultProxy:
    def __init__(self, target: Place, *, listen: Place | None = None) -> None:
        self._target = target
        self._directory = TemporaryDirectory(prefix="qg-proxy-")
        self._listen = listen or f"{self._directory.name}/proxy.sock"
        self._server: asyncio.Server | None = None
        self._tasks = TaskSet()
        self._writers: set[asyncio.StreamWriter] = set()
        self._drop_next = False
        self._hang_next = False
        self.delay_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.slices: Random | None = None
        self.refusing = False
        self.connections = 0
        self.faulted = asyncio.Event()
        """Set when a `drop_once` or `hang_once` has met its answer."""

    @property
    def place(self) -> Place:
        """Where clients connect to."""
        if isinstance(self._listen, str):
            return self._listen
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def redis_url(self) -> str:
        place = self.place
        return f"unix://{place}" if isinstance(place, str) else f"redis://{place[0]}:{place[1]}"

    def drop_once(self) -> None:
        self._drop_next = True
        self.faulted.clear()

    def hang_once(self) -> None:
        self._hang_next = True
        self.faulted.clear()

    def reset(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> "FaultProxy":
        if isinstance(self._listen, str):
            self._server = await asyncio.start_unix_server(self._serve, self._listen)
        else:
            self._server = await asyncio.start_server(self._serve, *self._listen)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        await self._tasks.stop()
        await self._server.wait_closed()
        self._directory.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers.add(writer)
        try:
            if isinstance(self._target, str):
                back, forth = await asyncio.open_unix_connection(self._target)
            else:
                back, forth = await asyncio.open_connection(*self._target)
        except OSError:
            self._cut(writer)
            return
        self._writers.add(forth)
        self._tasks.start(self._pump(reader, forth), name="fault proxy, forth")
        self._tasks.start(self._pump_back(back, writer, forth), name="fault proxy, back")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._cut(writer)

    async def _pump_back(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        forth: asyncio.StreamWriter,
    ) -> None:
        hanging = False
        try:
            while piece := await reader.read(PIECE if self.slices is None else self._slice()):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self.gate.wait()
                if self._hang_next:
                    self._hang_next, hanging = False, True
                    self.faulted.set()
                if self._drop_next:
                    self._drop_next = False
                    self.faulted.set()
                    return
                if not hanging and not writer.transport.is_closing():
                    writer.write(piece)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._cut(writer)
            self._cut(forth)

    def _slice(self) -> int:
        assert self.slices is not None
        return self.slices.randint(1, 40)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
