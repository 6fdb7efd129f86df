"""Opening a store: what is found out before it is used, and what is said to an operator."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import pytest

from gateway.errors import ConfigError, StoreError
from gateway.ledger.checks import judge
from gateway.ledger.store import Store, connect
from tests.fault_proxy import FaultProxy
from tests.ledger.scripts import ADD, ECHO
from tests.redis_server import RedisServer


async def test_a_store_runs_scripts_and_serves_records(redis_server: RedisServer) -> None:
    store = await connect(redis_server.url)
    assert await store.admission.run(ADD, [b"n"], [b"1"]) == 1
    assert await store.settlement.run(ADD, [b"n"], [b"1"]) == 2
    assert await store.client.get("n") == b"2"
    assert store.description == f"redis://{redis_server.socket}"
    assert store.warnings == ()
    await store.close()


async def test_admission_settlement_and_records_have_connections_of_their_own(
    redis_server: RedisServer,
) -> None:
    """failure row 27"""
    store = await connect(redis_server.url)
    assert store.admission is not store.settlement
    pipelined = [
        line for line in str(redis_server.run("CLIENT", "LIST")).split("\\n") if "cmd=hello" in line
    ]
    assert len(pipelined) == 3
    await store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_store_that_may_evict_books_is_refused(
    redis_server: RedisServer, policy: str
) -> None:
    """failure row 23"""
    with (
        redis_server.config("maxmemory-policy", policy),
        pytest.raises(ConfigError, match=policy) as caught,
    ):
        await connect(redis_server.url)
    assert "set `maxmemory-policy noeviction`" in str(caught.value)
    await (await connect(redis_server.url)).close()


async def test_a_store_without_append_only_file_is_warned_of(redis_server: RedisServer) -> None:
    with redis_server.config("appendonly", "no"):
        store = await connect(redis_server.url)
    assert [warning for warning in store.warnings if "set `appendonly yes`" in warning]
    await store.close()


async def test_a_server_that_tells_nothing_about_itself_is_warned_of(
    redis_server: RedisServer,
) -> None:
    """failure row 23"""
    redis_server.run("ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "-info", "-config")
    try:
        store = await connect(f"unix://mute:pw@{redis_server.socket}")
    finally:
        redis_server.run("ACL", "DELUSER", "mute")
    assert ["noeviction" in warning for warning in store.warnings] == [True]
    await store.close()


JUDGED: list[tuple[list[Mapping[str, object]], tuple[str, ...] | None]] = [
    ([], ()),
    ([{"maxmemory_policy": "noeviction"}, {"aof_enabled": 1}], ()),
    ([{"maxmemory_policy": "noeviction"}, {}], ()),
    ([{"maxmemory_policy": "noeviction"}, {"maxmemory_policy": "allkeys-lfu"}], None),
]


@pytest.mark.parametrize(("facts", "warnings"), JUDGED)
def test_what_nodes_say_is_judged_together(
    facts: list[Mapping[str, object]], warnings: tuple[str, ...] | None
) -> None:
    """failure row 23"""
    if warnings is None:
        with pytest.raises(ConfigError):
            judge(facts)
    else:
        assert judge(facts) == warnings


async def test_a_store_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """failure row 13"""
    began = monotonic()
    with pytest.raises(StoreError, match="No such file"):
        await connect(f"unix://{tmp_path}/none.sock")
    assert monotonic() - began < 1


async def test_a_wrong_password_is_told_without_it(redis_server: RedisServer) -> None:
    """failure row 68"""
    with pytest.raises(StoreError, match="WRONGPASS") as caught:
        await connect(f"unix://al:s3cret@{redis_server.socket}")
    assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__context__!r}"


async def test_an_account_of_redis_and_a_database_are_chosen(redis_server: RedisServer) -> None:
    redis_server.run("ACL", "SETUSER", "al", "on", ">p@ss", "~*", "+@all")
    try:
        store = await connect(f"unix://al:p%40ss@{redis_server.socket}?db=3")
        await store.admission.run(ADD, [b"n"], [b"1"])
        assert await store.client.get("n") == b"1"
        assert redis_server.run("GET", "n") is None
        await store.close()
    finally:
        redis_server.run("ACL", "DELUSER", "al")


async def test_a_database_that_is_not_there_is_told(redis_server: RedisServer) -> None:
    with pytest.raises(StoreError, match="DB index is out of range"):
        await connect(f"{redis_server.url}?db=99")


async def test_a_replica_is_no_place_for_books(redis_server: RedisServer) -> None:
    """failure row 19"""
    with redis_server.demoted(), pytest.raises(StoreError, match="is a replica"):
        await connect(redis_server.url)


async def test_a_store_comes_back_by_itself(redis_server: RedisServer) -> None:
    """failure row 13"""
    async with FaultProxy(str(redis_server.socket)) as proxy:
        store = await connect(proxy.redis_url)
        proxy.reset()
        for transport in (store.admission, store.settlement):
            assert await served(store, transport is store.admission) == b"back"
        await store.close()


async def served(store: Store, admission: bool) -> object:
    transport = store.admission if admission else store.settlement
    for _ in range(10):
        try:
            return await transport.run(ECHO, [b"k"], [b"back"])
        except StoreError as error:
            last = error
    raise last
