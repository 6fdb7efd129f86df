"""The scripts as texts: their headers tell the truth, and their form keeps what it promises."""

import re
from importlib import resources

import pytest

from gateway.ledger import scripts
from gateway.ledger.scripts import Script, load, text

NAMES = sorted(
    entry.name.removesuffix(".lua")
    for entry in resources.files("gateway.ledger").joinpath("lua").iterdir()
)
PRELUDES = {name for name in NAMES if not text(name).startswith("--[[")}
VERBS = [name for name in NAMES if name not in PRELUDES]
LEDGER = {script.name for script in scripts.ALL}
FREEING = {"commit", "release", "adjust", "remove"}
"""Scripts that a full store must let pass: they begin with a write that frees memory."""
WRITES = {"HSET", "HSETNX", "HDEL", "HINCRBY", "ZADD", "ZREM", "EXPIRE", "XADD"}
TAKEN = re.compile(r"local ([\w, ]+) =\s+unpack\(KEYS, from_key, last_key\)")
POINT = "-- After this point it must succeed."


def header(name: str) -> str:
    return text(name).partition("]]")[0]


def code(name: str) -> str:
    return text(name).partition("]]")[2]


def header_words(name: str, section: str) -> list[str]:
    found = re.search(rf"^  {section}:(.*)$", header(name), re.MULTILINE)
    assert found, f"{name}.lua has no {section}"
    return found[1].split()


def named(name: str, table: str) -> dict[int, str]:
    """Index → local name, of every `local a, b = KEYS[1], KEYS[2]` or, for each of several calls,
    `local a, b = unpack(KEYS, …)`."""
    found: dict[int, str] = {}
    if table == "KEYS" and (taken := TAKEN.search(code(name))):
        found.update(enumerate(taken[1].split(", "), 1))
    for line in re.findall(rf"^local (.+ = .*{table}\[.+)$", code(name), re.MULTILINE):
        names, _, values = line.partition(" = ")
        for local, value in zip(names.split(", "), values.split(", "), strict=False):
            if index := re.search(rf"{table}\[(\d+)\]", value):
                found.setdefault(int(index[1]), local)
    return found


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("section", ["KEYS", "ARGV"])
def test_a_header_names_what_the_script_takes_in_order(name: str, section: str) -> None:
    used = named(name, section)
    assert header_words(name, section) == [used[index] for index in sorted(used)]
    assert sorted(used) == list(range(1, len(used) + 1))
    beyond = {int(index) for index in re.findall(rf"{section}\[(\d+)\]", code(name))}
    assert beyond <= used.keys()


@pytest.mark.parametrize("name", sorted(LEDGER - {"open_books", "unlist"}))
def test_a_header_names_every_reply_and_no_other(name: str) -> None:
    replies = header(name).partition("Reply:")[2]
    told = {re.split(r"[\s,]", part.strip())[0] for part in replies.split("|")}
    assert tags(code(name)) <= told
    assert told <= tags(load(name).source.decode())


def tags(source: str) -> set[str]:
    """The first words of the lists that are answered."""
    before = r"(?:return|nil,|with_rate\(|(?:reply|stale|gone)\b[\w, ]* =)"
    return set(re.findall(before + r" ?\{'(\w+)'", source))


@pytest.mark.parametrize("name", sorted(LEDGER))
def test_after_the_point_of_no_return_there_are_only_writes(name: str) -> None:
    """Scripts without that point write through a prelude that has one, or mend what is broken."""
    _, found, after = text(name).rpartition(POINT)
    if not found:
        assert not commands(code(name)) & WRITES or name == "repair"
    assert commands(after) <= WRITES or not found
    assert not tags(after) & {"damaged", "lost", "invalid", "clock"} or not found


def commands(source: str) -> set[str]:
    return set(re.findall(r"redis\.p?call\('(\w+)'", source))


@pytest.mark.parametrize("name", sorted(FREEING))
def test_what_a_full_store_must_let_pass_begins_by_freeing_memory(name: str) -> None:
    calls = re.findall(r"redis\.call\('(\w+)'", code(name))
    assert next(call for call in calls if call in WRITES) in {"ZREM", "HDEL"}


@pytest.mark.parametrize("name", NAMES)
def test_amounts_are_never_written_by_what_spoils_them(name: str) -> None:
    source = re.sub(r"--.*", "", code(name) if name in VERBS else text(name))
    assert "tostring" not in source
    assert "cjson" not in source
    source = source.replace("< 2147483648 then return string.format('%d', number)", "")
    assert not re.search(r"'%d'|\(-\w", source)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_declared_and_no_global_is_set(name: str) -> None:
    source = code(name) if name in VERBS else text(name)
    assert "qg:" not in source
    keys = set(re.findall(r"redis\.p?call\('\w+', (\w+)", source))
    declared = set(re.findall(r"local ([\w, ]+) = KEYS", source)) | set(TAKEN.findall(source))
    wanted = {key for names in declared for key in names.split(", ")} | {"key"}
    if name in PRELUDES:
        wanted |= {"books", "reservations", "leases", "forget", "hours", "days", "subjects"}
    assert keys <= wanted
    for line in re.findall(r"^(\w+) =", source, re.MULTILINE):
        whole = load(name).source.decode()
        assert re.search(rf"local .*\b{line}\b", whole), f"{name}.lua sets the global {line}"


def test_includes_are_put_in_and_a_sha_is_that_of_the_whole() -> None:
    script = load("reserve")
    assert b"-- include:" not in script.source
    assert b"local function sweep" in script.source
    assert re.fullmatch(rb"[0-9a-f]{40}", script.sha)
    assert {s.name for s in scripts.ALL} <= set(VERBS)
    assert all(isinstance(s, Script) for s in scripts.ALL)
    assert len({s.sha for s in scripts.ALL}) == len(scripts.ALL)
