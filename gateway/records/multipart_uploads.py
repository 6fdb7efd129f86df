"""Multipart uploads: which parts of each there are, so that any gateway can take the next one.

The row is under its account's hash tag and named by the object and the upload's id. It is written
once the upstream has named the upload, before the client hears of it; the upload's reservation has
a lease of minutes until then, and its long one after. So a gateway that dies in between leaves a
row that nobody knows of and a reservation that soon ends.

A part counts once however often it is sent. While it is on its way it counts as what it is and as
what it may replace, whichever is more: it may fail, and what was there stays. A part whose gateway
died on the way, or that was not answered, goes on counting like that: it may have been stored.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import orjson

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, Row, text

KEEP_MS = 82_800_000
"""How long a row outlives the lease of its reservation, for what comes late: an hour less than the
record of an expired reservation is kept, so that there is never a row without one."""

# A part is `held stored flying`: what it counts, what the upstream has of it, and how many requests
# for it are on their way.

# Counts a part that is about to be sent. KEYS: row. ARGV: part, size, keep_ms.
# Reply: reservation, key, total, subject; none if there is no such upload, or it is completed; the
# reservation alone while it is being completed.
_CLAIM = """
local row = redis.call('HMGET', KEYS[1], 'reservation', 'key', 'total', ARGV[1], 'completed',
  'completing', 'subject')
if not row[1] or row[5] then return {} end
if tonumber(row[6] or 0) > 0 then return {row[1]} end
local held, stored, flying = string.match(row[4] or '0 0 0', '^(%d+) (%d+) (%d+)$')
local size, total = held, row[3]
if tonumber(ARGV[2]) > tonumber(held) then
  size, total = ARGV[2], string.format('%.0f', total + ARGV[2] - held)
end
redis.call('HSET', KEYS[1], 'total', total,
  ARGV[1], size .. ' ' .. stored .. ' ' .. string.format('%.0f', flying + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {row[1], row[2] or '', total, row[7] or ''}
"""

# A request for a part is over. KEYS: row. ARGV: part, size (empty: it was not stored).
_LAND = """
local row = redis.call('HMGET', KEYS[1], 'total', ARGV[1])
if not row[2] then return 0 end
local held, stored, flying = string.match(row[2], '^(%d+) (%d+) (%d+)$')
if ARGV[2] ~= '' then stored = ARGV[2] end
flying = math.max(flying - 1, 0)
local size = held
if flying == 0 or tonumber(stored) > tonumber(held) then size = stored end
redis.call('HSET', KEYS[1], 'total', string.format('%.0f', row[1] + size - held),
  ARGV[1], size .. ' ' .. stored .. ' ' .. string.format('%.0f', flying))
return 1
"""

# An object is about to be made of the upload. KEYS: row. ARGV: keep_ms, total.
# Reply: what another request, that is not known to have failed, wants to make; empty for none.
_COMPLETING = """
local row = redis.call('HMGET', KEYS[1], 'reservation', 'completing', 'listed')
if not row[1] then return '' end
redis.call('HINCRBY', KEYS[1], 'completing', 1)
redis.call('HSET', KEYS[1], 'listed', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if tonumber(row[2] or 0) > 0 then return row[3] end
return ''
"""

# How that ended. KEYS: row. ARGV: keep_ms, 1 if it is an object now.
_ENDED = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'completed', 1)
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return redis.call('HINCRBY', KEYS[1], 'completing', 0 - 1)
"""

# Writes a row. KEYS: row. ARGV: keep_ms, field, value, ...
_OPEN = """
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Upload:
    """`key_id` and `subject` are those it was opened by and for, whose counters hold it as well.
    `completing`: it may be an object by now, for all that is known."""

    reservation: str
    key_id: str | None
    completed: bool = False
    completing: bool = False
    subject: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """`total`: bytes that the upload holds with this part."""

    reservation: str
    key_id: str | None
    total: int
    subject: tuple[str, str] | None = None


class Busy(Enum):
    BUSY = auto()
    """Being completed, for all that is known: it takes no parts."""


@dataclass(frozen=True, slots=True)
class UploadName:
    """`asset` is the object that it is to become; `id` the upstream's word for it."""

    account: str
    asset: str
    id: str

    @property
    def key(self) -> str:
        name = hashlib.sha256(f"{self.id}\n{self.asset}".encode()).hexdigest()
        return f"qg:{{{self.account}}}:multipart:{name}"


class MultipartUploads:
    """The rows. Every method raises StoreError and nothing else of Redis."""

    __slots__ = ("_client",)

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def open(
        self,
        name: UploadName,
        reservation: str,
        key_id: str | None,
        subject: tuple[str, str] | None = None,
        *,
        lease_ms: int,
    ) -> None:
        of = "" if subject is None else orjson.dumps(subject).decode()
        fields = ("reservation", reservation, "key", key_id or "", "total", "0", "subject", of)
        await self._eval(_OPEN, name, str(lease_ms + KEEP_MS), *fields)

    async def find(self, name: UploadName) -> Upload | None:
        fields = ("reservation", "key", "completed", "completing", "subject")
        found: Any = await asked(self._client.hmget(name.key, fields))
        row: Row = {
            field: text(value)
            for field, value in zip(fields, found, strict=True)
            if value is not None
        }
        if "reservation" not in row:
            return None
        return Upload(
            row["reservation"],
            row["key"] or None,
            "completed" in row,
            int(row.get("completing", "0")) > 0,
            _subject(row.get("subject", "")),
        )

    async def claim(
        self, name: UploadName, part: int, size: int, *, lease_ms: int
    ) -> Claim | Busy | None:
        """Count a part that is about to be sent; None: there is no such upload, BUSY: it may be an
        object by now."""
        words = (_field(part), str(size), str(lease_ms + KEEP_MS))
        reply = await self._eval(_CLAIM, name, *words)
        if len(reply) < 2:
            return Busy.BUSY if reply else None
        reservation, key_id, total, subject = map(text, reply)
        return Claim(reservation, key_id or None, int(total), _subject(subject))

    async def land(self, name: UploadName, part: int, size: int | None) -> None:
        """A claimed part is stored; None: it is not."""
        await self._eval(_LAND, name, _field(part), "" if size is None else str(size))

    async def total(self, name: UploadName, parts: Sequence[int]) -> int:
        """Bytes of these parts together."""
        found: Any = await asked(self._client.hmget(name.key, [_field(part) for part in parts]))
        return sum(int(text(part).partition(" ")[0]) for part in found if part is not None)

    async def completing(self, name: UploadName, total: int, *, lease_ms: int) -> int | None:
        """An object of `total` bytes is about to be made of it. Returns how large it may be already
        by another request of that kind, of which nothing is known; None: there is none."""
        listed = text(await self._eval(_COMPLETING, name, str(lease_ms + KEEP_MS), str(total)))
        return int(listed) if listed else None

    async def completed(self, name: UploadName) -> None:
        await self._eval(_ENDED, name, str(KEEP_MS), "1")

    async def not_completed(self, name: UploadName) -> None:
        await self._eval(_ENDED, name, str(KEEP_MS), "0")

    async def forget(self, name: UploadName) -> None:
        await asked(self._client.delete(name.key), writes=True)

    async def _eval(self, script: str, name: UploadName, *words: str) -> Any:
        return await asked(self._client.eval(script, 1, name.key, *words), writes=True)


def _subject(written: str) -> tuple[str, str] | None:
    if not written:
        return None
    kind, name = orjson.loads(written)
    return kind, name


def _field(part: int) -> str:
    return f"part{part}"
