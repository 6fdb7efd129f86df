"""Memory: answers of look-ups kept in this process for seconds, bounded, and forgotten on demand.

One name is looked up once at a time, however many ask. An answer that was asked for before it was
told to be forgotten is given to those who asked before, and to nobody after. A failed look-up is an
error for all who wait for it: an old answer never stands in for the store.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.clock import monotonic_s
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.tasks import TaskSet

GROWING_OLD = 0.6
"""The part of its time after which what is asked for still is looked up anew, ahead of its end."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Names that were found and names that were not have room of their own: guessing never pushes
    out those who are known."""

    found_max: int = 50_000
    missing_max: int = 10_000
    look_up_timeout_s: float = 0.3


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """`value` None: there is nothing by that name."""

    value: V | None
    asked_s: float


class Memory(Generic[V]):
    """`look_up` answers a name or None and may raise StoreError; `account_of` groups the answers,
    so that all of one account can be forgotten."""

    __slots__ = ("_account_of", "_bounds", "_flights", "_found", "_look_up", "_missing", "_of",
                 "_tasks")  # fmt: skip

    def __init__(
        self,
        look_up: Callable[[str], Awaitable[V | None]],
        account_of: Callable[[V], str],
        bounds: Bounds,
    ) -> None:
        self._look_up = look_up
        self._account_of = account_of
        self._bounds = bounds
        self._found: OrderedDict[str, Answer[V]] = OrderedDict()
        self._missing: OrderedDict[str, Answer[V]] = OrderedDict()
        self._of: dict[str, set[str]] = {}
        self._flights: dict[str, asyncio.Task[V | StoreError | None]] = {}
        self._tasks = TaskSet()

    def __len__(self) -> int:
        return len(self._found) + len(self._missing)

    def remembered(self, name: str, age_max_s: float) -> Answer[V] | None:
        """What is known without asking; None: nothing, or it is too old."""
        answer = self._found.get(name) or self._missing.get(name)
        if answer is None or monotonic_s() - answer.asked_s >= age_max_s:
            return None
        (self._missing if answer.value is None else self._found).move_to_end(name)
        return answer

    def at_hand(self, name: str, age_max_s: float) -> V | None:
        """As `remembered`, of what was found; what is growing old is looked up anew meanwhile."""
        answer = self._found.get(name)
        if answer is None:
            return None
        age_s = monotonic_s() - answer.asked_s
        if age_s >= age_max_s:
            return None
        if age_s >= age_max_s * GROWING_OLD and name not in self._flights:
            self._found.move_to_end(name)
            self._take_off(name)
        return answer.value

    async def get(self, name: str, age_max_s: float) -> V | None:
        """The answer, not older than `age_max_s`. Raises StoreError."""
        known = self.remembered(name, age_max_s)
        if known is not None:
            return known.value
        flight = self._flights.get(name)
        if flight is None:
            flight = self._take_off(name)
        answer = await asyncio.shield(flight)
        if isinstance(answer, StoreError):
            raise StoreError(answer.error, str(answer), transient=answer.transient) from answer
        return answer

    def _take_off(self, name: str) -> "asyncio.Task[V | StoreError | None]":
        flight = self._flights[name] = self._tasks.start(self._fly(name), name="look-up")
        return flight

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._flights.pop(name, None)
            self._missing.pop(name, None)
            self._drop(name)

    def forget_account(self, account: str) -> None:
        """Forget what was found of an account, and whatever is being looked up (it may be its)."""
        self._flights.clear()
        for name in tuple(self._of.get(account, ())):
            self._drop(name)

    def forget_all(self) -> None:
        self._flights.clear()
        self._found.clear()
        self._missing.clear()
        self._of.clear()

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _fly(self, name: str) -> V | StoreError | None:
        asked_s = monotonic_s()
        answer: V | StoreError | None
        try:
            async with asyncio.timeout(self._bounds.look_up_timeout_s):
                answer = await self._look_up(name)
        except TimeoutError:
            answer = StoreError(STORE_UNAVAILABLE, "a look-up took too long", transient=True)
        except StoreError as failure:
            answer = failure
        finally:
            wanted = self._flights.get(name) is asyncio.current_task()
            if wanted:
                del self._flights[name]
        if wanted and not isinstance(answer, StoreError):
            self._keep(name, Answer(answer, asked_s))
        return answer

    def _keep(self, name: str, entry: Answer[V]) -> None:
        self._drop(name)
        if entry.value is None:
            self._missing[name] = entry
            if len(self._missing) > self._bounds.missing_max:
                self._missing.popitem(last=False)
            return
        self._missing.pop(name, None)
        self._found[name] = entry
        self._of.setdefault(self._account_of(entry.value), set()).add(name)
        if len(self._found) > self._bounds.found_max:
            self._drop(next(iter(self._found)))

    def _drop(self, name: str) -> None:
        entry = self._found.pop(name, None)
        if entry is None or entry.value is None:
            return
        account = self._account_of(entry.value)
        names = self._of[account]
        names.discard(name)
        if not names:
            del self._of[account]
