"""How a request that was forwarded ends in the ledger: decided here, from facts, without I/O.

The upstream's status is its word about whether the work was done, and it outweighs everything that
happened around it. Without a status, what matters is whether the upstream can have done the work:
it cannot before it was sent the whole request, and nobody knows once it was.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.catalog.routes import Policy, Route


class Reason(StrEnum):
    """Why a reservation is released; a small closed set, fit for a metric's label."""

    STATUS = "status"
    """The upstream answered with a status that does not commit."""
    CUT = "cut"
    """The gateway stopped the body: longer than declared or capped, or growth was denied."""
    CLIENT_GONE = "client-gone"
    UPSTREAM = "upstream"
    """The upstream could not be reached, or failed before it was sent everything."""
    ABANDONED = "abandoned"
    """The gateway gave up on its own account: shutdown, a deadline, a failure of its own."""
    UNANSWERED = "unanswered"
    """A download that was asked for and never answered: nothing was delivered."""
    TERMINATED = "terminated"
    """The client called it off, and the upstream has dropped it."""
    NOT_FOUND = "not-found"
    """The upstream was asked, and has not stored it."""
    FOUND = "found"
    """What was to be deleted is still there."""
    IN_DOUBT = "in-doubt"
    """Nobody could tell until its lease ended."""
    GONE = "gone"
    """The upstream does not know it any more."""
    JOINED = "joined"
    """Its bytes are charged with what they became a part of."""


class Failure(StrEnum):
    """What broke an exchange off. None of these by itself says whether work was done."""

    UPSTREAM = "upstream"
    CLIENT_GONE = "client-gone"
    CUT = "cut"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Exchange:
    """The facts about one forwarded request, once nothing more will happen to it.

    `sent_all`: the upstream was handed the last byte of the request. `status`: of the final answer
    (101 for an upgrade), None if its head never arrived whole. `failure`: what ended it, if it did
    not end by itself. A client that left after the last byte is no failure of the exchange as long
    as the gateway waits for the answer. `relayed`: the answer's head went out to the client (it
    matters for downloads only).
    """

    route: Route
    sent_all: bool
    status: int | None = None
    failure: Failure | None = None
    relayed: bool = True
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class CommitIt:
    """Commit what was counted (for what broke off: what was forwarded or relayed until then)."""


@dataclass(frozen=True, slots=True)
class ReleaseIt:
    """Release all of it: after a release nothing is charged, constants and egress included."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Leave the reservation open: a probe, or the end of its lease, will tell."""


Settlement = CommitIt | ReleaseIt | InDoubt


def commits(route: Route, status: int) -> bool:
    """True for 2xx, for 101 (what an upgraded connection relays is charged) and `commit_on`."""
    return 200 <= status < 300 or status == 101 or status in route.commit_on


def decide(exchange: Exchange) -> Settlement:
    """What becomes of the reservation behind `exchange`.

    1. A download that broke off before anything of its answer was relayed: release. What is
       charged there is delivery, and there was none (there was no room for it, for instance).
    2. The upstream's status commits: commit, however it ended. That covers a truncated answer, a
       client that left while it was relayed, an answer given before the body was through (what was
       forwarded by then is charged), and a download or an upgraded connection that was cut (what
       was relayed is charged).
    3. Any other status: release. The upstream refused the work, early or late. But in doubt for a
       request that was repeated: to delete what is deleted already is refused, too.
    4. No status, and not everything was sent: release. Half a request is no work. The reason
       is what broke it off.
    5. No status though everything was sent, for a download: release. Nothing was delivered.
    6. No status though everything was sent: in doubt. The work may have been done.
    """
    delivers = exchange.route.policy is Policy.DOWNLOAD
    if exchange.status is not None:
        if delivers and not exchange.relayed and exchange.failure is not None:
            return ReleaseIt(Reason(exchange.failure))  # 1
        if commits(exchange.route, exchange.status):
            return CommitIt()  # 2
        doubtful = exchange.repeated and not delivers
        return InDoubt() if doubtful else ReleaseIt(Reason.STATUS)  # 3
    if not exchange.sent_all:
        return ReleaseIt(Reason(exchange.failure or Failure.ABANDONED))  # 4
    return ReleaseIt(Reason.UNANSWERED) if delivers else InDoubt()  # 5, 6
