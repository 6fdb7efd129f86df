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


class Charge:
    """How requests of one kind are charged to one account and API key, for an hour at most."""

    __slots__ = ("fields", "identity", "key_id", "logged", "note_s", "prepared", "terms")

    def __init__(self, identity: Identity, terms: Terms, prepared: Prepared) -> None:
        self.identity = identity
        self.terms = terms
        self.key_id = "" if identity.key is None else identity.key.id
        self.prepared = prepared
        self.fields = Fields(prepared.counters, prepared.rate)
        self.note_s = 0.0
        """From when on the account is to be noted again as one that holds something."""
        self.logged = b""
        """The part of a line in the access log; for who writes it."""

    def holds(self, identity: Identity, subject: tuple[str, str] | None, now_ms: int) -> bool:
        """Whether this is how `identity` is charged now; it was made of the same."""
        same = self.identity is identity and self.terms.subject == subject
        return same and now_ms < self.prepared.until_ms
