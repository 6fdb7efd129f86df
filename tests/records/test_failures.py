"""What Redis and redis-py say, as ours."""

import pytest
from redis import exceptions
from redis.asyncio import Redis

from gateway.errors import STORE_FULL, STORE_UNAVAILABLE, StoreError
from gateway.ledger.redispy import no_retry
from gateway.records.accounts import Accounts, NewAccount
from gateway.records.failures import store_errors
from tests.redis_server import RedisServer


@pytest.mark.parametrize(
    ("failure", "error", "transient"),
    [
        (exceptions.ConnectionError("lost"), STORE_UNAVAILABLE, True),
        (exceptions.TimeoutError("slow"), STORE_UNAVAILABLE, True),
        (exceptions.BusyLoadingError("loading"), STORE_UNAVAILABLE, True),
        (ConnectionResetError(), STORE_UNAVAILABLE, True),
        (exceptions.ReadOnlyError("demoted"), STORE_UNAVAILABLE, True),
        (exceptions.ClusterDownError("CLUSTERDOWN"), STORE_UNAVAILABLE, True),
        (exceptions.ClusterError("TTL exhausted."), STORE_UNAVAILABLE, True),
        (exceptions.SlotNotCoveredError("slot"), STORE_UNAVAILABLE, True),
        (exceptions.ResponseError("script: -READONLY replica"), STORE_UNAVAILABLE, True),
        (exceptions.ResponseError("-MISCONF disk"), STORE_FULL, False),
        (exceptions.OutOfMemoryError("maxmemory"), STORE_FULL, False),
        (exceptions.ResponseError("script: -OOM maxmemory"), STORE_FULL, False),
        (exceptions.ResponseError("WRONGTYPE"), STORE_UNAVAILABLE, False),
        (exceptions.NoPermissionError("no"), STORE_UNAVAILABLE, False),
    ],
)
def test_failures_become_store_errors(failure: Exception, error: object, transient: bool) -> None:
    with pytest.raises(StoreError) as raised, store_errors():
        raise failure
    assert (raised.value.error, raised.value.transient) == (error, transient)
    assert not raised.value.indeterminate


@pytest.mark.parametrize(
    ("failure", "indeterminate"),
    [(exceptions.TimeoutError("slow"), True), (exceptions.ReadOnlyError("demoted"), False)],
)
def test_a_lost_write_may_have_taken_effect(failure: Exception, indeterminate: bool) -> None:
    """failure row 16"""
    with pytest.raises(StoreError) as raised, store_errors(writes=True):
        raise failure
    assert raised.value.indeterminate is indeterminate


def test_other_errors_are_not_touched() -> None:
    with pytest.raises(ZeroDivisionError), store_errors():
        raise ZeroDivisionError


async def test_a_full_store_says_so_on_every_version(redis_server: RedisServer) -> None:
    """failure row 22"""
    with redis_server.config("maxmemory", 1):
        async with Redis(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
            with pytest.raises(StoreError) as raised:
                await Accounts(client).create(NewAccount("acme", "free"))
            assert raised.value.error is STORE_FULL
