"""A storm: clients of every habit, an upstream of every temper, two gateways between them.

The seed says what each client does and how the upstream takes it; only the timing is the machine's.
In the end the books have to say what the upstream stores, to the byte.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.ledger.keys import keys_of
from gateway.records.doubts import DUE
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import Customer, House, deployed
from tests.processes.storm_clients import Client
from tests.processes.storm_upstream import StormUpstream

CLIENTS = 24
STORAGE = 6_000_000
PROBE = 'probe = { path = "/files/{name}" }'
ROUTES = f"""
{PROBE}
commit_on = [404]

[[routes]]
name = "form-file"
methods = ["POST"]
path = "/files/{{name...}}"
upstream = "files"
policy = "upload"
reserve = {{ storage_bytes = "files", uploads = 1 }}
asset = "files/{{name}}"
grow_step = "64KiB"
{PROBE}
"""


def charged(house: House, customer: Customer) -> dict[str, int]:
    """name → bytes, of all assets in the books."""
    rows = house.redis.run("HGETALL", keys_of(customer.id).assets)
    assert isinstance(rows, dict)
    return {
        asset.decode().removeprefix("files/"): int(charge.partition(b"=")[2].partition(b",")[0])
        for asset, charge in rows.items()
    }


@pytest.mark.parametrize(
    ("seed", "seconds"),
    [(1, 4), *(pytest.param(seed, 20, marks=pytest.mark.long) for seed in range(2, 12))],
)
async def test_the_books_say_what_the_upstream_stores(
    tmp_path: Path, seed: int, seconds: float
) -> None:
    """failure rows 28-31, 33-39, 42, 43 and 60, as they come"""
    async with StormUpstream(seed) as upstream:
        wishes = Wishes(
            upstream.url,
            storage=STORAGE,
            answer_timeout="1s",
            server='lease = "3s"\nheartbeat = "1s"',
            upload=f'{PROBE}\ngrow_step = "64KiB"',
            routes=ROUTES,
        )
        async with deployed(tmp_path, wishes, gateways=2) as house:
            acme = await house.customer("acme")
            ports = [gateway.port for gateway in house.gateways]
            clients = [Client(n, seed, ports, acme.key, upstream) for n in range(CLIENTS)]
            over = asyncio.get_running_loop().time() + seconds
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.live(over))
            statuses = sum((client.statuses for client in clients), Counter[str]())
            print(f"seed {seed}:", sorted(statuses.items()), sorted(upstream.tempers.items()))
            await until(lambda: not house.redis.run("ZCARD", DUE), "no doubt is left", within_s=60)
            await house.settled(acme, within_s=60)
            assert charged(house, acme) == upstream.storage.sizes
            assert await house.standing(acme) == (upstream.storage.total, 0)
            assert upstream.storage.most <= STORAGE
            uploads, _ = await house.standing(acme, "uploads")
            times = len(upstream.storage.targets)
            assert times <= uploads <= times + upstream.misleading
            egress, _ = await house.standing(acme, "egress_bytes")
            assert sum(client.got for client in clients) <= egress <= upstream.given
            assert sum(statuses.values()) > 20 * seconds
