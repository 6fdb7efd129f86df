"""The transport: the one thing the ledger asks of Redis, to run a script in one atomic step."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from gateway.ledger.scripts import Script
from gateway.ledger.template import Call


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


Then = Callable[[Any], None]
"""Takes a reply, or what there was instead: a StoreError, or an error reply as hiredis has it. It
must not raise."""


Heard = Callable[[Script, int, float, Any], None]
"""Takes a script, how many of its calls were made as one, how many seconds that took, and the reply
as `Then` does. It must not raise."""


@runtime_checkable
class Prompt(Protocol):
    """A transport that can also be asked without a coroutine. `heard`, if there is one, is told of
    the replies to a ledger's verbs that were, before those who asked."""

    heard: Heard | None

    def send(self, call: Call, then: Then) -> bool:
        """Write a call; False if that cannot be done just now, and nothing was. It is not repeated,
        nor is a redirection followed: an error reply is the caller's to see."""
        ...
