"""A fast flow is woken less often; a slow one, or the end of one, for every byte."""

import asyncio
import socket

from gateway.proxy.eagerness import FAST_BYTES, LOOK_S, MARK_BYTES, Eagerness
from tests.proxy.flows import ends

FAR = 100 * FAST_BYTES


def mark(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


async def test_a_flow_that_is_fast_and_then_is_not() -> None:
    with ends() as e:
        eager = Eagerness(e.source, now_s=0.0)
        eager.took(FAST_BYTES - 1, FAR, 0.01)
        assert (eager.on, mark(e.source)) == (False, 1)
        eager.took(1, FAR, 0.02)
        assert (eager.on, mark(e.source)) == (True, MARK_BYTES)
        async with asyncio.timeout(20 * LOOK_S):
            while eager.on:  # noqa: ASYNC110  # the timer tells nobody
                await asyncio.sleep(LOOK_S / 10)
        assert mark(e.source) == 1


async def test_one_that_stays_fast_keeps_its_mark() -> None:
    with ends() as e:
        eager = Eagerness(e.source, now_s=0.0)
        eager.took(FAST_BYTES, FAR, 0.02)
        for _ in range(6):
            eager.took(FAST_BYTES, FAR, 0.02)
            await asyncio.sleep(LOOK_S / 2)
        assert (eager.on, mark(e.source)) == (True, MARK_BYTES)
        eager.stop()
        assert mark(e.source) == 1


async def test_a_slow_one_never_is() -> None:
    with ends() as e:
        eager = Eagerness(e.source, now_s=0.0)
        for turn in range(1, 50):
            eager.took(FAST_BYTES, FAR, turn * (LOOK_S + 0.01))
        assert (eager.on, mark(e.source)) == (False, 1)


async def test_never_more_than_is_to_come() -> None:
    with ends() as e:
        eager = Eagerness(e.source, now_s=0.0)
        eager.took(FAST_BYTES, FAST_BYTES, 0.01)
        eager.took(FAST_BYTES - 1000, 1000, 0.02)
        assert mark(e.source) == 1000
        eager.took(1000, 0, 0.03)
        eager.stop()
        assert mark(e.source) == 1


async def test_one_about_to_end_is_left_alone() -> None:
    with ends() as e:
        eager = Eagerness(e.source, now_s=0.0)
        eager.took(FAST_BYTES, FAST_BYTES - 1, 0.01)
        assert not eager.on
