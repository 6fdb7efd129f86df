"""A question for a usage page, and whom a page asks for what it tells."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.dialects.protocol import Answer, Dialect
from gateway.ledger.frame import Terms
from gateway.ledger.history import History
from gateway.ledger.ledger import Ledger
from gateway.ledger.subjects import Subjects
from gateway.records.accounts import Account
from gateway.records.api_keys import ApiKey
from gateway.records.rows import RedisClient
from gateway.records.subjects import SubjectFacts
from gateway.usage.billing import BillingPeriods


@dataclass(frozen=True, slots=True)
class UsageRequest:
    """`page` is that of the usage path, `params` what its pattern took from the path, as text;
    `query` the raw one without `?`. `now_ms` is the store's time, as near as it is known."""

    page: str
    dialect: Dialect
    method: str
    query: str
    account: Account
    key: ApiKey
    terms: Terms
    request_id: str
    now_ms: int
    params: Mapping[str, str]
    pending_settlements: int = 0
    """Of this account, in this gateway's journal."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What pages are made from."""

    ledger: Ledger
    history: History
    subjects: Subjects
    facts: SubjectFacts
    billing: BillingPeriods


def sources(
    ledger: Ledger, client: RedisClient, now_ms: Callable[[], int], billing: BillingPeriods
) -> Sources:
    return Sources(ledger, History(client, now_ms), Subjects(client), SubjectFacts(client), billing)


Page = Callable[[UsageRequest, Sources], Awaitable[Answer]]
"""The whole answer, also for HEAD: the server leaves the body away. Raises StoreError."""
