"""Call: one request on its way to the file of its protocol, and what every protocol works with."""

from dataclasses import dataclass, replace
from typing import Protocol

from gateway.clock import StoreClock
from gateway.ledger.blocks import BlockLedger
from gateway.ledger.heartbeat import Heartbeat
from gateway.proxy.connection import Arrival
from gateway.proxy.doubts import DoubtDesk
from gateway.proxy.exchange import Exchange
from gateway.proxy.gate import Entered
from gateway.proxy.learning import Learning
from gateway.proxy.live import Live
from gateway.proxy.settler import Settler
from gateway.proxy.wire import Sender
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Books:
    """What settles: the ledger and those who act on it."""

    ledger: BlockLedger
    settler: Settler
    heartbeat: Heartbeat
    doubts: DoubtDesk
    clock: StoreClock
    metrics: Metrics
    learning: Learning


@dataclass(frozen=True, slots=True)
class Call:
    """One request that has entered, with the way back to its client."""

    arrival: Arrival
    exchange: Exchange
    entered: Entered
    live: Live
    sender: Sender

    def attributed(self, subject: tuple[str, str] | None) -> "Call":
        """The same, now that its JSON has told whose usage it is."""
        terms = self.entered.terms
        if subject is None or terms is None:
            return self
        return replace(
            self, entered=replace(self.entered, terms=self.live.attributed(terms, subject))
        )


class Server(Protocol):
    """Serves the requests of one protocol."""

    async def serve(self, call: Call) -> bool:
        """Carry the request through; say whether the client's connection can stay.

        Raises what `endings` has, UpstreamError, StoreError, ClientGoneError and GatewayError, once
        what was reserved is settled accordingly.
        """
        ...
