"""A peer: one program, set up in one way, that is measured beside others."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.processes import Pinned
from tests.benchmarks.site import Site


@dataclass(frozen=True, slots=True)
class Peer:
    """`missing` tells what is not installed, None if nothing is; `launch` does not wait until it
    listens; `version` tells of an installed one. `ledger`: it does all of the quota's work;
    `taught`: by the calls of Redis that the gateway was heard to make."""

    name: str
    missing: Callable[[], str | None]
    launch: Callable[[Site], Pinned]
    version: Callable[[Site], str]
    ledger: bool = False
    taught: bool = False
