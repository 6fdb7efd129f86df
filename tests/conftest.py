"""What every test of this project may ask for."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

pytest_plugins = ("tests.stores",)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Tests run on asyncio's loop; a module with `ON_EVERY_LOOP = True` on uvloop as well."""
    module = getattr(item, "module", None)
    if getattr(module, "ON_EVERY_LOOP", False):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
