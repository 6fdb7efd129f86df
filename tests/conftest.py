"""What every test of this project may ask for."""

import asyncio
from collections.abc import Callable, Generator, Mapping

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


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """What is no Unicode cannot travel from a worker to the run's report: it is shown escaped."""
    return _escaped((yield))


def _escaped(data: object) -> object:
    match data:
        case str():
            return data.encode(errors="backslashreplace").decode()
        case list() | tuple():
            return [_escaped(each) for each in data]
        case dict():
            return {key: _escaped(value) for key, value in data.items()}
        case _:
            return data
