"""What every dialect can say: denials, refusals and where an account stands, as pure functions.

Its usage pages are functions of its own, each of what that page tells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import OpenReservation, Quota, Snapshot


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that the gateway gives itself. Header names in their usual spelling.

    `Content-Length` is left to the server, which also leaves the body away for HEAD.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether `requested` units of `meter` would be admitted now, and what holds the space.

    `also` are further meters of the same request: all are granted together or none is.
    `cap` is the most bytes that one request may store, whatever room there is.
    """

    snapshot: Snapshot
    meter: str
    requested: int
    holders: tuple[OpenReservation, ...]
    also: Mapping[str, int] = field(default_factory=dict)
    cap: int | None = None


class Dialect(Protocol):
    """Every answer carries the request id where its vendor would look for it."""

    def refusal(self, refusal: Refusal, request_id: str) -> Answer: ...
    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer: ...
    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer: ...
    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        """Header fields that say on a relayed answer where the account stands now."""
        ...
