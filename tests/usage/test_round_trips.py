"""A page that tells how an account stands asks Redis once."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.dialects.protocol import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.ledger.transport import Transport
from gateway.records.accounts import Account, Accounts, AccountStatus
from gateway.records.api_keys import ApiKey
from gateway.records.key_text import KeyKind
from gateway.usage.billing import BillingPeriods
from gateway.usage.endpoints import answer
from gateway.usage.request import UsageRequest, sources

LEVELS = ("storage_seconds", "videos")
SUMS = ("storage_bytes", "period_bytes", "bandwidth_bytes", "uploads", "jobs", "commands")
METERS = {name: Meter(name, MeterKind.LEVEL, "count") for name in LEVELS} | {
    name: Meter(name, MeterKind.CUMULATIVE, "count") for name in SUMS
}
TERMS = Terms("acme", METERS, Plan("p", limits={"commands": 10}))
KEY = ApiKey("k1", "acme", "", KeyKind.SECRET, 0, False, None, {}, "qg_…")


class Counted:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.calls: list[str] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.calls.append(script.name)
        return await self._transport.run(script, keys, args)

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("dialect", "page", "query", "calls"),
    [
        ("native", "quota", "", ["snapshot"]),
        ("tornado", "usage", "", ["snapshot"]),
        # Each request counts against the rate limit: both go out together.
        ("stashfyle", "usage", "", ["reserve", "snapshot"]),
        ("cloudflare", "storage-usage", "", ["snapshot"]),
        ("cloudflare", "storage-usage", "creator=ann", ["snapshot"]),
        ("cloudflare", "commands-quota", "", ["snapshot"]),
    ],
)
async def test_a_snapshot_is_one_question(
    store: Store, dialect: str, page: str, query: str, calls: list[str]
) -> None:
    counted = Counted(store.admission)
    ledger = Ledger(counted, counted, StoreClock())
    await ledger.open_books("acme")
    await ledger.snapshot(TERMS)
    counted.calls.clear()
    spoken: Dialect = DIALECTS[dialect]({})
    request = UsageRequest(
        page=page,
        dialect=spoken,
        method="GET",
        query=query,
        account=Account("acme", "p", "Acme", AccountStatus.ACTIVE, 0, 0, {}),
        key=KEY,
        terms=TERMS,
        request_id="r",
        now_ms=0,
        params={},
    )
    billing = BillingPeriods(lambda: None, Accounts(store.client))
    found = sources(ledger, store.client, lambda: 0, billing)
    assert (await answer(dialect, request, found)).status == 200
    assert counted.calls == calls
