"""A cable between the ledger and its store, to be cut."""

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.errors import INTERNAL, STORE_UNAVAILABLE, StoreError
from gateway.ledger.scripts import Script
from gateway.ledger.transport import Transport


class Cable:
    """A transport that can be cut: before a script runs, or after it ran, so that its reply is
    lost."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.cut = False
        self.broken = False
        """Scripts fail in a way that no repeat can mend."""
        self.lose_replies = 0
        self.breaks = False
        """It is cut with the next reply that is lost."""
        self.free = asyncio.Event()
        """Scripts wait for it."""
        self.free.set()
        self.calls: list[str] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.calls.append(script.name)
        await self.free.wait()
        if self.cut:
            raise StoreError(STORE_UNAVAILABLE, "the cable is cut", transient=True)
        if self.broken:
            raise StoreError(INTERNAL, "script error", transient=False)
        reply = await self._inner.run(script, keys, args)
        if self.lose_replies:
            self.lose_replies -= 1
            self.cut = self.cut or self.breaks
            raise StoreError(STORE_UNAVAILABLE, "lost", transient=True, indeterminate=True)
        return reply

    async def close(self) -> None:
        await self._inner.close()
