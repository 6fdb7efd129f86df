"""Jobs: what has to be known of one until long after it has ended, in one row each.

A row is written after the job's reservation was made and before the upstream hears of it, and the
reservation gets the job's long lease only then: a gateway that dies in between leaves nothing that
holds more than the short lease of a request, and no job that nobody knows of. The upstream's name
for the job is added when it is known; the row's own name is its reservation's id.

All rows of an account are under its hash tag. A row ends once; what comes later reads how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from gateway.records.due import DueList
from gateway.records.failures import asked
from gateway.records.rows import RedisClient, Row, text

DUE = "qg:jobs:due"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Adds a row. KEYS: row, index. ARGV: reservation, keep_ms, lease_ms, field, value, ...
_OPEN = f"""
{_NOW}
redis.call('HSET', KEYS[1], 'opened_ms', string.format('%.0f', now),
  'lease_end_ms', string.format('%.0f', now + ARGV[3]), unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - ARGV[2]))
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
"""

# Gives a job its name, for ever. KEYS: row, name. ARGV: reservation, job, keep_ms, whose name may
# be taken. Reply: the reservation that has the name, or nothing: the job is called otherwise.
_NAME = """
local called = redis.call('HGET', KEYS[1], 'job')
if called and called ~= ARGV[2] then return '' end
local before = redis.call('GET', KEYS[2])
if before and before ~= ARGV[1] and before ~= ARGV[4] then return before end
redis.call('HSET', KEYS[1], 'job', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
"""

# Ends a row unless it has ended. KEYS: row. ARGV: field, value, ...
# Reply: {1 or 0 (it had ended, or there is none), its fields and values}.
_END = """
local first = 0
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'end') == 0 then
  first = 1
  redis.call('HSET', KEYS[1], unpack(ARGV))
  redis.call('HDEL', KEYS[1], 'missing')
end
return {first, redis.call('HGETALL', KEYS[1])}
"""

# Notes that a lease was extended. KEYS: row. ARGV: lease_ms
_EXTENDED = f"""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
{_NOW}
redis.call('HSET', KEYS[1], 'lease_end_ms', string.format('%.0f', now + ARGV[1]))
return 1
"""


# Notes that a job is missing, once. KEYS: row
_MISS = """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'end') == 1 then
  return 0
end
return redis.call('HSETNX', KEYS[1], 'missing', '1')
"""


class Outcome(StrEnum):
    """What became of a job's reservation."""

    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class NewJob:
    """`reserved` is meter → amount. `key_id` and `subject` say which counters are charged besides
    the account's. `params` are those of the path that it was opened at, as sent. `batch` is the
    reservation of the row that stands for the batch it came with;
    `items`: it is that row, of so many jobs, each of which may use what it says."""

    reservation: str
    account: str
    rule: str
    reserved: Mapping[str, int]
    key_id: str | None = None
    subject: tuple[str, str] | None = None
    webhook: str | None = None
    batch: str | None = None
    items: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Naming:
    """What the upstream calls the job behind a reservation."""

    account: str
    reservation: str
    rule: str
    job: str


@dataclass(frozen=True, slots=True)
class Ended:
    """`end` is what was told of the job, `by` how that was learned; `late`: after its lease."""

    end: str
    by: str
    outcome: Outcome
    late: bool = False
    actual: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """`id` None: the upstream has not named it (yet). Instants are by the store's clock. `missing`:
    its lease is over and nobody has told of its end."""

    reservation: str
    account: str
    rule: str
    reserved: Mapping[str, int]
    key_id: str | None
    subject: tuple[str, str] | None
    opened_ms: int
    lease_end_ms: int
    id: str | None = None
    ended: Ended | None = None
    webhook: str | None = None
    missing: bool = False
    batch: str | None = None
    items: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)


def item_name(batch: str, number: int) -> str:
    """The reservation of one job of a batch."""
    return f"{batch}.{number}"


class Jobs:
    """The rows of jobs. Everything raises StoreError."""

    __slots__ = ("_client", "_due")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._due = DueList(client, DUE)

    async def open(self, new: NewJob, *, lease_ms: int, keep_ms: int) -> None:
        """Record a job that is about to be opened; forgotten after `keep_ms`."""
        subject = None if new.subject is None else orjson.dumps(new.subject).decode()
        optional = {
            "key_id": new.key_id,
            "subject": subject,
            "webhook": new.webhook,
            "batch": new.batch,
            "items": None if new.items is None else str(new.items),
            "params": orjson.dumps(dict(new.params)).decode() if new.params else None,
        }
        fields = {"rule": new.rule, "reserved": orjson.dumps(dict(new.reserved)).decode()}
        fields |= {name: value for name, value in optional.items() if value is not None}
        keys = (_row_key(new.account, new.reservation), _index_key(new.account))
        flat = (part for pair in fields.items() for part in pair)
        call = self._client.eval(
            _OPEN, 2, *keys, new.reservation, str(keep_ms), str(lease_ms), *flat
        )
        await asked(call, writes=True)

    async def drop(self, account: str, reservation: str) -> None:
        """Forget a job that was not opened after all."""
        await asked(self._client.delete(_row_key(account, reservation)), writes=True)
        await asked(self._client.zrem(_index_key(account), reservation), writes=True)
        await self._due.drop(f"{account}/{reservation}")

    async def name(self, naming: Naming, *, keep_ms: int, instead_of: str = "") -> str | None:
        """Record the upstream's name of a job. Returns the reservation that has it: an earlier one
        (unless it is to be taken from that) where the upstream answered with a job it had. None:
        the job is called otherwise already."""
        account, reservation = naming.account, naming.reservation
        anywhere = _anywhere_key(naming.rule, naming.job)
        await asked(self._client.sadd(anywhere, account), writes=True)
        await asked(self._client.pexpire(anywhere, keep_ms), writes=True)
        keys = (_row_key(account, reservation), _name_key(account, naming.rule, naming.job))
        call = self._client.eval(_NAME, 2, *keys, reservation, naming.job, keep_ms, instead_of)
        return text(await asked(call, writes=True)) or None

    async def add_items(self, batch: Job, count: int) -> int:
        """Let a batch have so many jobs more; returns how many there were."""
        key = _row_key(batch.account, batch.reservation)
        after = await asked(self._client.hincrby(key, "items", count), writes=True)
        return int(after) - count

    async def items_of(self, batch: Job) -> tuple[Job, ...]:
        """The jobs of a batch, in its order."""
        names = [item_name(batch.reservation, number) for number in range(batch.items or 0)]
        found = [await self.get(batch.account, name) for name in names]
        return tuple(job for job in found if job is not None)

    async def find(self, account: str, rule: str, job: str) -> Job | None:
        """The account's job of that name; None: it has none."""
        found = await asked(self._client.get(_name_key(account, rule, job)))
        return None if found is None else await self.get(account, text(found))

    async def find_anywhere(self, rule: str, job: str) -> tuple[Job, ...]:
        """The jobs of that name, whosever they are: what the upstream itself speaks of."""
        accounts = await asked(self._client.smembers(_anywhere_key(rule, job)))
        found = [await self.find(text(account), rule, job) for account in accounts]
        return tuple(job for job in found if job is not None)

    async def list(self, account: str, start: int, count: int) -> tuple[Job | None, ...]:
        """Rows by when they were opened, newest first; None for one that is forgotten. Empty: there
        are no more."""
        call = self._client.zrevrange(_index_key(account), start, start + count - 1)
        members: Any = await asked(call)
        return tuple([await self.get(account, text(member)) for member in members])

    async def get(self, account: str, reservation: str) -> Job | None:
        found = await asked(self._client.hgetall(_row_key(account, reservation)))
        row = {text(name): text(value) for name, value in found.items()}
        return _job(account, reservation, row) if row else None

    async def names_of(self, account: str, reservations: Sequence[str]) -> dict[str, str]:
        """Reservation → the upstream's name of the job behind it, of those that have one."""
        found = {}
        for reservation in reservations:
            name = await asked(self._client.hget(_row_key(account, reservation), "job"))
            if name is not None:
                found[reservation] = text(name)
        return found

    async def end(self, job: Job, ended: Ended) -> tuple[Job, bool]:
        """The job as it has ended, and whether it was by this; else it had before."""
        fields = {
            "end": ended.end,
            "by": ended.by,
            "outcome": ended.outcome.value,
            "late": "1" if ended.late else "0",
            "actual": orjson.dumps(dict(ended.actual)).decode(),
        }
        flat = (part for pair in fields.items() for part in pair)
        call = self._client.eval(_END, 1, _row_key(job.account, job.reservation), *flat)
        first, found = await asked(call, writes=True)
        parts = [text(part) for part in found]
        row = dict(zip(parts[::2], parts[1::2], strict=True))
        return (_job(job.account, job.reservation, row) if row else job), bool(first)

    # -- watching ---------------------------------------------------------------------------------

    async def watch(self, account: str, reservation: str, after_ms: int) -> None:
        """Let somebody look at the job in a while."""
        await self._due.put(f"{account}/{reservation}", after_ms)

    async def unwatch(self, job: Job) -> None:
        await self._due.drop(f"{job.account}/{job.reservation}")

    async def claim(self, count: int, *, claim_ms: int) -> tuple[int, tuple[Job, ...]]:
        """The store's time, and up to `count` jobs that are due for a look."""
        now_ms, members = await self._due.claim(count, claim_ms=claim_ms)
        found: list[Job] = []
        for member in members:
            account, _, reservation = member.partition("/")
            job = await self.get(account, reservation)
            if job is None:
                await self._due.drop(member)
            else:
                found.append(job)
        return now_ms, tuple(found)

    async def miss(self, job: Job) -> bool:
        """Note that its lease is over without a word of its end; False if that was noted before."""
        call = self._client.eval(_MISS, 1, _row_key(job.account, job.reservation))
        return bool(await asked(call, writes=True))

    async def extended(self, job: Job, lease_ms: int) -> None:
        call = self._client.eval(_EXTENDED, 1, _row_key(job.account, job.reservation), lease_ms)
        await asked(call, writes=True)


def _job(account: str, reservation: str, row: Row) -> Job:
    subject = orjson.loads(row["subject"]) if "subject" in row else None
    ended = None
    if "end" in row:
        ended = Ended(
            row["end"],
            row["by"],
            Outcome(row["outcome"]),
            row["late"] == "1",
            orjson.loads(row["actual"]),
        )
    return Job(
        reservation=reservation,
        account=account,
        rule=row["rule"],
        reserved=orjson.loads(row["reserved"]),
        key_id=row.get("key_id"),
        subject=None if subject is None else (subject[0], subject[1]),
        opened_ms=int(row["opened_ms"]),
        lease_end_ms=int(row["lease_end_ms"]),
        id=row.get("job"),
        ended=ended,
        webhook=row.get("webhook"),
        missing="missing" in row,
        batch=row.get("batch"),
        items=int(row["items"]) if "items" in row else None,
        params=orjson.loads(row.get("params", "{}")),
    )


def _row_key(account: str, reservation: str) -> str:
    return f"qg:{{{account}}}:job:{reservation}"


def _name_key(account: str, rule: str, job: str) -> str:
    return f"qg:{{{account}}}:jobid:{rule}/{job}"


def _index_key(account: str) -> str:
    return f"qg:{{{account}}}:jobs"


def _anywhere_key(rule: str, job: str) -> str:
    return f"qg:job:{rule}/{job}"
