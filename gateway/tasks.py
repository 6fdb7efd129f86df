"""The only place that makes Tasks: background work that is named, kept and watched to its end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
        """Cancel all tasks and wait until each has ended."""
        pending = tuple(self._tasks)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

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
