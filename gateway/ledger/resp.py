"""What is said to Redis and what it answers: commands as bytes, error replies as `StoreError`.

Every error reply becomes ours here and nowhere else, by its text: inside a script Redis 6.2 wraps
each error in a generic `ERR Error running script (…): @user_script:12: @user_script: 12: -OOM …`,
later versions put the code first.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from gateway.errors import INTERNAL, STORE_FULL, STORE_UNAVAILABLE, Error, StoreError

NOSCRIPT = "NOSCRIPT"
READONLY = "READONLY"
MOVED = "MOVED"
ASK = "ASK"
TRYAGAIN = "TRYAGAIN"
WRONGTYPE = "WRONGTYPE"

Word = bytes | str | int | float
"""Text goes as UTF-8, a number as its digits."""

# Its stub knows tuples of one word alone.
_packed: Callable[[tuple[Word, ...]], bytes] = cast(Any, hiredis.pack_command)

_CODE = re.compile(
    r"(?:(?:ERR )?Error running script \(call to \w+\): )?(?:@user_script: ?\d+: )*-?([A-Z]{2,})\b"
)

_MEANING: dict[str, Error] = {
    "OOM": STORE_FULL,
    "MISCONF": STORE_FULL,
    READONLY: STORE_UNAVAILABLE,
    "LOADING": STORE_UNAVAILABLE,
    "BUSY": STORE_UNAVAILABLE,
    "CLUSTERDOWN": STORE_UNAVAILABLE,
    "MASTERDOWN": STORE_UNAVAILABLE,
    "NOREPLICAS": STORE_UNAVAILABLE,
    "NOAUTH": STORE_UNAVAILABLE,
    "WRONGPASS": STORE_UNAVAILABLE,
    MOVED: STORE_UNAVAILABLE,
    ASK: STORE_UNAVAILABLE,
    TRYAGAIN: STORE_UNAVAILABLE,
    # A damaged key: quota cannot be checked, and no repeat will mend it.
    WRONGTYPE: STORE_UNAVAILABLE,
}


def command(*words: Word) -> bytes:
    """One command as RESP2 carries it: an array of bulk strings."""
    return _packed(words)


def script_call(verb: bytes, name: bytes, keys: Sequence[bytes], args: Sequence[bytes]) -> bytes:
    """`EVALSHA sha …` or `EVAL source …`, as bytes."""
    return _packed((verb, name, b"%d" % len(keys), *keys, *args))


def error_code(text: str) -> str:
    """The code of an error reply, found inside the wrapping of 6.2; `ERR` when it has none."""
    found = _CODE.match(text)
    return found[1] if found else "ERR"


def store_error(text: str, *, doing: str) -> StoreError:
    """The error reply `text` as ours. `doing` names the script or command, for the log.

    An error reply says that nothing was written: Redis checks before a script's first write, and
    the scripts check before theirs. So it is never indeterminate.
    """
    code = error_code(text)
    meaning = _MEANING.get(code, INTERNAL)
    passes = meaning is STORE_UNAVAILABLE and code != WRONGTYPE
    return StoreError(meaning, f"{doing}: {text}", transient=passes)


def unavailable(what: str, *, indeterminate: bool = False) -> StoreError:
    """The store did not answer, or could not be asked."""
    return StoreError(STORE_UNAVAILABLE, what, transient=True, indeterminate=indeterminate)
