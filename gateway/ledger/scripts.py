"""The scripts: Lua of this room, each an atomic verb, loaded once from the package's resources.

A line `-- include: name` stands for the lines of `lua/name.lua`: Redis scripts cannot import one
another. One source serves every server: a script that must succeed in a full store starts its
writes with a ZREM or HDEL, after which Redis lets it finish (`#!lua flags` is unknown to 6.2).
`fake_struct` is none of the verbs: it gives fakeredis what the verbs take for granted.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

_INCLUDE = re.compile(r"^ *-- include: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """`source` is what SCRIPT LOAD takes, `sha` its 40 hex digits as EVALSHA wants them."""

    name: str
    source: bytes
    sha: bytes


def load(name: str) -> Script:
    """The script of `lua/<name>.lua` with its includes put in."""
    source = _whole(name).encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(name, source, sha)


def _whole(name: str) -> str:
    return _INCLUDE.sub(lambda line: _whole(line[1]).rstrip("\n"), text(name))


def text(name: str) -> str:
    """`lua/<name>.lua` as it was written."""
    return resources.files("gateway.ledger").joinpath("lua", f"{name}.lua").read_text("utf-8")


OPEN_BOOKS = load("open_books")
RESERVE = load("reserve")
RESERVE_MANY = load("reserve_many")
GROW = load("grow")
SPLIT = load("split")
EXTEND = load("extend")
COMMIT = load("commit")
RELEASE = load("release")
EXPIRE = load("expire")
ADJUST = load("adjust")
REMOVE = load("remove")
SNAPSHOT = load("snapshot")
HOLDERS = load("holders")
HISTORY = load("history")
SUBJECTS = load("subjects")
UNLIST = load("unlist")
REPAIR = load("repair")

ALL = (
    *(OPEN_BOOKS, RESERVE, RESERVE_MANY, GROW, SPLIT, EXTEND, COMMIT, RELEASE, EXPIRE),
    *(ADJUST, REMOVE, SNAPSHOT, HOLDERS, HISTORY, SUBJECTS, UNLIST, REPAIR),
)
