"""The audit: proves on a live store that an account's books keep the invariants, and repairs them.

What can be proved of books that stand still: I1, I2, I4, I5, I7, that no lease, record or asset is
astray, that every subject is listed, and that the books' clock is not ahead of the store's. I3 and
I6 are about the instant of a grant; the simulation proves those. Small accounts are read in one
transaction. Large ones are read in pages first, so as not to hold up the store; what such a reading
finds may only be that the books moved meanwhile, so it is reported when one transaction over all of
the account finds it, too.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.catalog.meters import AMOUNT_END
from gateway.errors import STORE_LOST, StoreError
from gateway.ledger.keys import AccountKeys, keys_of
from gateway.ledger.packed import Packed, is_whole, told, unpacked
from gateway.ledger.redispy import as_store_error
from gateway.ledger.replies import lines_of, without_instant
from gateway.ledger.scripts import REPAIR

WHOLE_MAX = 10_000
"""Records, and counters, up to which an account is read in one transaction at once (about 15 ms of
the store)."""
PAGE = 1_000
AHEAD_MAX_MS = 60_000
"""How far the books may be ahead of the store's clock: clocks are set back by a little."""
NEW_LEASE_MS = 60_000
AGAIN_MAX = 5
AGAIN_AFTER_S = 0.1
"""Slots of a cluster may be on their way just now."""

_SETTLED = frozenset("CREDAX")
_RECORD_WORDS = 6
_NONE = Packed(0.0, 0.0, 0.0, b"", 0.0, 0.0, ())
"""A counter that never moved."""
SWEEP_EVERY_MS = 1_000
"""As the sweep says in `due` when no lease ends before."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in an account's books. `rule` is I1 to I7, `clock`, `record`, `asset` or
    `subject`."""

    account: str
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.account}: {self.rule}: {self.what}"


@dataclass(frozen=True, slots=True)
class Repaired:
    """One thing that a repair changed; empty text for what was, or is, not there."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Books:
    """All of an account, as it was read."""

    account: str
    store_ms: int
    books: Mapping[str, bytes]
    records: Mapping[str, str]
    leases: Mapping[str, int]
    """Ends of the leases."""
    forget: frozenset[str]
    assets: Mapping[str, str]
    subjects: frozenset[str]


async def audit(
    client: "Redis | RedisCluster", account: str, *, now_ms: int = 0
) -> tuple[Finding, ...]:
    """Everything that is wrong in one account's books; `now_ms` 0 asks Redis. Raises StoreError."""
    for _ in range(AGAIN_MAX):
        try:
            return await _audited(client, account, now_ms)
        except StoreError as failure:
            if not failure.transient:
                raise
        await asyncio.sleep(AGAIN_AFTER_S)
    return await _audited(client, account, now_ms)


async def _audited(
    client: "Redis | RedisCluster", account: str, now_ms: int
) -> tuple[Finding, ...]:
    try:
        redis: Any = client
        keys = keys_of(account)
        store_ms = now_ms or await _store_ms(redis)
        sizes = await redis.hlen(keys.reservations), await redis.hlen(keys.books)
        if max(sizes) > WHOLE_MAX:
            for _ in range(2):
                if not examine(await _read_in_pages(redis, keys, store_ms)):
                    return ()
        return examine(await _read_whole(redis, keys, store_ms))
    except RedisError as error:
        raise as_store_error(error, doing="audit") from error


async def audit_all(
    client: "Redis | RedisCluster", accounts: Iterable[str], *, now_ms: int = 0
) -> AsyncIterator[Finding]:
    """The findings of one account after the other."""
    for account in accounts:
        for finding in await audit(client, account, now_ms=now_ms):
            yield finding


async def repair(
    client: "Redis | RedisCluster", account: str, *, now_ms: int = 0
) -> tuple[Repaired, ...]:
    """Make the books agree with themselves in one step: what reservations hold is the truth.

    Reserved becomes the sum of the open lines; leases, records and times to be forgotten are put
    right; a counter that cannot be read becomes what the assets were charged; subjects are
    listed. `now_ms` 0 asks Redis. Other scripts wait: about 10 ms for each 1,000 records, 3 for
    each 1,000 counters.
    """
    keys = keys_of(account)
    names = (
        *(keys.books, keys.reservations, keys.leases, keys.forget),
        *(keys.assets, keys.subjects),
    )
    redis: Any = client
    try:
        reply = await redis.eval(REPAIR.source, len(names), *names, now_ms, NEW_LEASE_MS)
    except RedisError as error:
        raise as_store_error(error, doing="repair") from error
    if reply[0] == b"lost":
        raise StoreError(STORE_LOST, f"account {account} has no books", transient=False)
    return tuple(_repaired(*reply[at : at + 3]) for at in range(1, len(reply), 3))


def _repaired(name: bytes, before: bytes, after: bytes) -> Repaired:
    """Counters, which alone have a `/` and no blank in their names, are packed."""
    packed = b"/" in name and b" " not in name
    values = (told(each) if packed and each else each.decode() for each in (before, after))
    return Repaired(name.decode(), *values)


def examine(read: Books) -> tuple[Finding, ...]:
    """What is wrong in books that were read at one instant."""
    return tuple(Finding(read.account, rule, what) for rule, what in _findings(read))


def _findings(read: Books) -> Iterator[tuple[str, str]]:
    if not read.books:
        for what in ("reservations", "leases", "forget", "assets"):
            if getattr(read, "records" if what == "reservations" else what):
                yield "record", f"there are {what}, but no books"
        return
    yield from _clock(read)
    held: Counter[str] = Counter()
    for name, record in read.records.items():
        yield from _record(read, name, record, held)
    for name in sorted(read.leases.keys() - read.records.keys()):
        yield "I5", f"lease {name} belongs to no reservation"
    for name in sorted(read.forget - read.records.keys()):
        yield "record", f"{name} is to be forgotten and is not there"
    charged: Counter[str] = Counter()
    for asset, row in read.assets.items():
        lines = without_instant(row)
        if not all(_is_amount(part.partition("=")[2]) for part in lines.rstrip(",").split(",")):
            yield "asset", f"{asset}: {row!r} cannot be read"
        else:
            charged.update(lines_of(lines))
    yield from _counters(read, held, charged)
    yield from _subjects(read)


def _clock(read: Books) -> Iterator[tuple[str, str]]:
    seen = read.books.get("now", b"").decode("utf-8", "replace")
    if not _is_amount(seen):
        yield "clock", f"now is {seen!r}"
    elif int(seen) > read.store_ms + AHEAD_MAX_MS:
        yield "clock", f"the books are {int(seen) - read.store_ms} ms ahead of the store"
    due = read.books.get("due", b"0").decode("utf-8", "replace")
    first_end = min(read.leases.values(), default=AMOUNT_END)
    if not _is_amount(due) or int(due) > first_end:
        yield "I5", f"due is {due}, and the first lease ends at {first_end}"
    elif _is_amount(seen) and int(due) > int(seen) + SWEEP_EVERY_MS:
        yield "clock", f"due is {int(due) - int(seen)} ms after the books' latest time"


def _record(read: Books, name: str, record: str, held: "Counter[str]") -> Iterator[tuple[str, str]]:
    words = record.split(" ")
    lines = words[-1].rstrip(",").split(",")
    readable = len(words) == _RECORD_WORDS and (
        words[5] == "-" or all(_is_amount(line.partition("=")[2]) for line in lines)
    )
    if not readable or not (words[0] == "O" or words[0] in _SETTLED):
        yield "record", f"{name}: {record!r} cannot be read"
        return
    if words[0] == "O":
        held.update(lines_of(words[5]))
        if name not in read.leases:
            yield "I5", f"{name} is open and has no lease"
        if name in read.forget:
            yield "record", f"{name} is open and would be forgotten"
        return
    if name in read.leases:
        yield "I4", f"{name} is settled ({words[0]}) and has a lease"
    if name not in read.forget:
        yield "record", f"{name} is settled and would never be forgotten"


def _counters(
    read: Books, held: "Counter[str]", charged: "Counter[str]"
) -> Iterator[tuple[str, str]]:
    counters = {name: value for name, value in read.books.items() if "/" in name}
    for name in sorted(counters.keys() | held.keys()):
        packed = unpacked(counters[name]) if name in counters else _NONE
        if packed is None or not is_whole(packed):
            below = packed is not None and min(packed.used, packed.reserved, packed.top) < 0
            yield "I2" if below else "I7", f"{name} is {told(counters[name])}"
            continue
        used, reserved = int(packed.used), int(packed.reserved)
        if reserved != held[name]:
            yield "I1", f"{name}: reserved is {reserved}, open reservations hold {held[name]}"
        if used < charged[name]:
            yield "asset", f"{name}: used is {used}, assets were charged {charged[name]}"


def _subjects(read: Books) -> Iterator[tuple[str, str]]:
    """Who is listed without a counter was told of by other means, or has only been named."""
    counted = {name.rpartition("/")[0][2:] for name in read.books if name.startswith("s:")}
    for subject in sorted(counted - read.subjects):
        yield "subject", f"{subject} has counters and is not listed"


def _is_amount(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < AMOUNT_END


async def _read_whole(redis: Any, keys: AccountKeys, store_ms: int) -> Books:
    async with redis.pipeline(transaction=True) as pipeline:
        # Plain commands: in a transaction on a cluster, redis-py 8.1 fails on its own hgetall().
        pipeline.execute_command("HGETALL", keys.books)
        pipeline.execute_command("HGETALL", keys.reservations)
        pipeline.execute_command("ZRANGE", keys.leases, 0, -1, "WITHSCORES")
        pipeline.execute_command("ZRANGE", keys.forget, 0, -1)
        pipeline.execute_command("HGETALL", keys.assets)
        pipeline.execute_command("ZRANGE", keys.subjects, 0, -1)
        books, records, leases, forget, assets, subjects = await pipeline.execute()
    return Books(
        *(keys.account, store_ms, _named(books), _text(records)),
        *(_ends(zip(leases[::2], leases[1::2], strict=True)), _members(forget), _text(assets)),
        _members(subjects),
    )


async def _read_in_pages(redis: Any, keys: AccountKeys, store_ms: int) -> Books:
    books, records, assets = [
        dict([pair async for pair in redis.hscan_iter(key, count=PAGE)])
        for key in (keys.books, keys.reservations, keys.assets)
    ]
    # After the books: who gets a counter is listed in the same step.
    leases, forget, subjects = [
        [pair async for pair in redis.zscan_iter(key, count=PAGE)]
        for key in (keys.leases, keys.forget, keys.subjects)
    ]
    return Books(
        *(keys.account, store_ms, _named(books), _text(records), _ends(leases)),
        _members(member for member, _ in forget),
        *(_text(assets), _members(member for member, _ in subjects)),
    )


async def _store_ms(redis: Any) -> int:
    """The time of the store; of a cluster, that of the node whose clock is furthest."""
    if isinstance(redis, RedisCluster):
        answers: Any = await redis.time(target_nodes=RedisCluster.PRIMARIES)
        return max(int(s) * 1000 + int(us) // 1000 for s, us in answers.values())
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _named(pairs: Mapping[bytes, bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in pairs.items()}


def _text(pairs: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode("utf-8", "replace") for name, value in pairs.items()}


def _ends(found: Iterable[tuple[bytes, Any]]) -> dict[str, int]:
    return {member.decode(): int(score) for member, score in found}


def _members(found: Iterable[bytes]) -> frozenset[str]:
    return frozenset(member.decode() for member in found)
