"""Deadlines without a timer per wait."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

import pytest

from gateway.proxy.wait import Wait

ON_EVERY_LOOP = True

Ts = TypeVarTuple("Ts")


class Counted(asyncio.SelectorEventLoop):
    """A loop that counts the timers it is asked for."""

    timers = 0

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


async def test_a_wake_ends_the_wait() -> None:
    loop = asyncio.get_running_loop()
    wait = Wait(loop)
    wait.wake()  # Nobody waits: it is not remembered.
    loop.call_soon(wait.wake)
    await wait.until_woken(10.0)
    loop.call_soon(wait.wake)
    await wait.until_woken(None)
    wait.close()


async def test_the_time_limit_of_each_wait_counts() -> None:
    loop = asyncio.get_running_loop()
    wait = Wait(loop)
    for first_s, then_s in ((10.0, 0.05), (0.05, 0.1)):
        loop.call_soon(wait.wake)
        await wait.until_woken(first_s)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await wait.until_woken(then_s)
        assert then_s - 0.005 <= loop.time() - began < 5.0
    wait.close()


async def test_an_old_limit_does_not_end_a_wait_without_one() -> None:
    loop = asyncio.get_running_loop()
    wait = Wait(loop)
    loop.call_soon(wait.wake)
    await wait.until_woken(0.02)
    loop.call_later(0.1, wait.wake)
    await wait.until_woken(None)


async def test_closing_wakes_whoever_waits() -> None:
    loop = asyncio.get_running_loop()
    wait = Wait(loop)
    loop.call_soon(wait.close)
    await wait.until_woken(10.0)


def test_a_thousand_waits_cost_one_timer() -> None:
    loop = Counted()

    async def play() -> None:
        wait = Wait(loop)
        for _ in range(1_000):
            loop.call_soon(wait.wake)
            await wait.until_woken(30.0)
        wait.close()

    loop.run_until_complete(play())
    loop.close()
    assert loop.timers == 1


async def test_a_callback_is_told_once_within_the_wake() -> None:
    told: list[bool] = []
    wait = Wait(asyncio.get_running_loop())
    wait.tell(told.append, 10.0)
    wait.wake()
    wait.wake()
    assert told == [False]
    wait.close()


async def test_a_callback_is_told_that_it_is_late() -> None:
    late = asyncio.Event()
    wait = Wait(asyncio.get_running_loop())
    wait.tell(lambda is_late: late.set() if is_late else None, 0.02)
    async with asyncio.timeout(5):
        await late.wait()
    wait.close()
