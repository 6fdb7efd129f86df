"""A hot account, served out of blocks: every byte is charged, and nothing stays reserved."""

import asyncio
from pathlib import Path

import pytest

from gateway.clock import StoreClock
from gateway.ledger import blocks
from gateway.ledger.audit import audit
from gateway.ledger.ledger import Ledger
from gateway.ledger.store import Store
from tests.journeys.fast_rig import INGEST, block_opened
from tests.journeys.rig import Wishes, running

REQUESTS = 150
WISHES = Wishes(
    plan="block = { storage_bytes = 2_000, uploads = 100 }",
    extra=INGEST,
)


async def test_what_a_hot_account_uploads_is_charged_to_the_byte(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        rig.gateway.ledger.hot = 4
        redis_blocks: set[str] = set()

        async def post(number: int) -> int:
            async with rig.session.post(
                f"{rig.url}/ingest/{number}", data=b"x" * (number % 50), headers=rig.headers
            ) as answer:
                await answer.read()
                held = await rig.gateway.ledger.holders(rig.account.id, 100)
                redis_blocks.update(each.id for each in held if each.id.startswith("block-"))
                return answer.status

        statuses = []
        for start in range(0, REQUESTS, 10):
            some = range(start, start + 10)
            statuses += await asyncio.gather(*(post(number) for number in some))
        assert set(statuses) == {201}
        assert redis_blocks
        await rig.settled()
        assert await rig.standing() == (sum(number % 50 for number in range(REQUESTS)), 0)
        assert await rig.standing("uploads") == (REQUESTS, 0)
        assert len(redis_blocks) < REQUESTS / 5


async def test_a_gateway_that_stops_gives_its_blocks_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SERVES_S", 60.0)
    async with running(store, tmp_path, wishes=WISHES, audited=False) as rig:
        rig.gateway.ledger.hot = 0
        await block_opened(rig)
        for number in range(5):
            async with rig.session.post(
                f"{rig.url}/ingest/{number}", data=b"xyz", headers=rig.headers
            ) as answer:
                assert answer.status == 201
        assert await rig.standing() == (0, 2_000)
        terms = rig.terms
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    snapshot = await ledger.snapshot(terms)
    assert [(quota.used, quota.reserved) for quota in snapshot.quotas] == [(15, 0), (5, 0), (0, 0)]
    assert await audit(store.client, terms.account) == ()


async def test_what_leaves_an_asset_is_reserved_by_itself(store: Store, tmp_path: Path) -> None:
    async with running(store, tmp_path, wishes=WISHES) as rig:
        rig.gateway.ledger.hot = 0
        assert (await rig.put("a", b"x" * 100))[0] == 201
        assert await rig.standing() == (100, 0)
