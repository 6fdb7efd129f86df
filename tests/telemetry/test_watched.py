"""The watched transport passes everything on, times it, and says whether the store answers."""

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.redispy import no_retry
from gateway.ledger.store import Store
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.names import PREFIX
from gateway.telemetry.watched import WatchedTransport

TERMS = Terms("acme", {}, Plan("none"))


async def test_calls_are_timed_by_verb() -> None:
    registry = CollectorRegistry()
    store = Store.fake()
    watched = WatchedTransport(store.admission, Metrics(registry))
    ledger = Ledger(watched, watched, StoreClock())
    await ledger.open_books("acme")
    snapshot = await ledger.snapshot(TERMS)
    assert snapshot.account == "acme"
    for verb in ("open_books", "snapshot"):
        labels = {"verb": verb}
        seen = registry.get_sample_value(PREFIX + "ledger_call_seconds_count", labels)
        assert seen is not None
        assert seen >= 1
    assert registry.get_sample_value(PREFIX + "store_up") == 1
    await watched.close()
    await store.close()


async def test_a_store_that_is_away_shows() -> None:
    """failure row 13: the store's absence is counted and shown."""
    registry = CollectorRegistry()
    client = Redis(unix_socket_path="/nowhere/redis.sock", protocol=2, retry=no_retry())
    store = Store.over(client, "nowhere")
    watched = WatchedTransport(store.admission, Metrics(registry))
    with pytest.raises(StoreError):
        await Ledger(watched, watched, StoreClock()).open_books("acme")
    assert registry.get_sample_value(PREFIX + "store_up") == 0
    labels = {"verb": "open_books", "code": "store-unavailable"}
    counted = registry.get_sample_value(PREFIX + "ledger_call_failures_total", labels)
    assert counted is not None
    assert counted >= 1
    await store.close()
