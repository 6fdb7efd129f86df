"""The fast path before a Redis Cluster: each account's calls go to its master, wherever that is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.cluster import ClusterTransport, slot_of
from gateway.ledger.keys import keys_of
from gateway.ledger.store import connect
from gateway.ledger.template import Call
from gateway.ledger.transport import Then
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import answer, client
from tests.journeys.rig import Way, running
from tests.redis_cluster import RedisCluster, running_cluster
from tests.stores import BINARIES

if not BINARIES:
    pytest.skip("no redis-server to make a cluster of was found", allow_module_level=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster(BINARIES[-1]) as servers:
        yield servers


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls that were written without a Task."""
    names: list[str] = []
    send = ClusterTransport.send

    def noted(transport: ClusterTransport, call: Call, then: Then) -> bool:
        names.append(call.template.script.name)
        return send(transport, call, then)

    monkeypatch.setattr(ClusterTransport, "send", noted)
    return names


async def test_an_account_that_has_moved_to_another_master_is_found_there(
    cluster: RedisCluster, tmp_path: Path, sent: list[str]
) -> None:
    """failure row 19"""
    store = await connect(cluster.url)
    async with running(store, tmp_path) as rig, client(rig) as (reader, writer):

        async def put(name: str) -> None:
            fields = f"Host: t\r\nX-API-Key: {rig.key}\r\nContent-Length: 5"
            writer.write(f"PUT /files/{name} HTTP/1.1\r\n{fields}\r\n\r\n12345".encode())
            assert (await answer(reader))[0] == 201

        uploads = 0
        while sent[-2:] != ["reserve", "commit"]:
            uploads += 1
            await put(f"before-{uploads}")
        slot = slot_of(keys_of(rig.account.id).books)
        source, target = cluster.begin_move(slot)
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, target)
        await put("by-moved")
        for number in range(2):
            await put(f"after-{number}")
        assert sent[-4:] == ["reserve", "commit"] * 2
        await rig.settled()
        assert await rig.standing() == ((uploads + 3) * 5, 0)
    await store.close()
