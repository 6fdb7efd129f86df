"""The transport: the one thing the ledger asks of Redis, to run a script in one atomic step."""

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.ledger.scripts import Script


class Transport(Protocol):
    """Runs scripts on the server, or on the cluster node, that owns their keys.

    A reply is an int, bytes, None, or a list of these. A script that the server does not know
    (restart, SCRIPT FLUSH, failover) is loaded and run again without the caller's notice. Nothing
    else is ever repeated here: only the caller knows which id makes a repeat harmless.
    """

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """Raises `StoreError`, and no exception of a library or a socket."""
        ...

    async def close(self) -> None: ...
