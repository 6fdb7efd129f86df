"""Due lists: what is to be looked at when, shared by any number of gateways.

A gateway claims what is due before it looks: for the others it is then not due until the claim has
run out, so that work is neither doubled nor lost with a gateway that dies of it. Time is the
store's.
"""

from collections.abc import Sequence
from typing import Any

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Takes what is due and puts it off for the others. KEYS: due. ARGV: count, claim_ms.
# Reply: now, the members.
_CLAIM = f"""
{_NOW}
local till = string.format('%.0f', now)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', till, 'LIMIT', 0, ARGV[1])
for i = 1, #found do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), found[i])
end
return {{till, found}}
"""

# Lets a member be due in a while. KEYS: due. ARGV: CH or NX, after_ms, member.
_PUT = f"""
{_NOW}
return redis.call('ZADD', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]), ARGV[3])
"""


# Drops a member, or lets it be due in a while, unless its turn was moved. KEYS: due.
# ARGV: member, its turn, after_ms or nothing. Reply: 1, or 0 if it was moved.
_UNLESS_MOVED = f"""
{_NOW}
local turn = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not turn or tonumber(turn) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[1])
return 1
"""


EVENTS = "qg:events"
"""The due list of accounts with events of usage to deliver."""


class DueList:
    """One sorted set of members by when somebody is to look. Everything raises StoreError."""

    __slots__ = ("_client", "_key")

    def __init__(self, client: RedisClient, key: str) -> None:
        self._client = client
        self._key = key

    async def put(self, member: str, after_ms: int) -> None:
        """Let it be due `after_ms` from now, whenever it was before."""
        await self._put("CH", member, after_ms)

    async def add(self, member: str, after_ms: int) -> None:
        """Let it be due `after_ms` from now, unless it is on the list already."""
        await self._put("NX", member, after_ms)

    async def claim(self, count: int, *, claim_ms: int) -> tuple[int, Sequence[str]]:
        """The store's time, and up to `count` members that are due."""
        call = self._client.eval(_CLAIM, 1, self._key, str(count), str(claim_ms))
        reply: Any = await asked(call, writes=True)
        return int(reply[0]), [text(member) for member in reply[1]]

    async def drop(self, member: str) -> None:
        await asked(self._client.zrem(self._key, member), writes=True)

    async def unless_moved(self, member: str, turn_ms: int, after_ms: int | None) -> bool:
        """Let it be due `after_ms` from now, or never more (None); not if somebody has let it be
        due at another time than `turn_ms` since."""
        after = "" if after_ms is None else str(after_ms)
        call = self._client.eval(_UNLESS_MOVED, 1, self._key, member, str(turn_ms), after)
        return bool(await asked(call, writes=True))

    async def _put(self, how: str, member: str, after_ms: int) -> None:
        call = self._client.eval(_PUT, 1, self._key, how, str(after_ms), member)
        await asked(call, writes=True)
