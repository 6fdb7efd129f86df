"""Worker: one process of a gateway that has several, from its fork to its end.

It serves as a gateway alone would. What it shares with the others it hears of by its channel; when
that ends, the supervisor has, and the worker drains by itself.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
import ssl
from collections.abc import Sequence

import uvloop

from gateway import garbage
from gateway.app import Gateway, Place
from gateway.clock import Turns
from gateway.errors import ConfigError, StoreError
from gateway.ledger.store import Store, connect
from gateway.proxy import listener
from gateway.tasks import TaskSet
from gateway.telemetry.joining import Exposition
from gateway.telemetry.logs import Logs, Shared
from gateway.workers.channel import (
    Begin,
    Channel,
    Count,
    Counted,
    Failed,
    Joint,
    Reload,
    Reloaded,
    Scrape,
    Started,
    Stop,
)
from gateway.workers.written import logs_of, secrets_of

log = logging.getLogger(__name__)

SCRAPE_WITHIN_S = 5.0


def work(descriptors: Sequence[int]) -> int:
    """The whole of it; returns the exit code. SIGINT and SIGHUP are the supervisor's to heed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work([socket.socket(fileno=each) for each in descriptors]))


async def _work(sockets: list[socket.socket]) -> int:
    channel = await Channel.over(sockets[0])
    begin = await channel.receive()
    if not isinstance(begin, Begin):
        return 0  # The supervisor has ended already.
    written = logs_of(begin.configuration, Shared(begin.number, begin.log_turns))
    worker = _Worker(begin, channel, written)
    try:
        return await worker.run(sockets[1:])
    finally:
        written.close()
        await channel.close()


class _Worker:
    def __init__(self, begin: Begin, channel: Channel, written: Logs) -> None:
        self._begin = begin
        self._channel = channel
        self._logs = written
        self._stop = asyncio.Event()
        self._questions = itertools.count(1)
        self._scrapes: dict[int, asyncio.Future[Exposition]] = {}

    async def run(self, sockets: Sequence[socket.socket]) -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        settings = self._begin.configuration.settings
        try:
            store = await connect(
                self._begin.url,
                op_timeout_s=settings.store_timeout_s,
                wait_replicas=settings.store_replicas,
            )
        except (StoreError, ConfigError, OSError) as failure:
            self._channel.send(Failed.by(failure))
            return 1
        try:
            return await self._serve(store, sockets)
        finally:
            await store.close()

    async def _serve(self, store: Store, sockets: Sequence[socket.socket]) -> int:
        begin = self._begin
        place = Place(
            listener.Shared(sockets[: begin.public]),
            listener.Shared(sockets[begin.public :]),
            Turns(begin.number - 1, begin.count),
            self._scrape,
        )
        gateway = Gateway(begin.configuration, store, self._logs.access, place)
        tasks = TaskSet()
        try:
            await gateway.start()
            garbage.settle()
            log.info("serving, as process %d", os.getpid())
            tasks.start(self._heed(gateway), name="what the supervisor says")
            self._channel.send(Started(gateway.public_address, gateway.admin_address))
            await self._stop.wait()
            log.info("draining")
        except (StoreError, ConfigError, OSError) as failure:
            self._channel.send(Failed.by(failure))
            return 1
        finally:
            left = await gateway.stop()
            if left:
                log.error("%d settlements were left in the journal: the store was away", left)
            await tasks.stop()
            self._channel.send(Counted(0, gateway.metrics.tally()))
        return 0

    async def _heed(self, gateway: Gateway) -> None:
        try:
            while (message := await self._channel.receive()) is not None:
                match message:
                    case Count(question):
                        self._channel.send(Counted(question, gateway.metrics.tally()))
                    case Reload():
                        why = await self._reload(gateway, message)
                        self._channel.send(Reloaded(message.question, why))
                    case Joint(question, exposition):
                        scrape = self._scrapes.pop(question, None)
                        if scrape is not None and not scrape.done():
                            scrape.set_result(exposition)
                    case Stop():
                        self._stop.set()
            log.error("the supervisor has gone")
        finally:
            self._stop.set()

    async def _reload(self, gateway: Gateway, wanted: Reload) -> str:
        self._logs.keep_out(secrets_of(wanted.configuration))
        try:
            await gateway.reload(wanted.configuration)
        except (OSError, ssl.SSLError, ConfigError) as failure:
            return str(failure)
        return ""

    async def _scrape(self) -> Exposition:
        """What all workers have counted, as the supervisor joins it. Raises TimeoutError."""
        question = next(self._questions)
        scrape: asyncio.Future[Exposition] = asyncio.get_running_loop().create_future()
        self._scrapes[question] = scrape
        self._channel.send(Scrape(question))
        try:
            async with asyncio.timeout(SCRAPE_WITHIN_S):
                return await scrape
        finally:
            self._scrapes.pop(question, None)
