"""Processes pinned to a core, and what the kernel tells of what they have used."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.redis_server import die_with_parent

READY_WITHIN_S = 20.0
AUTOGROUP = Path("/proc/self/autogroup")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Pinned:
    """One program on one core, with its log in a file. `used_ns` is of it and its children."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        core: int,
        log: Path,
        variables: Mapping[str, str] | None = None,
        directory: Path | None = None,
        settle: Callable[[int], None] | None = None,
    ) -> None:
        self.log = log
        settled = settle_on if settle is None else settle

        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                cwd=directory,
                env=None if variables is None else {**os.environ, **variables},
                start_new_session=True,
                preexec_fn=lambda: settled(core),  # noqa: PLW1509 - nothing here holds a lock
            )

    def wait_listening(self, port: int) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self.log.read_text(errors="replace")[-4_000:]
                    raise RuntimeError(f"nobody listens on {port}:\n{said}") from None
                time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def used_ns(self) -> int:
        """Processor time so far, to the nanosecond."""
        return sum(used_ns(pid) for pid in family(self._process.pid))

    @property
    def pss_bytes(self) -> int:
        """Memory, shared pages by their share."""
        return sum(_pss_bytes(pid) for pid in family(self._process.pid))


def settle_on(core: int) -> None:
    """Of a new session, before it becomes another program. The kernel treats sessions alike,
    however nice their processes are, so `nice -n -15` of a benchmark must be told to each."""
    die_with_parent()
    os.sched_setaffinity(0, {core})
    if AUTOGROUP.exists():
        AUTOGROUP.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))


def ballast(core: int, directory: Path) -> Pinned:
    """What takes all the time of a core that nobody else wants. Virtual cores may be threads of one
    real core, and then each is faster while the other rests: a proxy that leaves the other core
    nothing to do, since it asks no store, would be measured on a better machine."""
    return Pinned(
        [sys.executable, "-c", "while True: pass"],
        core=core,
        log=directory / "ballast.log",
        settle=_settle_behind_all,
    )


def _settle_behind_all(core: int) -> None:
    die_with_parent()
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if AUTOGROUP.exists():
        AUTOGROUP.write_text("19")


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for task in _entries(Path(f"/proc/{pid}/task")):
        for child in _text(task / "children").split():
            yield from family(int(child))


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Since the machine was started."""

    busy_s: float
    total_s: float


def core_time(core: int) -> CoreTime:
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return parse_core_time([int(word) for word in ticks])
    raise ValueError(f"there is no core {core}")


def parse_core_time(ticks: Sequence[int]) -> CoreTime:
    """user nice system idle iowait irq softirq steal, and guests, who count as users already."""
    total = sum(ticks[:8])
    return CoreTime((total - ticks[3] - ticks[4]) / TICKS_PER_S, total / TICKS_PER_S)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in taken]
    for listener in taken:
        listener.close()
    return ports


def used_ns(pid: int) -> int:
    """Processor time of one process so far."""
    schedstats = [_text(task / "schedstat") for task in _entries(Path(f"/proc/{pid}/task"))]
    return sum(int(text.split()[0]) for text in schedstats if text)


def _pss_bytes(pid: int) -> int:
    for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:  # It has ended meanwhile.
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
