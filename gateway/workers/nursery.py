"""Nursery: the process that workers are forked from.

It is itself forked from the supervisor, when everything is imported and before there is any loop or
thread, and never has one: so a fork of it is safe, takes milliseconds, and shares the memory of all
that was imported. It ends with the supervisor; workers see to that by themselves.

    supervisor ── orders: one byte with the descriptors of a worker ──▶ nursery
               ◀── reports: hatched <pid> | failed <errno> | ended <pid> <exit code> ──
"""

import asyncio
import gc
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.tasks import TaskSet

DESCRIPTORS_MAX = 32
"""Of one worker: its channel, and the sockets of listeners."""

Work = Callable[[Sequence[int]], int]
"""The life of a worker, given its descriptors: returns an exit code."""


@dataclass(frozen=True, slots=True)
class Hatched:
    """`ended` becomes the exit code; negative: the signal that killed it."""

    pid: int
    ended: "asyncio.Future[int]"


class Nursery:
    """The supervisor's side: `open` before its loop runs, `start` in it. `on_lost` is called when
    the nursery has ended by itself."""

    def __init__(self, pid: int, orders: socket.socket, reports: socket.socket) -> None:
        self._pid = pid
        self._orders = orders
        self._reports = reports
        self._hatching = asyncio.Lock()
        self._hatched: asyncio.Future[Hatched] | None = None
        self._alive: dict[int, Hatched] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._tasks = TaskSet()
        self._lost = False
        self.on_lost: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, work: Work) -> "Nursery":
        """Raises OSError."""
        orders, its_orders = socket.socketpair()
        reports, its_reports = socket.socketpair()
        # The collector would write to all that it looks at, and each process have its own copy.
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            with _last_words():
                orders.close()
                reports.close()
                _Forking(its_orders, its_reports, work).run()
            os._exit(0)
        its_orders.close()
        its_reports.close()
        return cls(pid, orders, reports)

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._reports)
        self._tasks.start(self._hear(reader), name="reports of the nursery")

    async def hatch(self, descriptors: Sequence[int]) -> Hatched:
        """A new worker, which has copies of the descriptors. Raises OSError."""
        async with self._hatching:
            if self._lost:
                raise ChildProcessError("the nursery has ended")
            self._hatched = asyncio.get_running_loop().create_future()
            socket.send_fds(self._orders, [b"+"], descriptors)
            return await self._hatched

    async def close(self) -> None:
        """To be called when all workers have ended."""
        self.on_lost = lambda: None
        self._orders.close()
        await self._tasks.join()
        if self._writer is None:
            self._reports.close()
        else:
            self._writer.close()
        await asyncio.to_thread(os.waitpid, self._pid, 0)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            match line.decode("ascii").split():
                case ["hatched", pid]:
                    hatched = Hatched(int(pid), asyncio.get_running_loop().create_future())
                    self._alive[hatched.pid] = hatched
                    assert self._hatched is not None
                    self._hatched.set_result(hatched)
                case ["failed", number]:
                    assert self._hatched is not None
                    self._hatched.set_exception(OSError(int(number), os.strerror(int(number))))
                case ["ended", pid, code]:
                    self._alive.pop(int(pid)).ended.set_result(int(code))
        self._lost = True
        if self._hatched is not None and not self._hatched.done():
            self._hatched.set_exception(ChildProcessError("the nursery has ended"))
        for hatched in self._alive.values():  # Nobody will tell how they ended.
            hatched.ended.set_result(0)
        self.on_lost()


class _Forking:
    """The nursery's side: forks, and tells who has ended."""

    def __init__(self, orders: socket.socket, reports: socket.socket, work: Work) -> None:
        self._orders = orders
        self._reports = reports
        self._work = work

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # They are meant for the supervisor.
        self._ended, self._wake = socket.socketpair()
        self._ended.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._orders, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._ended:
                        self._ended.recv(1024)
                        self._tell_ended()
                    elif not self._hatch(selector):
                        return

    def _hatch(self, selector: selectors.BaseSelector) -> bool:
        """False: the supervisor has gone."""
        order, descriptors, _, _ = socket.recv_fds(self._orders, 1, DESCRIPTORS_MAX)
        if not order:
            return False
        try:
            pid = os.fork()
        except OSError as failure:
            self._report("failed", failure.errno or 0)
        else:
            if pid == 0:
                code = 1
                with _last_words():
                    self._leave(selector)
                    code = self._work(descriptors)
                os._exit(code)
            self._report("hatched", pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _leave(self, selector: selectors.BaseSelector) -> None:
        """A worker has nothing of its nursery's."""
        selector.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._orders, self._reports, self._ended, self._wake):
            end.close()

    def _tell_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._report("ended", pid, os.waitstatus_to_exitcode(status))

    def _report(self, *words: object) -> None:
        self._reports.sendall(f"{' '.join(map(str, words))}\n".encode("ascii"))


class _last_words:  # noqa: N801  # reads as the statement that it is
    """No exception leaves a process that was forked: it would go on as its parent. It is told, and
    the process ends."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if failure is not None:
            traceback.print_exception(failure)
            os._exit(1)
