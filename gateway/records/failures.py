"""Redis's errors as ours: the one place where this room meets redis-py's exceptions."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis import exceptions

from gateway.errors import STORE_FULL, STORE_UNAVAILABLE, StoreError

T = TypeVar("T")

_LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_PASSING = (
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterError,  # redirected too often, or down
    exceptions.RedisClusterException,
)
_ALL = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
_PASSING_WORDS = ("READONLY", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
_FULL_WORDS = ("OOM", "MISCONF")


async def asked(call: Awaitable[T], *, writes: bool = False) -> T:
    """Await a call of redis-py; its errors become StoreError. `writes`: a lost call may have taken
    effect."""
    try:
        return await call
    except _ALL as failure:
        raise _as_ours(failure, writes=writes) from failure


@contextmanager
def store_errors(*, writes: bool = False) -> Iterator[None]:
    """The same of a block."""
    try:
        yield
    except _ALL as failure:
        raise _as_ours(failure, writes=writes) from failure


def _as_ours(failure: Exception, *, writes: bool) -> StoreError:
    if isinstance(failure, _LOST):
        return _unavailable(failure, transient=True, indeterminate=writes)
    if isinstance(failure, _PASSING):
        return _unavailable(failure, transient=True)
    # Redis 6.2 gives a generic error for what happened inside a script: only the text tells.
    if isinstance(failure, exceptions.OutOfMemoryError) or _says(failure, _FULL_WORDS):
        return StoreError(STORE_FULL, str(failure), transient=False)
    return _unavailable(failure, transient=_says(failure, _PASSING_WORDS))


def _unavailable(failure: Exception, *, transient: bool, indeterminate: bool = False) -> StoreError:
    message = str(failure) or type(failure).__name__
    return StoreError(STORE_UNAVAILABLE, message, transient=transient, indeterminate=indeterminate)


def _says(failure: Exception, words: tuple[str, ...]) -> bool:
    return any(word in str(failure) for word in words)
