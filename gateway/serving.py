"""Serving: a gateway from its start to its end, and the signals it heeds meanwhile.

SIGTERM and SIGINT drain it; a second one changes nothing, for settlements are not cut short. SIGHUP
reads the configuration again.
"""

import asyncio
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway import garbage
from gateway.errors import ConfigError
from gateway.settings import Configuration
from gateway.tasks import TaskSet
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Served(Protocol):
    """A gateway in this process, or the supervisor of several."""

    metrics: Metrics
    public_address: str
    admin_address: str

    async def start(self) -> None: ...

    async def reload(self, configuration: Configuration) -> None: ...

    async def stop(self) -> int:
        """Returns how many settlements were left in the journal."""
        ...


async def serve(
    read: Callable[[], Configuration],
    served: Served,
    *,
    started: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. `started` is called once everything listens. Raises what `start`
    and `stop` raise."""
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    tasks = TaskSet()
    try:
        await served.start()
        garbage.settle()
        log.info("listening on %s, admin on %s", served.public_address, served.admin_address)
        tasks.start(_reloads(served, read, reload), name="reload on SIGHUP")
        if started is not None:
            await started()
        await stop.wait()
        log.info("draining")
    finally:
        await tasks.stop()
        left = await served.stop()
        if left:
            log.error("%d settlements were left in the journal: the store was away", left)


async def _reloads(
    served: Served, read: Callable[[], Configuration], wanted: asyncio.Event
) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        try:
            await served.reload(await asyncio.to_thread(read))
        except ConfigError as refused:
            served.metrics.reloaded(accepted=False)
            for problem in refused.problems:
                log.error("configuration refused, the old one stays: %s", problem)
        except (OSError, ssl.SSLError) as failure:
            served.metrics.reloaded(accepted=False)
            log.error("configuration refused, the old one stays: %s", failure)
        else:
            served.metrics.reloaded(accepted=True)
            log.info("configuration reloaded")
