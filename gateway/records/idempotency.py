"""Idempotency rows: what became of a request that a client named, so that a repeat is harmless.

One row per account and client's key, for a day. It is claimed before anything is reserved, and
holds the answer, together with what is to be charged for it, before that is charged: whoever
answers a repeat can charge it again under the same reservation id, which has an effect once. So a
gateway may die at any moment between.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.records.failures import asked
from gateway.records.rows import RedisClient

# Claims the row, unless it is done, or claimed by others. KEYS: row.
# ARGV: fingerprint, pending_ms, by, the reservation whose doubt is over.
# Reply: {'claimed', attempt} | {'pending', fingerprint, reservation in doubt}
#   | {'done', fingerprint, attempt, answer}
_CLAIM = """
local state, print, by, attempt, answer = unpack(
  redis.call('HMGET', KEYS[1], 'state', 'print', 'by', 'attempt', 'answer'))
if state == 'done' then return {'done', print, attempt, answer} end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
local doubt = redis.call('HGET', KEYS[1], 'doubt') or ''
if state == 'pending' and doubt ~= '' and doubt ~= ARGV[4] then
  return {'pending', print, doubt}
end
if state == 'pending' and doubt == '' and now < until_ms and by ~= ARGV[3] then
  return {'pending', print, ''}
end
attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'state', 'pending', 'print', ARGV[1], 'by', ARGV[3],
  'until', string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('HDEL', KEYS[1], 'doubt')
redis.call('PEXPIRE', KEYS[1], 86400000)
return {'claimed', attempt}
"""

# Keeps a claim for longer. KEYS: row. ARGV: attempt, pending_ms. Reply: 1, or 0 if it is lost.
_KEEP = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return 1
"""

# Leaves a claim in doubt, until it is known what became of a reservation. KEYS: row.
# ARGV: attempt, reservation. Reply: 1, or 0 if it is lost.
_DOUBT = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return 0 end
redis.call('HSET', KEYS[1], 'doubt', ARGV[2])
return 1
"""

# Ends a claim with its answer, or gives it up (empty answer). KEYS: row. ARGV: attempt, answer.
# Reply: 1, or 0 if the claim is lost.
_END = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return 0 end
if ARGV[2] == '' then
  redis.call('HSET', KEYS[1], 'state', 'free')
else
  redis.call('HSET', KEYS[1], 'state', 'done', 'answer', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1
"""


@dataclass(frozen=True, slots=True)
class Charge:
    """What the answered request is charged: `amounts` is meter → amount, `reservation` what holds
    them; `key_id` and `subject` are those whose counters they are on as well."""

    reservation: str
    amounts: Mapping[str, int]
    asset: str | None = None
    key_id: str | None = None
    subject: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """`body` None: it was larger than is kept. `charge` None: nothing is charged for it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    charge: Charge | None
    body_print: str | None = None
    """SHA-256 of the request's body; None: not known, or not to be compared."""


@dataclass(frozen=True, slots=True)
class Claim:
    """This gateway is to carry the request out, for the `attempt`th time that anybody tries."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Pending:
    """Somebody is carrying it out. `doubt`: or has, and it is not known what became of this
    reservation."""

    fingerprint: str
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    fingerprint: str
    attempt: int
    answer: StoredAnswer


class Idempotency:
    """The rows. Every method raises StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def claim(
        self,
        account: str,
        name: str,
        fingerprint: str,
        *,
        pending_ms: int,
        by: str,
        settled: str = "",
    ) -> Claim | Pending | Done:
        """`name` is the client's key; a claim that is not kept ends after `pending_ms`, unless it
        is left in doubt: then when the reservation in doubt is `settled`. `by` is an id of this
        claim alone: with it, it is made once more should its reply be lost."""
        words = (fingerprint, str(pending_ms), by, settled)
        reply: Any = await self._run(_CLAIM, account, name, *words)
        match [_text(part) if at < 3 else part for at, part in enumerate(reply)]:
            case ["claimed", attempt]:
                return Claim(int(attempt))
            case ["pending", known, doubt]:
                return Pending(known, doubt)
            case ["done", known, attempt, answer]:
                return Done(known, int(attempt), _unpacked(answer))
            case other:
                raise AssertionError(f"unknown reply {other!r}")

    async def keep(self, account: str, name: str, attempt: int, *, pending_ms: int) -> bool:
        """False: the claim has ended, and somebody else may carry the request out."""
        return bool(await self._run(_KEEP, account, name, str(attempt), str(pending_ms)))

    async def doubt(self, account: str, name: str, attempt: int, reservation: str) -> bool:
        """Nobody carries the request out again until this reservation is settled."""
        return bool(await self._run(_DOUBT, account, name, str(attempt), reservation))

    async def answered(self, account: str, name: str, attempt: int, answer: StoredAnswer) -> bool:
        return bool(await self._run(_END, account, name, str(attempt), _packed(answer)))

    async def give_up(self, account: str, name: str, attempt: int) -> bool:
        """The next request with this key is carried out anew."""
        return bool(await self._run(_END, account, name, str(attempt), ""))

    async def _run(self, script: str, account: str, name: str, *args: str | bytes) -> Any:
        digest = hashlib.sha256(name.encode()).hexdigest()
        key = f"qg:{{{account}}}:idempotency:{digest}"
        call: Any = self._client.eval(script, 1, key, *args)
        return await asked(call, writes=True)


def _packed(answer: StoredAnswer) -> bytes:
    charge = answer.charge
    head = {
        "status": answer.status,
        "headers": answer.headers,
        "kept": answer.body is not None,
        "charge": None if charge is None else _charge_words(charge),
        "body_print": answer.body_print,
    }
    return orjson.dumps(head) + b"\n" + (answer.body or b"")


def _unpacked(stored: bytes | str) -> StoredAnswer:
    raw = stored.encode() if isinstance(stored, str) else stored
    line, _, body = raw.partition(b"\n")
    head = orjson.loads(line)
    charge = head["charge"]
    return StoredAnswer(
        head["status"],
        tuple((name, value) for name, value in head["headers"]),
        body if head["kept"] else None,
        None if charge is None else _charge(*charge),
        head["body_print"],
    )


def _charge_words(charge: Charge) -> list[Any]:
    return [
        *(charge.reservation, dict(charge.amounts), charge.asset, charge.key_id),
        charge.subject,
    ]


def _charge(
    reservation: str,
    amounts: Mapping[str, int],
    asset: str | None,
    key_id: str | None,
    subject: Sequence[str] | None = None,
) -> Charge:
    of = None if subject is None else (subject[0], subject[1])
    return Charge(reservation, amounts, asset, key_id, of)


def _text(part: bytes | str | int) -> str:
    return part.decode() if isinstance(part, bytes) else str(part)
