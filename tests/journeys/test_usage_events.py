"""Each upload that is charged is told of, once it is, whichever way it went."""

import asyncio
import json
from pathlib import Path

from gateway.ledger.store import Store
from tests.events.listener import Listener
from tests.journeys.rig import Wishes, running

EVENTS = """
[events]
to = "webhook"
url = "{url}"
secret = "0123456789abcdef"
"""


async def test_uploads_are_told_of_in_their_order(store: Store, tmp_path: Path) -> None:
    async with Listener() as listener:
        wishes = Wishes(extra=EVENTS.format(url=listener.url))
        async with running(store, tmp_path, wishes=wishes) as rig:
            for number in range(6):
                assert (await rig.put(f"f{number}", b"x" * (number + 1)))[0] == 201
            assert (await rig.put("too-much", b"x" * 1_000_001))[0] == 403
            async with asyncio.timeout(10):
                while len(listener.calls) < 6:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.05)
        told = [json.loads(body)["data"] for _, _, body in listener.calls]
        amounts = [{line["meter"]: line["amount"] for line in event["lines"]} for event in told]
        assert amounts == [{"storage_bytes": n + 1, "uploads": 1} for n in range(6)]
        assert {event["account"] for event in told} == {"acme"}


async def test_without_a_table_of_events_nothing_is_left(store: Store, tmp_path: Path) -> None:
    async with running(store, tmp_path) as rig:
        assert (await rig.put("f", b"x"))[0] == 201
        assert await store.client.exists("qg:{acme}:outbox") == 0
