"""Scripts by way of redis-py: the plain transport, and the only one that reaches fakeredis.

redis-py's own retry must be off in the client that is given (`no_retry`): it repeats commands that
may have taken effect already.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import (
    BlockingConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from gateway.errors import INTERNAL, StoreError
from gateway.ledger.address import Address
from gateway.ledger.resp import store_error, unavailable
from gateway.ledger.scripts import Script
from gateway.ledger.sharing import TIMEOUT_S, WAIT_S, SharedClient

BUSY_POOL = frozenset({"No connection available.", "Too many connections"})
"""What its pools say when they are empty: nothing has been asked then."""

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
        with told(script.name):
            try:
                return await self._command("EVALSHA", script.sha, *words)
            except NoScriptError:
                return await self._command("EVAL", script.source, *words)

    async def close(self) -> None:
        await self._client.aclose()


def client_of(
    address: Address, *, timeout_s: float = TIMEOUT_S, connections_max: int = 16
) -> SharedClient:
    """A redis-py client for records and administration; a call waits for a free connection."""
    kind: type[AbstractConnection] = Connection
    options = client_options(address, timeout_s=timeout_s)
    if address.path:
        kind = UnixDomainSocketConnection
        options["path"] = address.path
    else:
        options |= {"host": address.host, "port": address.port}
    if address.tls:
        kind = SSLConnection
        options |= address.tls_files
    pool = BlockingConnectionPool(
        connection_class=kind,
        max_connections=connections_max,
        timeout=WAIT_S,
        db=address.db,
        **options,
    )
    client = SharedClient.from_pool(pool)
    assert isinstance(client, SharedClient)
    return client


def client_options(address: Address, *, timeout_s: float) -> dict[str, Any]:
    """What every redis-py client of the gateway is made with."""
    return {
        "username": address.user or None,
        "password": address.password or None,
        "protocol": 2,
        "retry": no_retry(),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": 1.0,
    }


@contextmanager
def told(doing: str) -> Iterator[None]:
    """What redis-py raises in the block leaves it as ours. `doing` says what for, for the log."""
    try:
        yield
    except (RedisError, RedisClusterException) as error:
        raise as_store_error(error, doing=doing) from error


def as_store_error(error: RedisError | RedisClusterException, *, doing: str) -> StoreError:
    """What redis-py raised, as ours."""
    match error:
        case RedisClusterException():  # It has not found a node to ask.
            return unavailable(f"{doing}: {error}")
        case ClusterError() if not isinstance(error, ClusterDownError):  # Redirected too often.
            return unavailable(f"{doing}: {error}")
        case AskError() | TryAgainError():  # MOVED is one, too; transactions are not redirected.
            return unavailable(f"{doing}: its slot is being moved")
        case TimeoutError():
            return unavailable(f"{doing}: no answer in time", indeterminate=True)
        case ConnectionError() if str(error) in BUSY_POOL:
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
