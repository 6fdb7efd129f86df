"""Scripts by way of redis-py: the plain transport, and the only one that reaches fakeredis.

redis-py's own retry must be off in the client that is given (`no_retry`): it repeats commands that
may have taken effect already.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from gateway.errors import INTERNAL, StoreError
from gateway.ledger.resp import store_error, unavailable
from gateway.ledger.scripts import Script

POOL_EMPTY = "No connection available."

# redis-py cuts the code off the text of the errors that it has a class for.
_CUT_CODES: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (ClusterDownError, "CLUSTERDOWN"),
    (MasterDownError, "MASTERDOWN"),
    (AuthenticationError, "NOAUTH"),
)


def no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


class RedisPyTransport:
    """Runs scripts through one redis-py client, which it owns."""

    __slots__ = ("_client", "_command")

    def __init__(self, client: Redis) -> None:
        self._client = client
        # Its `evalsha` and `eval` would do, but are typed for text alone.
        self._command: Callable[..., Awaitable[Any]] = client.execute_command

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        words = (len(keys), *keys, *args)
        try:
            try:
                return await self._command("EVALSHA", script.sha, *words)
            except NoScriptError:
                return await self._command("EVAL", script.source, *words)
        except RedisError as error:
            raise as_store_error(error, doing=script.name) from error

    async def close(self) -> None:
        await self._client.aclose()


def as_store_error(error: RedisError, *, doing: str) -> StoreError:
    """What redis-py raised, as ours."""
    match error:
        case TimeoutError():
            return unavailable(f"{doing}: no answer in time", indeterminate=True)
        case ConnectionError() if str(error) == POOL_EMPTY:
            return unavailable(f"{doing}: every connection is busy")
        case _:
            pass
    for kind, code in _CUT_CODES:
        if isinstance(error, kind):
            return store_error(f"{code} {error}", doing=doing)
    if isinstance(error, ConnectionError):
        return unavailable(f"{doing}: connection lost ({error})", indeterminate=True)
    if isinstance(error, ResponseError):
        return store_error(str(error), doing=doing)
    return StoreError(INTERNAL, f"{doing}: {error}", transient=False)
