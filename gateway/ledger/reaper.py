"""Reaper: ends the leases of gateways that died, on accounts that nobody asks about any more.

Admission and usage never depend on it: each script ends the due leases of its account first. What
it adds is that a quiet account is free again too, within seconds. The store keeps when each account
with open reservations is due for a look: when its next lease ends, or soon after a gateway said it
was busy, which it does ahead of the reservation and on the same connection: a gateway that is
killed at its grant has been heard. (In a cluster they go to different nodes, and may cross.) Of any
number of gateways one takes an account on, and a lease ends once anyway.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.clock import ALONE, Turns, monotonic_s
from gateway.errors import StoreError
from gateway.ledger import scripts
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Expired
from gateway.ledger.redispy import told
from gateway.ledger.template import Template, Words, bulk
from gateway.ledger.transport import Prompt, Transport
from gateway.tasks import TaskSet

log = logging.getLogger(__name__)

BUSY_SCRIPT = scripts.load("busy")
LOOKED_SCRIPT = scripts.load("looked")

BUSY = "qg:busy"
"""Sorted set of accounts that may have open reservations, by when they are due for a look (ms). A
hint: a missing entry costs only time, since any question about the account ends its due leases."""

ROUND_S = 2.0
NOTE_EVERY_S = 3.0
QUIET_AFTER_S = 5.0
"""From a look that found nothing open to the one that forgets the account. Longer than any gateway
that has noted it before keeps that to itself: what it opens next has been noted anew."""
LOOK_AFTER_MS = 10_000
"""After an account was said to be busy; as long as a lease, for then it may be due."""
CLAIM_MS = 60_000
"""After which an account is looked at again when the gateway that took it on has died of it."""
BATCH = 512
ABREAST = 32
"""Accounts that are looked at together, in one write to the store."""
NOTED_MAX = 100_000

Claimed = tuple[bytes, bytes]
"""An account that was taken on, and the claim on it."""


class Reaper:
    """`note` on the way of every request; `start` for the rest. `ahead` is what reservations go by.
    `failures` counts what could not be written or asked: nothing is lost by it but time."""

    def __init__(
        self,
        ledger: Ledger,
        client: "Redis | RedisCluster",
        *,
        on_expired: Callable[[Expired], None] = lambda expired: None,
        round_s: float = ROUND_S,
        look_after_ms: int = LOOK_AFTER_MS,
        ahead: Transport | None = None,
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._on_expired = on_expired
        self._round_s = round_s
        self._look_after_ms = look_after_ms
        self._quiet: deque[tuple[float, Claimed]] = deque()
        """Had nothing open, and since when; its claim stands."""
        self._noted: dict[str, float] = {}
        self._fresh: set[str] = set()
        self._telling = False
        self._ahead = ahead if isinstance(ahead, Prompt) else None
        self._one = Template(BUSY_SCRIPT, self._of_one, ((b"one",), (b"other",)))
        self._tasks = TaskSet()
        self.failures = 0

    def attend(self) -> None:
        """Be told by the ledger whenever it reserves, or extends."""
        self._ledger.on_reserving = self.note
        self._ledger.on_extended = self.note_lasting

    def note(self, account: str) -> None:
        """The account has an open reservation here, or asks for one next. The store is told ahead
        of what is asked next, and again every few seconds as long as it is noted."""
        now_s = monotonic_s()
        if now_s - self._noted.get(account, float("-inf")) < NOTE_EVERY_S:
            return
        if len(self._noted) >= NOTED_MAX:
            self._noted.clear()
        self._noted[account] = now_s
        call = self._one.call((bulk(account.encode()),))
        if self._ahead is None or not self._ahead.send(call, partial(self._heard, account)):
            self.note_lasting(account)

    def _heard(self, account: str, reply: Any) -> None:
        if type(reply) is not list:  # It could not be told so, or the script is not known there.
            self.note_lasting(account)

    def note_lasting(self, account: str) -> None:
        """The account has an open reservation that nobody will note again: told to the store in any
        case, because what was noted before may have been looked at and forgotten since."""
        self._fresh.add(account)
        if not self._telling:
            self._telling = True
            self._tasks.start(self._tell(), name="tell the store which accounts are busy")

    def start(self, turns: Turns = ALONE) -> None:
        self._tasks.start(self._run(turns), name="reaper")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def sweep(self) -> int:
        """Take on the accounts that are due and end their due leases; returns how many ended.
        Raises StoreError."""
        quiet = self._still_quiet()
        ended = 0
        while True:
            claim, *due = await self._busy(BATCH)
            claimed = [(account, claim) for account in due]
            ended += await self._look_at(claimed, last=False)
            if len(due) < BATCH:
                return ended + await self._look_at(quiet, last=True)

    def _still_quiet(self) -> list[Claimed]:
        """Those that are looked at for the last time now."""
        before_s, quiet = monotonic_s() - QUIET_AFTER_S, self._quiet
        found = []
        while quiet and quiet[0][0] <= before_s:
            found.append(quiet.popleft()[1])
        return found

    async def _look_at(self, claimed: Sequence[Claimed], *, last: bool) -> int:
        ended = 0
        for start in range(0, len(claimed), ABREAST):
            ended += await self._look(claimed[start : start + ABREAST], last=last)
        return ended

    async def _look(self, claimed: Sequence[Claimed], *, last: bool) -> int:
        now_s = monotonic_s()
        answers = await asyncio.gather(
            *(self._expire(account.decode()) for account, _ in claimed), return_exceptions=True
        )
        ended = 0
        looked: list[bytes] = []
        failure: BaseException | None = None
        for (account, claim), answer in zip(claimed, answers, strict=True):
            if isinstance(answer, BaseException):
                failure = answer  # Its claim runs out, and it is looked at again.
                continue
            count, next_end_ms = answer
            ended += count
            if next_end_ms is not None:
                looked += (account, claim, b"%d" % next_end_ms)
            elif last:
                looked += (account, claim, b"")
            else:
                self._quiet.append((now_s, (account, claim)))
        if looked:
            await self._eval(LOOKED_SCRIPT, *looked)
        if failure is not None:
            raise failure
        return ended

    async def _expire(self, account: str) -> tuple[int, int | None]:
        """How many leases ended, and when the next one will."""
        ended = 0
        while True:
            expired = await self._ledger.expire(account)
            ended += expired.count
            if expired.count:
                self._on_expired(expired)
            if not expired.more:
                return ended, expired.next_lease_end_ms

    async def _tell(self) -> None:
        try:
            while self._fresh:
                await self._busy(0)
        except StoreError as failure:
            self.failures += 1
            log.debug("the store could not be told which accounts are busy: %s", failure)
        finally:
            self._telling = False

    async def _busy(self, batch: int) -> list[bytes]:
        """Tell which accounts are busy; take on up to `batch` that are due: claim, accounts."""
        fresh, self._fresh = self._fresh, set()
        try:
            reply: list[bytes] = await self._eval(
                BUSY_SCRIPT, *self._numbers(batch), *(account.encode() for account in fresh)
            )
        except StoreError:
            for account in fresh:
                self._noted.pop(account, None)  # So that it is told when it is noted next.
            raise
        return reply

    def _numbers(self, batch: int) -> tuple[bytes, bytes, bytes]:
        return b"%d" % self._look_after_ms, b"%d" % CLAIM_MS, b"%d" % batch

    def _of_one(self, accounts: Sequence[bytes]) -> Words:
        return (BUSY.encode(),), (*self._numbers(0), *accounts)

    async def _eval(self, script: scripts.Script, *args: bytes) -> Any:
        redis: Any = self._client
        with told(script.name):
            return await redis.eval(script.source, 1, BUSY, *args)

    async def _run(self, turns: Turns) -> None:
        with suppress(StoreError):
            await self._busy(0)  # From now on the store knows the script by its digest.
        while True:
            await asyncio.sleep(turns.wait_s(self._round_s))
            try:
                await self.sweep()
            except StoreError as failure:
                self.failures += 1
                log.warning("the reaper could not reach the store: %s", failure)
