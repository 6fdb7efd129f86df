"""The only place that makes Tasks: background work that is named, kept and watched to its end."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S = 0.25


class TaskSet:
    """Background tasks that belong to one owner; none is forgotten by the garbage collector.

    A task that fails reports to the loop's exception handler at once: no failure is silent.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(self, timeout_s: float | None = None) -> int:
        """Wait for all tasks, at most `timeout_s`; return how many are still running."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=timeout_s)
        return len(self._tasks)

    async def stop(self) -> None:
        """Cancel all tasks and wait until each has ended.

        Again and again: a library may swallow a cancellation (`asyncio.wait_for` of Python 3.11
        does, when what it waits for ends at that moment).
        """
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks), timeout=CANCEL_AGAIN_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (failure := task.exception()) is None:
            return
        task.get_loop().call_exception_handler(
            {"message": f"task {task.get_name()} failed", "exception": failure, "task": task}
        )


async def shielded(work: Coroutine[Any, Any, T], owner: TaskSet, *, name: str) -> T:
    """Run `work` to its end even if the caller is cancelled meanwhile; the owner keeps it.

    Cancellation of the caller is not swallowed: it is raised once the work has ended.
    """
    task = owner.start(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait((task,))
        raise


class StoppedError(Exception):
    """The block inside an `Interrupt` was stopped; `reason` is what it was stopped with."""

    def __init__(self, reason: object) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Interrupt:
    """Lets an event stop the block of code it wraps, as `asyncio.timeout` lets a deadline.

    `stop(reason)` may come from any callback of the loop; the block is cancelled where it waits
    and `StoppedError(reason)` leaves the `with`. A stop before the block keeps it from
    beginning; one after its end does nothing; one from inside the block shows at its end. Blocks
    nest; a cancellation from outside passes through as itself.
    """

    __slots__ = ("_cancelled", "_cancelling", "_entered", "_reason", "_stopped", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._cancelled = False
        self._entered = False
        self._stopped = False
        self._reason: object = None

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def reason(self) -> object:
        """What it was stopped with."""
        return self._reason

    def stop(self, reason: object) -> None:
        if self._stopped or (self._entered and self._task is None):
            return
        self._stopped = True
        self._reason = reason
        # A task cannot take back a cancellation of itself that it has not felt yet.
        if self._task is not None and self._task is not asyncio.current_task():
            self._cancelled = True
            self._task.cancel()

    def __enter__(self) -> "Interrupt":
        task = asyncio.current_task()
        assert task is not None
        assert not self._entered
        self._entered = True
        if self._stopped:
            raise StoppedError(self._reason)
        self._task = task
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        if not self._stopped:
            return
        # The cancellation is ours to take back, unless somebody else cancelled the task as well.
        ours = not self._cancelled or task.uncancel() <= self._cancelling
        if ours and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise StoppedError(self._reason) from failure
