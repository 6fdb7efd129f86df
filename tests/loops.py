"""Runs a test on both event loops: asyncio's own and uvloop, which the gateway is served by."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def on_both_loops(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """Decorates an async test whose fixtures, if any, are not."""

    @functools.wraps(test)
    def run(loop_name: str, **fixtures: object) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(test(**fixtures))

    asked = inspect.signature(test).parameters.values()
    own = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*asked, own])  # type: ignore[attr-defined]
    both: Callable[..., None] = pytest.mark.parametrize("loop_name", LOOPS)(run)
    return both
