"""Doubts: requests whose last byte was sent and whose answer never came, until it is known.

The reservation is extended first, then the row is written: a gateway that dies in between leaves a
reservation that ends with its lease, as without any row. Gateways share the work by claiming: what
one has claimed is not due for the others until its claim has ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

DUE = "qg:doubts"
"""Sorted set of `account/reservation` by when somebody is to look."""

# Takes what is due and puts it off for the others. KEYS: due. ARGV: count, claim_ms.
_CLAIM = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now),
  'LIMIT', 0, ARGV[1])
for i = 1, #found do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), found[i])
end
return {string.format('%.0f', now), found}
"""

# Lets a row be due in a while. KEYS: due. ARGV: member, after_ms.
_DUE_IN = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
return string.format('%.0f', now)
"""


# Takes one out of its turn, unless somebody has it: then its turn is far off.
# KEYS: due. ARGV: member, claim_ms, far_ms. Reply: now, or nothing.
_CLAIM_ONE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local turn = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not turn or tonumber(turn) > now + tonumber(ARGV[3]) then return '' end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
return string.format('%.0f', now)
"""


class DoubtKind(StrEnum):
    STORE = "store"
    DELETE = "delete"
    COMPLETION = "completion"
    """Of an upload in parts, which goes on if it was not completed."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """`held` is meter → amount reserved. `until_ms`: when the lease ends, by the store's clock.
    `params` are those of the route's path, for its probe. `named`: what the client called the
    request, and which attempt at it this was."""

    account: str
    reservation: str
    route: str
    params: Mapping[str, str]
    held: Mapping[str, int]
    asset: str | None
    key_id: str | None
    subject: tuple[str, str] | None
    kind: DoubtKind = DoubtKind.STORE
    named: tuple[str, int] | None = None
    since_ms: int = 0
    until_ms: int = 0


class Doubts:
    """The rows. Every method raises StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def open(self, doubt: Doubt, *, lease_ms: int, look_after_ms: int) -> None:
        """Record a doubt whose reservation lives for `lease_ms` from now."""
        now: Any = await asked(
            self._client.eval(_DUE_IN, 1, DUE, _member(doubt), str(look_after_ms)), writes=True
        )
        row = {
            "route": doubt.route,
            "params": dict(doubt.params),
            "held": dict(doubt.held),
            "asset": doubt.asset,
            "key_id": doubt.key_id,
            "subject": doubt.subject,
            "kind": doubt.kind.value,
            "named": doubt.named,
            "since_ms": int(now),
            "until_ms": int(now) + lease_ms,
        }
        call = self._client.set(_key(doubt.account, doubt.reservation), orjson.dumps(row))
        await asked(call, writes=True)

    async def claim(self, count: int, *, claim_ms: int) -> tuple[int, tuple[Doubt, ...]]:
        """The store's time, and up to `count` doubts that are due; for others not, meanwhile."""
        reply: Any = await asked(
            self._client.eval(_CLAIM, 1, DUE, str(count), str(claim_ms)), writes=True
        )
        found = [await self._read(text(member)) for member in reply[1]]
        return int(reply[0]), tuple(doubt for doubt in found if doubt is not None)

    async def get(self, account: str, reservation: str) -> Doubt | None:
        return await self._read(f"{account}/{reservation}")

    async def claim_one(self, doubt: Doubt, *, claim_ms: int, far_ms: int) -> int | None:
        """The store's time; None: somebody has it, or its turn is more than `far_ms` away."""
        call = self._client.eval(_CLAIM_ONE, 1, DUE, _member(doubt), str(claim_ms), str(far_ms))
        reply = text(await asked(call, writes=True))
        return int(reply) if reply else None

    async def look_again(self, doubt: Doubt, after_ms: int) -> None:
        await asked(self._client.eval(_DUE_IN, 1, DUE, _member(doubt), str(after_ms)), writes=True)

    async def close(self, doubt: Doubt) -> None:
        """It is settled."""
        await asked(self._client.zrem(DUE, _member(doubt)), writes=True)
        await asked(self._client.delete(_key(doubt.account, doubt.reservation)), writes=True)

    async def list(self, count: int = 1_000) -> tuple[Doubt, ...]:
        """Up to `count` doubts, those that are due first before the others."""
        members: Any = await asked(self._client.zrange(DUE, 0, count - 1))
        found = [await self._read(text(member)) for member in members]
        return tuple(doubt for doubt in found if doubt is not None)

    async def _read(self, member: str) -> Doubt | None:
        account, _, reservation = member.partition("/")
        stored = await asked(self._client.get(_key(account, reservation)))
        if stored is None:
            await asked(self._client.zrem(DUE, member), writes=True)
            return None
        row = orjson.loads(stored)
        subject, named = row["subject"], row.get("named")
        return Doubt(
            account,
            reservation,
            row["route"],
            row["params"],
            row["held"],
            row["asset"],
            row["key_id"],
            None if subject is None else (subject[0], subject[1]),
            DoubtKind(row.get("kind", DoubtKind.STORE)),
            None if named is None else (named[0], named[1]),
            row["since_ms"],
            row["until_ms"],
        )


def _member(doubt: Doubt) -> str:
    return f"{doubt.account}/{doubt.reservation}"


def _key(account: str, reservation: str) -> str:
    return f"qg:{{{account}}}:doubt:{reservation}"
