"""Outbox: an event of usage for each commit, written by the script that commits, read in order.

A Redis stream for each account. The cursor names the last event that was delivered; what was is
kept for a while, so that it can be delivered again. The number of an event is its instant by the
store's clock and a counter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis, RedisCluster

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.frame import Frame, Terms
from gateway.ledger.keys import account_key, keys_of
from gateway.ledger.redispy import told

FIRST = "0-0"
"""A cursor before every event."""

COUNTED_AT_ONCE = 1_000

# Moves the cursor on, unless somebody has set it elsewhere since. KEYS: cursor.
# ARGV: where it was, where it is before all events, where it is to be. Reply: 1, or 0.
_MOVE = """
if (redis.call('GET', KEYS[1]) or ARGV[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What one commit charged of a meter, in the period [start_ms, end_ms) that it counts in; 0 and
    None where it counts for ever."""

    meter: str
    unit: str
    amount: int
    period_start_ms: int
    period_end_ms: int | None


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """`number` orders the events of an account, `id` is the reservation's."""

    number: str
    id: str
    account: str
    lines: tuple[UsageLine, ...]
    subject: tuple[str, str] | None = None

    @property
    def at_ms(self) -> int:
        return int(self.number.partition("-")[0])


@dataclass(frozen=True, slots=True)
class OutboxState:
    """`waiting` events come after the cursor, `kept` are there in all."""

    cursor: str
    waiting: int
    kept: int


def event_of(terms: Terms, frame: Frame, reservation_id: str, charged: Mapping[str, int]) -> bytes:
    """The event of a commit in this frame, as the outbox keeps it."""
    lines = []
    for meter, amount in charged.items():
        period = frame.counters[meter][0].period
        unit = terms.meters[meter].unit
        lines.append((meter, unit, amount, period.start_ms, period.end_ms))
    return orjson.dumps({"id": reservation_id, "lines": lines, "subject": terms.subject})


class Outbox:
    """Verbs raise StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: "Redis | RedisCluster") -> None:
        self._client: Any = client

    async def cursor(self, account: str) -> str:
        """The number of the last event that was delivered."""
        with told("outbox"):
            cursor = await self._client.get(_cursor_key(account))
        return FIRST if cursor is None else str(cursor.decode())

    async def after(self, account: str, cursor: str, count: int) -> tuple[UsageEvent, ...]:
        """The next events after a cursor, oldest first."""
        with told("outbox"):
            found = await self._client.xrange(keys_of(account).outbox, f"({cursor}", "+", count)
        return tuple(_event(account, name.decode(), row) for name, row in found)

    async def waiting(self, account: str, count: int) -> tuple[UsageEvent, ...]:
        """The next events to be delivered."""
        return await self.after(account, await self.cursor(account), count)

    async def delivered(self, account: str, cursor: str, number: str, keep_ms: int) -> bool:
        """Everything up to this event has arrived; what arrived long ago is forgotten. False: the
        cursor is not where it was any more, because events are to be delivered again, or others
        deliver them."""
        oldest = max(0, int(number.partition("-")[0]) - keep_ms)
        key = _cursor_key(account)
        with told("outbox"):
            moved = await self._client.eval(_MOVE, 1, key, cursor, FIRST, number)
            if moved:
                await self._client.xtrim(keys_of(account).outbox, minid=oldest, approximate=True)
        return bool(moved)

    async def bound(self, account: str, most: int) -> int:
        """Drop the oldest events beyond so many; how many of these had not been delivered."""
        cursor, outbox, lost = _order(await self.cursor(account)), keys_of(account).outbox, 0
        with told("outbox"):
            excess = await self._client.xlen(outbox) - most
            while excess > 0:
                page = min(excess, COUNTED_AT_ONCE)
                found = [_order(name.decode()) for name, _ in
                         await self._client.xrange(outbox, count=page)]  # fmt: skip
                if not found:
                    break
                lost += sum(number > cursor for number in found)
                last_ms, count = found[-1]
                await self._client.xtrim(outbox, minid=f"{last_ms}-{count + 1}", approximate=False)
                excess -= len(found)
        return lost

    async def rewind(self, account: str, since_ms: int) -> int:
        """Deliver again what was left at or after an instant; how many events that are."""
        cursor = f"{since_ms - 1}-{2**63 - 1}" if since_ms > 0 else FIRST
        with told("outbox"):
            await self._client.set(_cursor_key(account), cursor)
        return (await self.state(account)).waiting

    async def state(self, account: str) -> OutboxState:
        cursor = at = await self.cursor(account)
        outbox, waiting = keys_of(account).outbox, 0
        with told("outbox"):
            kept = await self._client.xlen(outbox)
            while found := await self._client.xrange(outbox, f"({at}", "+", COUNTED_AT_ONCE):
                waiting += len(found)
                at = found[-1][0].decode()
        return OutboxState(cursor, waiting, kept)


def _order(number: str) -> tuple[int, int]:
    at_ms, _, count = number.partition("-")
    return int(at_ms), int(count)


def _cursor_key(account: str) -> bytes:
    return account_key(account, "outbox:cursor")


def _event(account: str, number: str, row: Mapping[bytes, bytes]) -> UsageEvent:
    """Raises StoreError for what no commit has written: nothing is delivered past it."""
    try:
        said = orjson.loads(row[b"event"])
        subject = said["subject"]
        return UsageEvent(
            number,
            said["id"],
            account,
            tuple(UsageLine(*line) for line in said["lines"]),
            None if subject is None else (subject[0], subject[1]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as damage:
        message = f"event {number} of account {account} cannot be read"
        raise StoreError(STORE_UNAVAILABLE, message, transient=False) from damage
