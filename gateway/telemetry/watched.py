"""A transport that is watched: times each script and counts those the store failed to answer."""

from collections.abc import Sequence
from typing import Any

from gateway.clock import monotonic_s
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.scripts import Script
from gateway.ledger.template import Call
from gateway.ledger.transport import Heard, Prompt, Then, Transport
from gateway.telemetry.instruments import Spread
from gateway.telemetry.metrics import Metrics


class WatchedTransport:
    """Implements Transport around another one, whose `heard` it takes. The ledger itself knows
    nothing of metrics."""

    __slots__ = ("_inner", "_metrics", "_prompt", "_took", "heard")

    def __init__(self, inner: Transport, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._took: dict[Script, Spread] = {}
        self.heard: Heard | None = None
        self._prompt = inner if isinstance(inner, Prompt) else None
        if self._prompt is not None:
            self._prompt.heard = self._heard

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        began_s = monotonic_s()
        try:
            reply = await self._inner.run(script, keys, args)
        except StoreError as failure:
            self._metrics.ledger_failed(script.name, failure.error)
            # Lost books concern one account, or an operator; the store itself did answer.
            self._metrics.store_up.set(1 if failure.error == STORE_LOST else 0)
            raise
        took = self._took.get(script) or self._spread(script)
        took.observe(monotonic_s() - began_s)
        self._metrics.store_up.value = 1
        return reply

    def send(self, call: Call, then: Then) -> bool:
        return self._prompt is not None and self._prompt.send(call, then)

    def _heard(self, script: Script, calls: int, seconds: float, reply: Any) -> None:
        if type(reply) is list:
            took = self._took.get(script) or self._spread(script)
            took.observe_many(seconds, calls)
            self._metrics.store_up.value = 1
        elif isinstance(reply, StoreError):
            self._metrics.ledger_failed(script.name, reply.error, calls)
            self._metrics.store_up.set(0)
        if self.heard is not None:
            self.heard(script, calls, seconds, reply)

    def _spread(self, script: Script) -> Spread:
        spread = self._took[script] = self._metrics.ledger_seconds(script.name)
        return spread

    async def close(self) -> None:
        await self._inner.close()
