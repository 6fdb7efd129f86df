"""What the tests of this room stand on: a catalog, a store, and the admin app over both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from gateway.admin.account_commands import AccountOrder, create
from gateway.admin.api import AdminDeps
from gateway.admin.command import Desk
from gateway.admin.decisions import DecisionDeps
from gateway.catalog.catalog import Catalog
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.errors import Error
from gateway.ledger.ledger import Ledger
from gateway.ledger.store import Store
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys
from gateway.records.identities import Identities
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_ids import RequestIds

TOKEN = "an-admin-token-of-the-tests"
CATALOG = Catalog(
    meters={
        "storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
        "uploads": Meter("uploads", MeterKind.CUMULATIVE, "count"),
    },
    plans={
        "free": Plan(
            "free",
            limits={"storage_bytes": 100, "uploads": 10},
            periods={"uploads": PeriodRule(PeriodKind.MONTH)},
        ),
        "pro": Plan("pro", limits={"storage_bytes": 1_000}),
        "slow": Plan("slow", rate=RateLimit(2, 3_600)),
    },
    default_plan="free",
)


@dataclass
class House:
    """`closed` and `checks` are what the gateway would say of itself."""

    store: Store
    closed: Error | None = None
    checks: Mapping[str, str | None] = field(default_factory=lambda: {"store": None})
    catalog: Catalog = CATALOG

    def __post_init__(self) -> None:
        self.clock = StoreClock()
        self.ledger = Ledger(self.store.admission, self.store.settlement, self.clock)
        self.accounts = Accounts(self.store.client)
        self.keys = ApiKeys(self.store.client)
        self.identities = Identities(self.store.client, self.clock)
        self.metrics = Metrics(CollectorRegistry())

    @property
    def desk(self) -> Desk:
        return Desk(self.accounts, self.keys, self.ledger, self.catalog, self.clock)

    async def ready(self) -> Mapping[str, str | None]:
        return self.checks

    def deps(self) -> AdminDeps:
        decisions = DecisionDeps(
            ledger=self.ledger,
            keys=self.keys,
            identities=self.identities,
            catalog=lambda: self.catalog,
            metrics=self.metrics,
            clock=self.clock,
            closed=lambda: self.closed,
        )
        return AdminDeps(
            decisions,
            lambda: self.desk,
            self.metrics,
            RequestIds(),
            TOKEN,
            self.ready,
            frozenset({"gw.internal"}),
        )

    async def open_account(self, account: str = "acme", plan: str = "free") -> None:
        await create(self.desk, AccountOrder(account, plan))
