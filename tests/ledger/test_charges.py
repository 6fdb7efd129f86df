"""What an asset is charged can be read, by the account that is charged for it."""

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.ledger.charges import charged
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Line
from gateway.ledger.store import Store

METERS = {
    "storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
    "uploads": Meter("uploads", MeterKind.CUMULATIVE, "count"),
}
TERMS = Terms(
    "acme", METERS, Plan("trial"), key_id="k1", key_limits={"storage_bytes": 100},
    subject=("creator", "ann"),
)  # fmt: skip


async def test_the_charge_of_an_asset(store: Store) -> None:
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    await ledger.open_books("acme")
    lines = [Line.exact("storage_bytes", 60), Line.exact("uploads", 1)]
    await ledger.reserve(TERMS, "r1", lines, lease_ms=10_000)
    assert await charged(store.client, "acme", "a") is None
    await ledger.commit(TERMS, "r1", {"storage_bytes": 45, "uploads": 1}, asset="a")
    assert await charged(store.client, "acme", "a") == {"storage_bytes": 45}
    assert await charged(store.client, "other", "a") is None
    await ledger.remove(TERMS, "a")
    assert await charged(store.client, "acme", "a") is None
