"""What every dialect can say: usage pages, denials and refusals, as pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited
from gateway.ledger.quota import OpenReservation, Snapshot


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that the gateway gives itself. Header names in their usual spelling."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether `requested` units of `meter` would be admitted now, and what holds the space."""

    snapshot: Snapshot
    meter: str
    requested: int
    holders: tuple[OpenReservation, ...]


class Dialect(Protocol):
    def refusal(self, refusal: Refusal, request_id: str) -> Answer: ...
    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer: ...
    def rate_limited(self, limited: RateLimited, request_id: str) -> Answer: ...
    def usage(self, snapshot: Snapshot, request_id: str) -> Answer: ...
    def explain(self, explanation: Explanation, request_id: str) -> Answer: ...
