"""A transport that loses what it is told to lose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.scripts import Script
from gateway.ledger.transport import Transport


@dataclass(slots=True)
class Lossy:
    """A transport that loses requests and replies when told to. `clock`, `again` and `stale` are no
    answers to a verb and are never lost: the model knows nothing of them."""

    inner: Transport
    lose: str = ""
    """Of the next call: `request`, `reply`, or nothing."""
    ran: int = 0
    """How often a verb ran to its end since this was last asked."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        if self.lose == "request":
            self.lose = ""
            raise StoreError(STORE_UNAVAILABLE, "request lost", transient=True)
        reply = await self.inner.run(script, keys, args)
        if isinstance(reply, list) and reply[0] in {b"clock", b"again", b"stale"}:
            return reply
        self.ran += 1
        if self.lose == "reply":
            self.lose = ""
            raise StoreError(STORE_UNAVAILABLE, "reply lost", transient=True, indeterminate=True)
        return reply

    async def close(self) -> None:
        pass
