"""The watched transport passes everything on, times it, and says whether the store answers."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger import scripts
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.redispy import no_retry
from gateway.ledger.resp import unavailable
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.ledger.template import Call, Template, bulk
from gateway.ledger.transport import Heard, Then
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


class Prompted:
    """Answers what it is sent when the test has it do so."""

    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.sent: list[Call] = []

    def send(self, call: Call, then: Then) -> bool:
        self.sent.append(call)
        return True

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        raise AssertionError

    async def close(self) -> None: ...


def test_prompt_calls_count_one_by_one_however_many_are_made_as_one() -> None:
    registry = CollectorRegistry()
    inner = Prompted()
    watched = WatchedTransport(inner, Metrics(registry))
    template = Template(scripts.COMMIT, lambda v: ((b"k",), (v[0],)), ((b"one",), (b"two",)), own=1)
    assert watched.send(template.call((bulk(b"x"),)), lambda reply: None)
    assert len(inner.sent) == 1
    assert inner.heard is not None

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(PREFIX + name, labels)

    inner.heard(scripts.COMMIT, 5, 0.002, [[b"settled"]] * 5)
    assert value("ledger_call_seconds_count", verb="commit") == 5
    assert value("ledger_call_seconds_sum", verb="commit") == pytest.approx(0.01)
    assert value("store_up") == 1
    inner.heard(scripts.COMMIT, 3, 0.002, unavailable("gone"))
    failures = value("ledger_call_failures_total", verb="commit", code="store-unavailable")
    assert failures == 3
    assert value("store_up") == 0


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
