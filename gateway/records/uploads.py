"""Resumable uploads: what is known of each between its requests, so that any gateway can go on.

An upload is known by its path at the gateway, within its account: another account's upload is as
unknown as one that never was. A row is written before the client hears of its upload, while the
reservation behind it has a lease of seconds; only then is that lease extended. So a gateway that
dies in between leaves a row whose reservation ends by itself, never one that is held for nothing.
A row outlives its reservation by a day; what was stored is known after that by being charged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from gateway.records.due import DueList
from gateway.records.failures import asked
from gateway.records.rows import RedisClient, Row, text

KEEP_MS = 86_400_000
"""How long a row outlives the lease of its reservation."""

DUE = "qg:uploads:due"

BODY = "body"
"""As an amount: as much as the upload is long."""


class UploadState(StrEnum):
    OPEN = "open"
    WHOLE = "whole"
    """A partial upload with all of its bytes: held until a final one takes them over."""
    STORED = "stored"
    """All of it is at the upstream, and charged."""
    JOINED = "joined"
    """A partial upload whose bytes are charged with a final one."""


@dataclass(frozen=True, slots=True)
class Upload:
    """`amounts` is meter → what it counts, as the route said at the creation. `length` None: not
    known yet. `offset` None: bytes may have gone on since it was last told. `parts` are the
    reservations of the partial uploads that a final one is made of. `route` serves it, and the
    upstream knows it by `target`."""

    path: str
    reservation_id: str
    amounts: Mapping[str, str | int]
    key_id: str | None = None
    subject: tuple[str, str] | None = None
    length: int | None = None
    offset: int | None = None
    asset: str | None = None
    state: UploadState = UploadState.OPEN
    partial: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    """Path → reservation id."""
    route: str = ""
    target: str = ""
    interop: str = ""
    """Which draft of the IETF's the client speaks, if it does."""

    def actual(self, length: int) -> dict[str, int]:
        """Meter → amount, once it is `length` bytes long."""
        return {
            meter: length if isinstance(amount, str) else amount
            for meter, amount in self.amounts.items()
        }


# Writes a row in place of any other. KEYS: row. ARGV: keep_ms, field, value, ...
_RECORD = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

# Reads a row and marks its offset as unknown: bytes are about to go on. KEYS: row.
# Reply: fields and values, none if there is no row.
_BEGIN = """
local row = redis.call('HGETALL', KEYS[1])
if redis.call('HGET', KEYS[1], 'state') == 'open' then
  redis.call('HSET', KEYS[1], 'offset', '')
  redis.call('HDEL', KEYS[1], 'asked_ms')
end
return row
"""

# Changes fields of a row that exists. KEYS: row. ARGV: keep_ms, field, value, ... Reply: 1 if it
# exists.
_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""


# Lets one claimant have partial uploads for a while, each that nobody else has just now.
# KEYS: rows. ARGV: claimant, for_ms. Reply: 1 for each that it has, else 0.
_CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for i, key in ipairs(KEYS) do
  local row = redis.call('HMGET', key, 'state', 'claim', 'until')
  local free = not row[2] or row[2] == '' or row[2] == ARGV[1] or tonumber(row[3]) <= now
  reply[i] = 0
  if free and (row[1] == 'open' or row[1] == 'whole') then
    redis.call('HSET', key, 'claim', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
    reply[i] = 1
  end
end
return reply
"""

# When it was first asked about since bytes went on. KEYS: row. ARGV: now. Reply: that instant, or
# nothing if there is no such row.
_ASKED = """
if redis.call('EXISTS', KEYS[1]) == 0 then return '' end
redis.call('HSETNX', KEYS[1], 'asked_ms', ARGV[1])
return redis.call('HGET', KEYS[1], 'asked_ms')
"""

# Ends a claim. KEYS: rows. ARGV: claimant.
_UNCLAIM = """
for _, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'claim') == ARGV[1] then redis.call('HDEL', key, 'claim', 'until') end
end
return 0
"""


class Uploads:
    """The rows. Every method raises StoreError and nothing else of Redis."""

    __slots__ = ("_client", "_due")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._due = DueList(client, DUE)

    async def record(self, account: str, upload: Upload, lease_ms: int) -> None:
        """Write a row anew. An upstream that gives a path again means another upload by it."""
        key, keep = _key(account, upload.path), str(lease_ms + KEEP_MS)
        words = [word for field in _row(upload).items() for word in field]
        await asked(self._client.eval(_RECORD, 1, key, keep, *words), writes=True)

    async def find(self, account: str, path: str) -> Upload | None:
        found = await asked(self._client.hgetall(_key(account, path)))
        row = {text(name): text(value) for name, value in found.items()}
        return _upload(path, row) if row else None

    async def begin(self, account: str, path: str) -> Upload | None:
        """What is known of an upload that is about to get bytes. From here on its offset is not."""
        parts = await asked(self._client.eval(_BEGIN, 1, _key(account, path)), writes=True)
        words = [text(part) for part in parts]
        row = dict(zip(words[::2], words[1::2], strict=True))
        return _upload(path, row) if row else None

    async def learn(self, account: str, upload: Upload, lease_ms: int) -> None:
        """Its offset, length and state as the upstream has told them."""
        await self._change(
            account,
            upload.path,
            lease_ms,
            offset=_number(upload.offset),
            length=_number(upload.length),
            state=upload.state.value,
        )

    async def mark(self, account: str, path: str, lease_ms: int, state: UploadState) -> None:
        await self._change(account, path, lease_ms, state=state.value)

    async def claim(
        self, account: str, paths: Sequence[str], claimant: str, for_ms: int
    ) -> tuple[str, ...]:
        """Those of the partial uploads that the claimant has now, alone, for `for_ms`."""
        keys = [_key(account, path) for path in paths]
        call = self._client.eval(_CLAIM, len(keys), *keys, claimant, str(for_ms))
        taken = await asked(call, writes=True)
        return tuple(path for path, one in zip(paths, taken, strict=True) if one)

    async def unclaim(self, account: str, paths: Sequence[str], claimant: str) -> None:
        keys = [_key(account, path) for path in paths]
        await asked(self._client.eval(_UNCLAIM, len(keys), *keys, claimant), writes=True)

    async def forget(self, account: str, paths: Sequence[str]) -> None:
        await asked(self._client.delete(*(_key(account, path) for path in paths)), writes=True)

    # -- what is not known of those that got bytes ------------------------------------------------

    async def ask_in(self, account: str, path: str, after_ms: int) -> None:
        """Let somebody ask the upstream about it, unless its offset is known by then."""
        await self._due.put(f"{account} {path}", after_ms)

    async def due(self, count: int, *, claim_ms: int) -> tuple[int, Sequence[tuple[str, str]]]:
        """The store's time, and account and path of up to `count` uploads to ask about, which for
        others are not due meanwhile."""
        now_ms, members = await self._due.claim(count, claim_ms=claim_ms)
        return now_ms, [(account, path) for account, _, path in (m.partition(" ") for m in members)]

    async def asked(self, account: str, path: str, now_ms: int) -> int:
        """Since when it is asked about in vain."""
        call = self._client.eval(_ASKED, 1, _key(account, path), str(now_ms))
        reply = text(await asked(call, writes=True))
        return int(reply) if reply else now_ms

    async def ask_again(self, account: str, path: str, turn_ms: int, after_ms: int | None) -> None:
        """Let somebody ask again in a while, or nobody any more (None); unless bytes have gone on
        since it was claimed until `turn_ms`."""
        await self._due.unless_moved(f"{account} {path}", turn_ms, after_ms)

    async def charged(self, account: str, asset: str) -> bool:
        """Whether something of that name is stored and on the account's books."""
        return bool(await asked(self._client.hexists(f"qg:{{{account}}}:assets", asset)))

    async def _change(self, account: str, path: str, lease_ms: int, **fields: str) -> None:
        words = [word for field in fields.items() for word in field]
        call = self._client.eval(_CHANGE, 1, _key(account, path), str(lease_ms + KEEP_MS), *words)
        await asked(call, writes=True)


def _key(account: str, path: str) -> str:
    return f"qg:{{{account}}}:upload:{path}"


def _row(upload: Upload) -> dict[str, str]:
    return {
        "reservation": upload.reservation_id,
        "amounts": orjson.dumps(dict(upload.amounts)).decode(),
        "key": upload.key_id or "",
        "subject": "" if upload.subject is None else orjson.dumps(upload.subject).decode(),
        "length": _number(upload.length),
        "offset": _number(upload.offset),
        "asset": upload.asset or "",
        "state": upload.state.value,
        "partial": "1" if upload.partial else "",
        "parts": orjson.dumps(dict(upload.parts)).decode(),
        "route": upload.route,
        "target": upload.target,
        "interop": upload.interop,
    }


def _upload(path: str, row: Row) -> Upload:
    subject = orjson.loads(row["subject"]) if row["subject"] else None
    return Upload(
        path=path,
        reservation_id=row["reservation"],
        amounts=orjson.loads(row["amounts"]),
        key_id=row["key"] or None,
        subject=None if subject is None else (subject[0], subject[1]),
        length=int(row["length"]) if row["length"] else None,
        offset=int(row["offset"]) if row["offset"] else None,
        asset=row["asset"] or None,
        state=UploadState(row["state"]),
        partial=bool(row["partial"]),
        parts=orjson.loads(row["parts"]),
        route=row.get("route", ""),
        target=row.get("target", ""),
        interop=row.get("interop", ""),
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
