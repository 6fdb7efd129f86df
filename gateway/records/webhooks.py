"""Webhooks: what is to be told to clients in an upstream's place, until it is told.

A message is kept once, by what it says: an upstream that repeats itself is relayed once. Gateways
share the work by claiming.
"""

import hashlib
from dataclasses import dataclass

from gateway.records.due import DueList
from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

DUE = "qg:webhooks:due"

_KEEP_MS = 3 * 86_400_000
"""How long a message is known, told or not."""


# Keeps a message unless it is known. KEYS: message. ARGV: keep_ms, field, value, ...
# Reply: 1 if it is still to be told.
_ADD = """
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('HEXISTS', KEYS[1], 'body') end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What an upstream says to `url`, in the media type `kind`, of a job of `rule`."""

    account: str
    reservation: str
    rule: str
    url: str
    body: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class Message:
    """`rule` is that of the job; `tries` how often it was tried to tell it."""

    member: str
    rule: str
    url: str
    body: bytes
    kind: str
    tries: int


class Webhooks:
    """Everything raises StoreError."""

    __slots__ = ("_client", "_due")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._due = DueList(client, DUE)

    async def add(self, new: NewMessage) -> None:
        """Let this be told, unless it was or is about to be."""
        name = hashlib.sha256(new.body).hexdigest()[:32]
        member = f"{new.account}/{new.reservation}/{name}"
        fields = ("rule", new.rule, "url", new.url, "body", new.body, "kind", new.kind, "tries", 0)
        call = self._client.eval(_ADD, 1, _key(member), _KEEP_MS, *fields)
        if await asked(call, writes=True):
            await self._due.add(member, 0)

    async def claim(self, count: int, *, claim_ms: int) -> tuple[Message, ...]:
        _, members = await self._due.claim(count, claim_ms=claim_ms)
        found = [await self._read(member) for member in members]
        return tuple(message for message in found if message is not None)

    async def told(self, message: Message) -> None:
        """It was told, or given up. That it was is known for a while."""
        await asked(self._client.hdel(_key(message.member), "body"), writes=True)
        await self._due.drop(message.member)

    async def again(self, message: Message, after_ms: int) -> None:
        """It could not be told; to be tried again later."""
        await asked(self._client.hincrby(_key(message.member), "tries", 1), writes=True)
        await self._due.put(message.member, after_ms)

    async def _read(self, member: str) -> Message | None:
        found = await asked(self._client.hgetall(_key(member)))
        row = {text(name): value for name, value in found.items()}
        if not {"rule", "url", "body", "kind", "tries"} <= row.keys():
            await self._due.drop(member)
            return None
        body = row["body"]
        return Message(
            member,
            text(row["rule"]),
            text(row["url"]),
            body.encode() if isinstance(body, str) else body,
            text(row["kind"]),
            int(row["tries"]),
        )


def _key(member: str) -> str:
    account, _, rest = member.partition("/")
    return f"qg:{{{account}}}:webhook:{rest}"
