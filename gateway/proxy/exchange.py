"""Exchange: the facts of one request in flight, for its limits, its log line and its metrics.

Nothing here decides; the data path writes down what happened, the watchdog and the log read it.
"""

from collections.abc import Callable

from gateway.catalog.routes import Route
from gateway.dialects.protocol import Dialect
from gateway.dialects.registry import NATIVE
from gateway.errors import REQUEST_TIMEOUT, Error, StoreError
from gateway.ledger.outcomes import Denied, Granted, RateLimited, Refused
from gateway.proxy.named import Named
from gateway.tasks import Interrupt

KEEP_MS = 30_000
"""A reservation that is over with its request is remembered for repeats within seconds. Each takes
some 340 bytes of Redis, and a busy gateway makes thousands a second."""
Tried = Granted | Denied | RateLimited | Refused | StoreError

CLIENT_GONE = "client-gone"
"""What a request is stopped with when nobody waits for its answer any more. Else it is an Error."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods by which nothing is lost when the upstream is not heard to the end."""


class Exchange:
    """`stop` ends the data path of this request from outside: a limit, the drain, a revocation.

    `answering`: the head of an answer has been written, so no other can be. `lease_ms`: how long
    its reservation lives without a sign of life; `keep_ms`: how long its record outlives it.
    `dialect`: how the client is told what is wrong. `named`: its client gave it a name. `tried`:
    what came of a reserve that was made before the request took the way that leads to it; `asked`:
    one was made, and the store may have carried it out without our hearing of it; `unheard`: the
    same of a commit.
    """

    __slots__ = (
        "_left",
        "_unsent",
        "account",
        "answer_bytes",
        "answering",
        "asked",
        "body_began_s",
        "body_bytes",
        "body_idle_s",
        "body_rate_min",
        "deadline_s",
        "detail",
        "dialect",
        "keep_ms",
        "key_id",
        "last_body_s",
        "lease_ms",
        "method",
        "named",
        "outcome",
        "peer",
        "plan",
        "receiving",
        "request_id",
        "reservation_id",
        "route",
        "started_s",
        "status",
        "stop",
        "target",
        "tried",
        "unheard",
        "upgraded_bytes",
        "upstream",
        "waiting_s",
    )

    def __init__(self, peer: str, now_s: float, lease_ms: int) -> None:
        self.request_id = ""
        self.reservation_id = ""
        self.lease_ms = lease_ms
        self.keep_ms = KEEP_MS
        self.named: Named | None = None
        self.tried: Tried | None = None
        self.asked = False
        self.unheard = False
        self.peer = peer
        self.method = ""
        self.target = ""
        self.dialect: Dialect = NATIVE
        self.route = "none"
        self.plan = "none"
        self.account = ""
        self.key_id = ""
        self.upstream = "none"
        self.status = 0
        self.answering = False
        self.outcome = "internal"
        self.detail = ""
        self.body_bytes = 0
        self.answer_bytes = 0
        self.upgraded_bytes = 0
        self.started_s = now_s
        self.deadline_s = float("inf")
        self.stop = Interrupt()
        self.receiving = False
        self.waiting_s = now_s
        self._unsent: Callable[[], int] | None = None
        self._left = 0
        self.body_began_s = now_s
        self.last_body_s = now_s
        self.body_idle_s = 30.0
        self.body_rate_min = 0

    def limit_times(self, route: Route) -> None:
        """It may take as long as its route says."""
        self.deadline_s = self.started_s + route.timeout_s
        self.body_idle_s = route.body_idle_s
        self.body_rate_min = route.body_rate_min

    def halt(self, reason: object) -> None:
        """Stop the data path of this request from outside."""
        self.stop.stop(reason)

    def overdue(self, now_s: float) -> Error | None:
        """The limit of time this request has passed, if any.

        A body must move at least every `body_idle_s`, and on average faster than `body_rate_min`
        once it has had `body_idle_s` to begin. A client that is slow to take an answer must take
        some of it in twice that time.
        """
        if now_s > self.deadline_s:
            return REQUEST_TIMEOUT
        if self._unsent is not None:
            left = self._unsent()
            if left < self._left:
                self.last_body_s = now_s
            self._left = left
        stalled_s = now_s - self.last_body_s
        if self._unsent is not None:
            return REQUEST_TIMEOUT if stalled_s > 2 * self.body_idle_s else None
        if not self.receiving:
            return None
        elapsed_s = now_s - self.body_began_s
        slow = self.body_bytes < self.body_rate_min * elapsed_s
        if stalled_s > self.body_idle_s or (slow and elapsed_s > self.body_idle_s):
            return REQUEST_TIMEOUT
        return None

    def receives(self, now_s: float) -> None:
        """The request's body begins to arrive."""
        self.receiving = True
        self.body_began_s = self.last_body_s = now_s

    def waits(self, now_s: float) -> None:
        """The upstream takes no more of the body for now, which is no slowness of the client's."""
        self.receiving = False
        self.waiting_s = now_s

    def goes_on(self, now_s: float) -> None:
        """It takes more: the time in between does not count."""
        self.receiving = True
        self.body_began_s += now_s - self.waiting_s
        self.last_body_s = now_s

    def received(self) -> None:
        self.receiving = False

    def stalls(self, now_s: float, unsent: Callable[[], int]) -> None:
        """The client is slow to take the answer; `unsent` bytes of it are still on this side."""
        self.last_body_s = now_s
        self._unsent = unsent
        self._left = unsent()

    def flows(self) -> None:
        self._unsent = None
