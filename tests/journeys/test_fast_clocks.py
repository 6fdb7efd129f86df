"""The fast path and clocks that step: what was prepared for another hour is prepared anew, once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import wall_ms
from gateway.ledger.keys import keys_of
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.ledger.transport import Transport
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import begun
from tests.journeys.rig import Rig, Way, running

AHEAD_MS = 2 * 3_600_000


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


class Noted:
    """A transport that writes down what it runs."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.names: list[str] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.names.append(script.name)
        return await self._inner.run(script, keys, args)

    async def close(self) -> None:
        await self._inner.close()


async def reserves(rig: Rig, noted: Noted, name: str) -> int:
    """How many it takes to upload something."""
    noted.names.clear()
    assert (await rig.put(name, b"x"))[0] == 201
    return noted.names.count("reserve")


async def test_an_hour_that_was_guessed_wrong_is_not_kept(fake: Store, tmp_path: Path) -> None:
    """failure row 47: the gateway's own clock was two hours ahead, for less than a second."""
    noted = Noted(fake.admission)
    async with running(replace(fake, admission=noted), tmp_path) as rig:
        assert await reserves(rig, noted, "a") == 1
        rig.gateway._clock.learn(wall_ms() + AHEAD_MS)
        assert (await rig.put("b", b"x"))[0] == 201
        rig.gateway._clock.learn(wall_ms())
        assert await reserves(rig, noted, "c") == 1
        assert begun(rig) == 3
        assert await rig.standing() == (3, 0)


async def test_books_that_are_ahead_are_met_where_they_are(fake: Store, tmp_path: Path) -> None:
    """failure row 48: the store's clock was set back, and the gateway's says the same as that."""
    noted = Noted(fake.admission)
    async with running(replace(fake, admission=noted), tmp_path, audited=False) as rig:
        assert await reserves(rig, noted, "a") == 1
        ahead_ms = wall_ms() + AHEAD_MS
        await fake.client.hset(keys_of(rig.account.id).books, "now", ahead_ms)
        assert await reserves(rig, noted, "b") > 1
        for name in ("c", "d"):
            rig.gateway._clock.learn(wall_ms())
            assert await reserves(rig, noted, name) == 1
        assert await rig.standing() == (4, 0)
