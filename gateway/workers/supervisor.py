"""Supervisor: keeps the workers of one gateway, and no byte of a request passes it.

It starts a worker again that has ended (after a pause that grows while it keeps ending), hands a
new configuration to all of them, joins what they have counted, and at the end waits until each has
drained. To those who run it, it is a gateway like one that is alone.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from gateway.clock import monotonic_s
from gateway.settings import Configuration
from gateway.tasks import TaskSet
from gateway.telemetry.joining import Exposition, Tally, exposition_of, joined, lasting
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.names import NAMES, PREFIX
from gateway.workers.channel import (
    Begin,
    Channel,
    Count,
    Counted,
    Failed,
    Joint,
    Message,
    Reload,
    Reloaded,
    Scrape,
    Started,
    Stop,
)
from gateway.workers.doors import Door
from gateway.workers.nursery import Hatched, Nursery

log = logging.getLogger(__name__)

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 10.0
CALM_S = 10.0
"""A worker that ran as long is not one that keeps ending."""
COUNT_EVERY_S = 2.0
"""What a worker has counted since is lost with it."""
COUNT_WITHIN_S = 1.0
RELOAD_WITHIN_S = 30.0
DRAIN_GRACE_S = 30.0
"""After the time that requests have to end, until a worker that has not ended is killed."""
DIES_WITHIN_S = 5.0


class Supervisor:
    """`begin` is what every worker is told, but for its number; `public` and `admin` are where
    they serve, and the caller's to close at the end."""

    def __init__(self, nursery: Nursery, begin: Begin, public: Door, admin: Door) -> None:
        self.metrics = Metrics(CollectorRegistry(), version=version("quota-gateway"))
        self.public_address, self.admin_address = public.shown, admin.shown
        self._nursery = nursery
        self._begin = begin
        self._public = public
        self._admin = admin
        self._workers: dict[int, _Worker] = {}
        self._past: Tally = ()
        """What workers that have ended had counted."""
        self._stopping = asyncio.Event()
        self._broken: list[str] = []
        self._keeping = TaskSet()
        self._tasks = TaskSet()

    async def start(self) -> None:
        """Return when all workers serve. Raises what keeps the first of them from it."""
        self._nursery.on_lost = self._nursery_lost
        await self._nursery.start()
        loop = asyncio.get_running_loop()
        firsts: list[asyncio.Future[None]] = []
        for number in range(1, self._begin.count + 1):
            firsts.append(loop.create_future())
            self._keeping.start(self._keep(number, firsts[-1]), name=f"worker {number}")
        await asyncio.gather(*firsts)
        self._tasks.start(self._keep_counting(), name="what workers count")

    async def reload(self, configuration: Configuration) -> None:
        """All workers take it over, and those that are started later. Raises OSError, with what
        those said that could not."""
        self._begin = replace(self._begin, configuration=self._after_reload(configuration))
        workers = tuple(self._workers.values())
        asked = [worker.ask(partial(Reload, configuration=configuration)) for worker in workers]
        await _answered(asked, RELOAD_WITHIN_S)
        refused = []
        for worker, answer in zip(workers, asked, strict=True):
            match answer.result() if answer.done() else Reloaded(0, "it does not answer"):
                case Reloaded(_, why) if why:
                    refused.append(f"worker {worker.number}: {why}")
        if refused:
            raise OSError("; ".join(refused))

    async def stop(self) -> int:
        """All workers drain. Raises OSError when one of them, or the nursery, did not end well."""
        self._stopping.set()
        self._public.close()
        self._admin.close()
        for worker in tuple(self._workers.values()):
            worker.channel.send(Stop())
        drain_s = self._begin.configuration.settings.drain_timeout_s
        if await self._keeping.join(drain_s + DRAIN_GRACE_S):
            for worker in tuple(self._workers.values()):
                log.error("worker %d does not end; killing it", worker.number)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.hatched.pid, signal.SIGKILL)
            await self._keeping.join(DIES_WITHIN_S)
        await self._keeping.stop()
        await self._tasks.stop()
        if self._broken:
            raise OSError("; ".join(self._broken))
        return 0

    def _after_reload(self, configuration: Configuration) -> Configuration:
        """What a worker begins with from now on: the rest cannot change while others run."""
        before, after = self._begin.configuration.settings, configuration.settings
        if before.tls_cert is not None and after.tls_cert is not None:
            pair = {"tls_cert": after.tls_cert, "tls_key": after.tls_key}
            before = before.model_copy(update=pair)
        return replace(configuration, settings=before)

    # -- keeping workers --------------------------------------------------------------------------

    async def _keep(self, number: int, first: "asyncio.Future[None]") -> None:
        pause_s = PAUSE_FIRST_S
        while True:
            began_s = monotonic_s()
            how, failed = await self._live(number, first)
            if not first.done():
                first.set_exception(failed.failure() if failed else OSError(how))
                return
            if self._stopping.is_set():
                return
            pause_s = PAUSE_FIRST_S if monotonic_s() - began_s > CALM_S else pause_s
            why = f"{how}: {failed.why}" if failed else how
            log.error("%s; it is started again in %.1f s", why, pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
                    return
            self.metrics.worker_restarts.add()
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _live(self, number: int, first: "asyncio.Future[None]") -> tuple[str, Failed | None]:
        """One worker from its fork to its end; how it ended, and why if it told."""
        try:
            worker = await self._hatch(number)
        except OSError as failure:
            return f"worker {number} could not be forked: {failure}", None

        def started() -> None:
            if not first.done():
                first.set_result(None)

        worker.on_started = started
        worker.on_scrape = self._scrape
        self._workers[number] = worker
        if self._stopping.is_set():
            worker.channel.send(Stop())
        code = await worker.ended()
        del self._workers[number]
        self._past = joined((self._past, lasting(worker.tally)), NAMES, PREFIX)
        how = f"worker {number} {_told(code)}"
        if code and self._stopping.is_set() and first.done():
            self._broken.append(how)
        return how, worker.failed

    async def _hatch(self, number: int) -> "_Worker":
        ours, its = socket.socketpair()
        shared = [each.fileno() for each in (*self._public.shared, *self._admin.shared)]
        try:
            with its:
                hatched = await self._nursery.hatch([its.fileno(), *shared])
        except OSError:
            ours.close()
            raise
        channel = await Channel.over(ours)
        channel.send(replace(self._begin, number=number))
        return _Worker(number, hatched, channel)

    def _nursery_lost(self) -> None:
        log.critical("the nursery has ended: no worker can be started again; draining")
        self._broken.append("the nursery has ended")
        signal.raise_signal(signal.SIGTERM)

    # -- counting ---------------------------------------------------------------------------------

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            await self._count()

    async def _count(self) -> None:
        """Hear from all workers; of one that does not answer, what it said before stands."""
        asked = [worker.ask(Count) for worker in self._workers.values()]
        await _answered(asked, COUNT_WITHIN_S)

    def _scrape(self, asking: "_Worker", question: int) -> None:
        async def answer() -> None:
            await self._count()
            asking.channel.send(Joint(question, self._joined()))

        self._tasks.start(answer(), name="a scrape")

    def _joined(self) -> Exposition:
        tallies = (worker.tally for worker in self._workers.values())
        return exposition_of(joined((self.metrics.tally(), self._past, *tallies), NAMES, PREFIX))


class _Worker:
    """The supervisor's side of one worker. `tally` is what it has counted as far as it said."""

    def __init__(self, number: int, hatched: Hatched, channel: Channel) -> None:
        self.number = number
        self.hatched = hatched
        self.channel = channel
        self.tally: Tally = ()
        self.failed: Failed | None = None
        self.on_started: Callable[[], None] = lambda: None
        self.on_scrape: Callable[[_Worker, int], None] = lambda worker, question: None
        self._questions = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message | None]] = {}

    def ask(self, make: "Callable[[int], Message]") -> "asyncio.Future[Message | None]":
        """Becomes the answer, or None when the worker ends before it."""
        question = next(self._questions)
        answer = self._asked[question] = asyncio.get_running_loop().create_future()
        self.channel.send(make(question))
        return answer

    async def ended(self) -> int:
        """Heed what it says until it has ended; its exit code."""
        while (message := await self.channel.receive()) is not None:
            match message:
                case Started():
                    self.on_started()
                case Failed():
                    self.failed = message
                case Counted(question, tally):
                    self.tally = tally
                    self._answer(question, message)
                case Reloaded(question):
                    self._answer(question, message)
                case Scrape(question):
                    self.on_scrape(self, question)
        for question in tuple(self._asked):
            self._answer(question, None)
        await self.channel.close()
        return await self.hatched.ended

    def _answer(self, question: int, message: Message | None) -> None:
        answer = self._asked.pop(question, None)
        if answer is not None and not answer.done():
            answer.set_result(message)


async def _answered(asked: "list[asyncio.Future[Message | None]]", within_s: float) -> None:
    if asked:
        await asyncio.wait(asked, timeout=within_s)


def _told(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else "ended"
