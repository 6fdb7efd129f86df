"""A server on the other end of a connection that answers as a test tells it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from hiredis import Reader


@dataclass
class Puppet(asyncio.Protocol):
    """Counts what arrives together, and answers each command by a function of its words."""

    answer: Callable[[list[bytes]], bytes]
    reads: list[int] = field(default_factory=list)
    """Commands in each piece that arrived."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.reader = Reader()

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        count = 0
        while (words := self.reader.gets()) is not False:
            count += 1
            self.transport.write(self.answer(words))
        self.reads.append(count)
