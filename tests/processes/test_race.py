"""A race for the last bytes: several gateways, one account, many requests at once."""

from pathlib import Path

from tests.processes.clients import hammer
from tests.processes.configuration import Wishes
from tests.processes.harness import deployed
from tests.upstreams import ScriptedUpstream

SIZE = 64
FIT = 7_000
REQUESTS = 20_000
IN_FLIGHT = 144


async def test_three_gateways_admit_exactly_what_fits(tmp_path: Path) -> None:
    """failure row 61"""
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url), gateways=3) as house,
    ):
        acme = await house.customer("acme", storage=FIT * SIZE + SIZE - 1)
        statuses = await hammer(
            [gateway.port for gateway in house.gateways],
            acme.key,
            (f"/files/{number}" for number in range(REQUESTS)),
            b"r" * SIZE,
            lines=IN_FLIGHT,
        )
        assert statuses == {201: FIT, 403: REQUESTS - FIT}
        assert len(upstream.stored) == FIT
        await house.settled(acme)
        assert await house.standing(acme) == (FIT * SIZE, 0)
        assert await house.standing(acme, "uploads") == (FIT, 0)
