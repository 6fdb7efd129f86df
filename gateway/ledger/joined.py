"""Joined: calls of one family on their way as one command."""

from typing import Any

from gateway.ledger.resp import unavailable
from gateway.ledger.template import Call
from gateway.ledger.transport import Then


class Joined:
    """Takes the reply to all of them, and gives each its own."""

    __slots__ = ("_calls", "_thens")

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._thens: list[Then] = []

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
