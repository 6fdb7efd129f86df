"""Joined: calls of one family on their way as one command."""

from typing import Any

from gateway.clock import monotonic_s
from gateway.ledger.resp import unavailable
from gateway.ledger.template import Call
from gateway.ledger.transport import Heard, Then


class Joined:
    """Takes the reply to all of them, and gives each its own; `heard` is told first."""

    __slots__ = ("_calls", "_heard", "_since_s", "_thens")

    def __init__(self, call: Call, then: Then, heard: Heard | None) -> None:
        self._calls = [call]
        self._thens = [then]
        self._heard = heard
        self._since_s = monotonic_s()

    def __len__(self) -> int:
        return len(self._thens)

    def add(self, call: Call, then: Then) -> None:
        self._calls.append(call)
        self._thens.append(then)

    def packed(self) -> bytes:
        return self._calls[0].template.family.packed(self._calls)

    def __call__(self, reply: Any) -> None:
        """A list has a reply for each; what else there is, is for all of them."""
        thens = self._thens
        if self._heard is not None:
            script = self._calls[0].template.script
            self._heard(script, len(thens), monotonic_s() - self._since_s, reply)
        if type(reply) is not list:
            for then in thens:
                then(reply)
        elif len(thens) == 1:
            thens[0](reply)
        else:
            if len(reply) != len(thens):
                wrong = f"{len(reply)} replies to {len(thens)} calls"
                reply = [unavailable(wrong, indeterminate=True)] * len(thens)
            for then, own in zip(thens, reply, strict=True):
                then(own)
