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
_PASSING_WORDS = ("READONLY", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
_FULL_WORDS = ("OOM", "MISCONF")


async def asked(call: Awaitable[T], *, writes: bool = False) -> T:
    """Await a call of redis-py; its errors become StoreError."""
    with store_errors(writes=writes):
        return await call


@contextmanager
def store_errors(*, writes: bool = False) -> Iterator[None]:
    """Turn redis-py's exceptions into StoreError. `writes`: a lost call may have taken effect."""
    try:
        yield
    except _LOST as failure:
        raise _unavailable(failure, transient=True, indeterminate=writes) from failure
    except _PASSING as failure:
        raise _unavailable(failure, transient=True) from failure
    except exceptions.OutOfMemoryError as failure:
        raise StoreError(STORE_FULL, str(failure), transient=False) from failure
    except exceptions.RedisError as failure:
        # Redis 6.2 gives a generic error for what happened inside a script: only the text tells.
        if _says(failure, _FULL_WORDS):
            raise StoreError(STORE_FULL, str(failure), transient=False) from failure
        raise _unavailable(failure, transient=_says(failure, _PASSING_WORDS)) from failure


def _unavailable(failure: Exception, *, transient: bool, indeterminate: bool = False) -> StoreError:
    message = str(failure) or type(failure).__name__
    return StoreError(STORE_UNAVAILABLE, message, transient=transient, indeterminate=indeterminate)


def _says(failure: Exception, words: tuple[str, ...]) -> bool:
    return any(word in str(failure) for word in words)
