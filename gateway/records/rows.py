"""Rows: small hashes in Redis that are created and changed whole, one script each.

A change and the message that tells every gateway of it are one atomic step: a change that was
written is a change that was published.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.errors import StoreError
from gateway.records.failures import asked

RedisClient = Redis | RedisCluster
Row = dict[str, str]

CHANNEL = "qg:invalidate"

_NOW = """
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
"""

# Creates a row unless it exists. KEYS: row. ARGV: channel, message, field, value, ...
# Reply: {1 or 0 (it existed), its fields and values}.
_CREATE = f"""
local row = redis.call('HGETALL', KEYS[1])
if #row > 0 then return {{0, row}} end
{_NOW}
redis.call('HSET', KEYS[1], 'created_ms', now, unpack(ARGV, 3))
redis.call('PUBLISH', ARGV[1], ARGV[2])
return {{1, redis.call('HGETALL', KEYS[1])}}
"""

# Changes fields of a row that exists; an empty value removes its field.
# KEYS: row. ARGV: channel, message, field, value, ... Reply: fields and values, none if no row.
_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return redis.call('HGETALL', KEYS[1])
"""

# Lets a row end at now + ARGV[3] ms, or earlier if it already does. KEYS: row.
# ARGV: channel, message, after_ms. Reply: fields and values, none if there is no row.
_END = f"""
if redis.call('EXISTS', KEYS[1]) == 0 then return {{}} end
{_NOW}
local last = string.format('%.0f', tonumber(now) + tonumber(ARGV[3]))
local first = redis.call('HGET', KEYS[1], 'expires_ms')
if not first or tonumber(last) < tonumber(first) then
  redis.call('HSET', KEYS[1], 'expires_ms', last)
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return redis.call('HGETALL', KEYS[1])
"""


class Rows:
    """Creates, reads and changes rows. Every method raises StoreError and nothing else of Redis."""

    __slots__ = ("client",)

    def __init__(self, client: RedisClient) -> None:
        self.client = client

    async def read(self, key: str) -> Row:
        """The row's fields; empty if there is none. A transient failure is tried once more."""
        try:
            return await self._read(key)
        except StoreError as failure:
            if not failure.transient:
                raise
        return await self._read(key)

    async def create(self, key: str, fields: Mapping[str, str], message: bytes) -> tuple[bool, Row]:
        """(True, the new row with `created_ms`), or (False, the row that stood there before)."""
        fresh, row = await self._run(_CREATE, key, message, *_flat(fields))
        return bool(fresh), _row(row)

    async def change(self, key: str, fields: Mapping[str, str], message: bytes) -> Row:
        """The row after the change, empty if there is none. An empty value removes its field."""
        return _row(await self._run(_CHANGE, key, message, *_flat(fields)))

    async def end(self, key: str, after_ms: int, message: bytes) -> Row:
        """Set `expires_ms` to `after_ms` from now by the store's clock, unless it is earlier."""
        return _row(await self._run(_END, key, message, str(after_ms)))

    async def _read(self, key: str) -> Row:
        found = await asked(self.client.hgetall(key))
        return {text(field): text(value) for field, value in found.items()}

    async def _run(self, script: str, key: str, message: bytes, *args: str) -> Any:
        call = self.client.eval(script, 1, key, CHANNEL, message, *args)
        return await asked(call, writes=True)


def text(value: bytes | str) -> str:
    """Redis's answer as text, whether or not the client decodes."""
    return value.decode() if isinstance(value, bytes) else value


def _flat(fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(part for pair in fields.items() for part in pair)


def _row(parts: Sequence[bytes | str]) -> Row:
    words = [text(part) for part in parts]
    return dict(zip(words[::2], words[1::2], strict=True))
