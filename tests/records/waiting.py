"""Waiting for something to become true, without guessing how long it takes."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            for _ in range(10):
                await asyncio.sleep(0)
