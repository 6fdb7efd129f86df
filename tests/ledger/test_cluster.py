"""The ledger on a real Redis Cluster: every script, slots that move, masters that go."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.clock import StoreClock
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger import scripts
from gateway.ledger.address import Address
from gateway.ledger.audit import audit
from gateway.ledger.cluster import ranges, redirected, slot_of
from gateway.ledger.keys import keys_of
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Adjusted, Granted, Line, Settled
from gateway.ledger.quota import Snapshot
from gateway.ledger.reaper import BUSY, Reaper
from gateway.ledger.reservation import State
from gateway.ledger.store import Store, connect
from gateway.ledger.watch import StoreWatch
from tests.cable import Cable
from tests.ledger.lively import Stopped, terms_of, until
from tests.ledger.scripts import ADD, ADD_ONCE, ECHO, script
from tests.redis_cluster import RedisCluster, joined_replica, running_cluster
from tests.stores import BINARIES

VECTORS = [
    (b"123456789", 0x31C3),
    (b"foo", 12182),
    (b"{foo}", 12182),
    (b"qg:{foo}:books", 12182),
    (b"foo{}{bar}", slot_of(b"foo{}{bar}")),
    (b"foo{{bar}}zap", slot_of(b"{bar")),
    (b"foo{bar}{zap}", slot_of(b"bar")),
]

if not BINARIES:
    pytest.skip("no redis-server to make a cluster of was found", allow_module_level=True)


@pytest.fixture(scope="module", params=BINARIES, ids=lambda binary: binary.name)
def servers(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with running_cluster(request.param) as cluster:
        yield cluster


@pytest.fixture
def cluster(servers: RedisCluster) -> RedisCluster:
    servers.empty()
    return servers


@pytest.fixture
async def store(cluster: RedisCluster) -> AsyncIterator[Store]:
    opened = await connect(cluster.url)
    yield opened
    await opened.close()


@pytest.mark.parametrize(("key", "slot"), VECTORS)
def test_a_key_has_the_slot_that_redis_gives_it(
    key: bytes, slot: int, servers: RedisCluster
) -> None:
    assert slot_of(key) == slot
    assert servers.servers[0].run("CLUSTER", "KEYSLOT", key) == slot


def test_a_redirection_names_a_place() -> None:
    asked = Address("10.0.0.1", 7000, password="pw")
    assert redirected("MOVED 1 10.0.0.2:7001", asked) == Address("10.0.0.2", 7001, password="pw")
    assert redirected("ASK 1 :7002", asked) == Address("10.0.0.1", 7002, password="pw")
    assert redirected("MOVED 1 ::1:7003", asked) == Address("::1", 7003, password="pw")


def test_a_node_that_does_not_know_its_host_is_where_it_was_asked() -> None:
    asked = Address("10.0.0.1", 7000)
    assert ranges([[0, 5, [b"", 7000, b"id"], [b"10.0.0.9", 1, b"replica"]]], asked) == [
        (0, 5, asked)
    ]


async def test_every_verb_runs_for_accounts_on_every_node(
    cluster: RedisCluster, store: Store
) -> None:
    admission, settlement = Cable(store.admission), Cable(store.settlement)
    ledger = Ledger(admission, settlement, StoreClock())
    accounts = [f"account-{number}" for number in range(30)]
    owners = {cluster.owner(slot_of(b"qg:{%b}:books" % a.encode())).port for a in accounts}
    assert len(owners) == 3

    async def live(account: str) -> Snapshot:
        terms = terms_of(account)
        await ledger.open_books(account)
        line = [Line.exact("storage", 10)]
        assert isinstance(await ledger.reserve(terms, "a", line, lease_ms=10_000), Granted)
        more = await ledger.grow(terms, "a", [Line.exact("storage", 20)])
        assert isinstance(more, Granted)
        assert await ledger.extend(account, ["a", "x"], 20_000) == ("x",)
        assert len(await ledger.holders(account)) == 1
        done = await ledger.commit(terms, "a", {"storage": 15}, asset="file")
        assert isinstance(done, Settled)
        assert isinstance(await ledger.reserve(terms, "b", line, lease_ms=10_000), Granted)
        freed = await ledger.release(account, "b", reason="test")
        assert isinstance(freed, Settled)
        assert freed.state is State.RELEASED
        assert (await ledger.expire(account)).count == 0
        adjusted = await ledger.adjust(terms, "adjust-1", {"storage": 5}, reason="test")
        assert isinstance(adjusted, Adjusted)
        assert await ledger.remove(terms, "file") is not None
        return await ledger.snapshot(terms)

    snapshots = await asyncio.gather(*(live(account) for account in accounts))
    assert {str(quota) for snapshot in snapshots for quota in snapshot.quotas} == {
        "storage 5+0/1000"
    }
    ran = {*admission.calls, *settlement.calls}
    assert {each.name for each in scripts.ALL if each.name in VERBS} <= ran


VERBS = {
    *("open_books", "reserve", "grow", "extend", "commit", "release", "expire"),
    *("adjust", "remove", "snapshot", "holders"),
}


async def test_watch_and_reaper_run_there_too(
    store: Store, stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 25"""
    monkeypatch.setattr("gateway.ledger.reaper.QUIET_AFTER_S", 0.0)
    clock = StoreClock()
    watch = StoreWatch(store.client, clock)
    await watch.beat()
    assert watch.error is None
    ledger = Ledger(store.admission, store.settlement, clock)
    await ledger.open_books("acme")
    reaper = stopped(Reaper(ledger, store.client, look_after_ms=0, ahead=store.admission))
    line = [Line.exact("storage", 1)]
    await ledger.reserve(terms_of("acme"), "r", line, lease_ms=1)
    reaper.note("acme")

    async def ended() -> bool:
        return await reaper.sweep() == 1

    await until(ended)
    await reaper.sweep()
    assert await store.client.zcard(BUSY) == 0


async def test_keys_of_two_slots_are_never_given_to_one_script(store: Store) -> None:
    with pytest.raises(StoreError, match="CROSSSLOT") as caught:
        await store.admission.run(ADD_ONCE, [b"{a}n", b"{b}ids"], [b"1"])
    assert not caught.value.transient


async def test_scripts_are_loaded_on_each_node(cluster: RedisCluster, store: Store) -> None:
    """failure row 18"""
    for server in cluster.servers:
        server.run("SCRIPT", "FLUSH")
    words = [b"%d" % number for number in range(200)]
    keys = [[b"{%b}k" % word] for word in words]
    calls = (store.admission.run(ECHO, key, [word]) for key, word in zip(keys, words, strict=True))
    assert await asyncio.gather(*calls) == words


async def test_a_slot_that_moves_is_followed(cluster: RedisCluster, store: Store) -> None:
    """failure row 19"""
    slot = slot_of(b"{moving}n")
    assert await store.admission.run(ADD, [b"{moving}n"], [b"1"]) == 1
    source, target = cluster.begin_move(slot)
    assert await store.admission.run(ADD, [b"{moving}n"], [b"1"]) == 2
    cluster.move_keys(slot, source, target)
    assert await store.admission.run(ADD, [b"{moving}n"], [b"1"]) == 3  # by ASK
    cluster.end_move(slot, target)
    assert await store.admission.run(ADD, [b"{moving}n"], [b"1"]) == 4  # by MOVED
    assert await store.settlement.run(ADD, [b"{moving}n"], [b"1"]) == 5
    before = commands(source.info("commandstats"))
    assert await store.admission.run(ADD, [b"{moving}n"], [b"1"]) == 6
    assert commands(source.info("commandstats")) == before


def commands(stats: bytes) -> list[bytes]:
    return [line for line in stats.splitlines() if line.startswith(b"cmdstat_evalsha")]


async def test_rows_are_followed_with_their_slot_by_many_at_once(
    cluster: RedisCluster, store: Store
) -> None:
    """failure row 19"""
    client: Any = store.client
    slot = slot_of(b"{rows}h")

    async def count() -> None:
        await asyncio.gather(*(client.hincrby("{rows}h", "n", 1) for _ in range(40)))
        await asyncio.gather(*(client.eval(ADD.source, 1, "{rows}n", 1) for _ in range(40)))

    await count()
    source, target = cluster.begin_move(slot)
    cluster.move_keys(slot, source, target)
    await count()  # by ASK
    cluster.end_move(slot, target)
    await count()  # by MOVED
    assert await client.hgetall("{rows}h") == {b"n": b"120"}
    assert await client.get("{rows}n") == b"120"


async def test_slots_that_move_end_no_connection_that_others_wait_at(
    cluster: RedisCluster, store: Store
) -> None:
    """failure row 19: of what goes redis-py's way"""
    client: Any = store.client
    slot = slot_of(b"{moving}text")
    others = [client.blpop(f"{{{tag}}}list", timeout=4) for tag in ("a", "b", "c", "d")]
    waiting = asyncio.gather(*others)
    for number in range(6):
        source, target = cluster.begin_move(slot)
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, target)
        await client.set("{moving}text", number)
    for tag in ("a", "b", "c", "d"):
        await client.rpush(f"{{{tag}}}list", tag)
    assert [value for _, value in await waiting] == [b"a", b"b", b"c", b"d"]


async def test_an_audit_waits_for_the_slot_that_moves(cluster: RedisCluster, store: Store) -> None:
    """failure row 19"""
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    await ledger.open_books("acme")
    slot = slot_of(keys_of("acme").books)
    source, target = cluster.begin_move(slot)
    cluster.move_keys(slot, source, target)
    audited = asyncio.gather(audit(store.client, "acme"))
    await asyncio.sleep(0.15)
    cluster.end_move(slot, target)
    (found,) = await audited
    assert found == ()


async def test_keys_that_are_half_moved_are_waited_for(cluster: RedisCluster, store: Store) -> None:
    """failure row 19"""
    slot = slot_of(b"{soon}n")
    keys = [b"{soon}n", b"{soon}ids"]
    await store.admission.run(ADD_ONCE, keys, [b"1"])
    source, target = cluster.begin_move(slot)
    source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", "{soon}n")
    asked = asyncio.gather(store.admission.run(ADD_ONCE, keys, [b"2"]))
    await asyncio.sleep(0.1)
    cluster.move_keys(slot, source, target)
    (found,) = await asked
    assert found == 2
    cluster.end_move(slot, target)


async def test_a_script_whose_keys_are_half_moved_is_to_be_repeated(
    cluster: RedisCluster, store: Store
) -> None:
    slot = slot_of(b"{half}n")
    await store.admission.run(ADD_ONCE, [b"{half}n", b"{half}ids"], [b"1"])
    source, target = cluster.begin_move(slot)
    source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", "{half}n")
    with pytest.raises(StoreError, match="redirected too often") as caught:
        await store.admission.run(ADD_ONCE, [b"{half}n", b"{half}ids"], [b"2"])
    assert (caught.value.error, caught.value.transient) == (STORE_UNAVAILABLE, True)
    cluster.move_keys(slot, source, target)
    assert await store.admission.run(ADD_ONCE, [b"{half}n", b"{half}ids"], [b"2"]) == 2
    cluster.end_move(slot, target)


async def test_a_key_of_the_wrong_type_is_our_failure(store: Store) -> None:
    """failure row 26"""
    await store.client.set("{a}n", "text")
    with pytest.raises(StoreError, match="WRONGTYPE") as caught:
        await store.admission.run(
            script("r", "return redis.call('HGET', KEYS[1], 'f')"), [b"{a}n"], []
        )
    assert not caught.value.transient


async def test_a_dead_seed_is_passed_over(cluster: RedisCluster) -> None:
    store = await connect(cluster.url.replace("cluster://", "cluster://127.0.0.1:1,"))
    assert await store.admission.run(ADD, [b"n"], [b"1"]) == 1
    await store.close()


async def test_no_seed_that_answers_is_told() -> None:
    """failure row 13"""
    with pytest.raises(StoreError) as caught:
        await connect("redis+cluster://127.0.0.1:1")
    assert caught.value.transient


async def test_a_master_that_dies_is_replaced_by_its_replica(
    cluster: RedisCluster, store: Store
) -> None:
    """failure row 19, failure row 20"""
    slot = slot_of(b"{acme}n")
    master = cluster.owner(slot)
    with joined_replica(cluster, master):
        for number in range(20):
            await store.admission.run(ADD_ONCE, [b"{acme}n", b"{acme}ids"], [b"%d" % number])
        with master.client() as client:
            client.set("{acme}last", "1")
            assert client.wait(1, 5_000) == 1
        master.kill()
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        total = await store.admission.run(
                            ADD_ONCE, [b"{acme}n", b"{acme}ids"], [b"last"]
                        )
                        break
                    except StoreError as error:
                        assert error.transient  # noqa: PT017
                        await asyncio.sleep(0.05)
            assert total == 21
        finally:
            master.start()
