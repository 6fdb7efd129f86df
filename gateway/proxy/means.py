"""Means: what requests on the fast path are served with, and how those of a kind are charged."""

from dataclasses import dataclass, field

from gateway.admission.head import HeadLimits
from gateway.dialects.ratelimit_headers import Fields
from gateway.ledger.frame import Terms
from gateway.ledger.prepared import Prepared
from gateway.proxy.call import Books
from gateway.proxy.gate import Gate
from gateway.proxy.handler import Handler
from gateway.proxy.senders import Senders
from gateway.proxy.watchdog import Watchdog
from gateway.records.identities import Identity
from gateway.tasks import TaskSet
from gateway.telemetry.access import AccessLog


@dataclass(slots=True)
class Means:
    """What requests on the fast path are served with."""

    handler: Handler
    gate: Gate
    books: Books
    senders: Senders
    watchdog: Watchdog
    access: AccessLog
    limits: HeadLimits
    lease_ms: int
    tasks: TaskSet = field(default_factory=TaskSet)


class Caller:
    """Who asks for requests of one kind, and by which terms. Without terms: nobody, on an open
    route."""

    __slots__ = ("account", "identity", "key_id", "logged", "plan", "terms")

    until_ms: float = float("inf")
    """When it is to be made anew."""

    def __init__(self, identity: Identity | None, terms: Terms | None) -> None:
        self.identity = identity
        self.terms = terms
        self.account = "" if terms is None else terms.account
        self.plan = "none" if terms is None else terms.plan.name
        self.key_id = "" if identity is None or identity.key is None else identity.key.id
        self.logged = b""
        """The part of a line in the access log; for who writes it."""

    def holds(self, identity: Identity, subject: tuple[str, str] | None, now_ms: int) -> bool:
        """Whether that is who asks now, by the same terms; it was made of the same."""
        terms = self.terms
        same = self.identity is identity and terms is not None and terms.subject == subject
        return same and now_ms < self.until_ms


class Charge(Caller):
    """How requests of one kind are reserved for and charged to one account and API key, for an hour
    at most, and no longer than the books agree that it is that hour. Those of a kind that reserves
    nothing are counted against the plan's rate."""

    terms: Terms

    __slots__ = ("fields", "note_s", "prepared", "size_max", "until_ms")

    def __init__(self, identity: Identity, terms: Terms, prepared: Prepared) -> None:
        super().__init__(identity, terms)
        self.prepared = prepared
        self.until_ms = prepared.until_ms
        cap = terms.plan.caps.file_bytes
        self.size_max = float("inf") if cap is None else cap
        self.fields = Fields(prepared.counters, prepared.rate)
        self.note_s = 0.0
        """From when on the account is to be noted again as one that holds something."""
