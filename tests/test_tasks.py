"""Background tasks and interrupts keep their promises about cancellation."""

import asyncio

import pytest

from gateway.tasks import Interrupt, StoppedError, TaskSet, shielded


async def test_a_stop_ends_the_block_with_its_reason() -> None:
    interrupt = Interrupt()
    asyncio.get_running_loop().call_soon(interrupt.stop, "too slow")
    with pytest.raises(StoppedError) as caught, interrupt:
        await asyncio.Event().wait()
    assert caught.value.reason == "too slow"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_stop_before_the_block_keeps_it_from_beginning() -> None:
    interrupt = Interrupt()
    interrupt.stop("early")
    with pytest.raises(StoppedError), interrupt:
        pytest.fail("the block began")


async def test_a_stop_that_the_block_never_felt_is_still_told() -> None:
    interrupt = Interrupt()
    with pytest.raises(StoppedError), interrupt:
        interrupt.stop("at the end")


async def test_a_stop_after_the_block_does_nothing() -> None:
    interrupt = Interrupt()
    with interrupt:
        pass
    interrupt.stop("late")
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert not interrupt.stopped


async def test_nested_blocks_stop_separately() -> None:
    outer, inner = Interrupt(), Interrupt()
    loop = asyncio.get_running_loop()
    with outer:
        loop.call_soon(inner.stop, "inner")
        with pytest.raises(StoppedError) as caught, inner:
            await asyncio.Event().wait()
        assert caught.value.reason == "inner"
    assert not outer.stopped


async def test_cancellation_from_outside_passes_through() -> None:
    tasks = TaskSet()
    begun = asyncio.Event()

    async def work() -> None:
        with Interrupt():
            begun.set()
            await asyncio.Event().wait()

    task = tasks.start(work(), name="work")
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_wins_over_a_stop() -> None:
    interrupt = Interrupt()

    def fail() -> None:
        interrupt.stop("late")
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"), interrupt:
        fail()


async def test_shielded_work_ends_although_the_caller_is_cancelled() -> None:
    owner, callers = TaskSet(), TaskSet()
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        ended.set()

    caller = callers.start(shielded(work(), owner, name="work"), name="caller")
    await begun.wait()
    caller.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_a_failed_task_reports_to_the_loop() -> None:
    reports: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    tasks = TaskSet()

    async def fail() -> None:
        raise RuntimeError("broken")

    tasks.start(fail(), name="fragile")
    assert await tasks.join() == 0
    loop.set_exception_handler(None)
    assert "fragile" in str(reports[0]["message"])


async def test_stop_cancels_and_waits() -> None:
    tasks = TaskSet()
    tasks.start(asyncio.Event().wait(), name="forever")
    await tasks.stop()
    assert len(tasks) == 0


async def test_stop_cancels_again_what_swallows_a_cancellation() -> None:
    tasks = TaskSet()
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    tasks.start(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    await tasks.stop()
    assert swallowed == 2
