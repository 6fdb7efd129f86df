"""What stands around the proxies, on the other core: load, upstream and store."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.machine import program
from tests.benchmarks.processes import Pinned, ballast, free_ports, settle_on

NATIVE = Path(__file__).parent / "native"
STALLED_S = 300


class MissingError(Exception):
    """The benchmark cannot be run at all without it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a load does: `seconds` for which new requests are begun, or `count` of them. `chunked`:
    their bodies are sent in chunks."""

    method: str
    path: str
    size: int
    connections: int
    seconds: float = 0
    count: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class LoadResult:
    """`received` counts bytes of answers beyond what came with their heads."""

    requests: int
    seconds: float
    errors: int
    connects: int
    received: int
    p50_us: int
    p99_us: int
    said: str
    """Of the first answer that was none."""


@dataclass(frozen=True, slots=True)
class Backend:
    directory: Path
    core: int
    upstream_port: int
    redis_port: int
    redis: Pinned
    sink: Pinned
    load_program: Path
    ballast: Pinned | None = None

    def load(self, port: int, errand: Errand, keys: Path) -> LoadResult:
        """Run a load to its end. `keys` is a file of API keys, taken in turn."""
        framing = "chunks" if errand.chunked else "length"
        words = (errand.method, errand.path, errand.size, framing, errand.connections)
        command = [
            *(str(self.load_program), str(port)),
            *(str(word) for word in (*words, errand.seconds, errand.count, keys)),
        ]
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=STALLED_S,
            check=False,
            start_new_session=True,
            preexec_fn=lambda: settle_on(self.core),
        )
        if ran.returncode != 0:
            raise RuntimeError(f"the load has failed: {ran.stderr.strip() or ran.returncode}")
        return LoadResult(**json.loads(ran.stdout), said=ran.stderr.strip())


@contextmanager
def standing(core: int, *, never_idle: bool = False) -> Iterator[Backend]:
    """Built, started, and stopped at the end; `never_idle`: with ballast. Raises MissingError."""
    missing = [name for name in ("cc", "redis-server") if program(name) is None]
    if missing:
        raise MissingError(", ".join(missing))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qg-bench-")))
        upstream_port, redis_port = free_ports(2)
        sink = Pinned(
            [built("sink", directory), str(upstream_port)], core=core, log=directory / "sink.log"
        )
        stack.callback(sink.stop)
        redis = started_redis(redis_port, core, directory)
        stack.callback(redis.stop)
        sink.wait_listening(upstream_port)
        redis.wait_listening(redis_port)
        load = built("load", directory)
        weight = ballast(core, directory) if never_idle else None
        if weight is not None:
            stack.callback(weight.stop)
        yield Backend(directory, core, upstream_port, redis_port, redis, sink, load, weight)


def built(name: str, directory: Path) -> Path:
    compiler = program("cc")
    assert compiler is not None
    path = directory / name
    subprocess.run([compiler, "-O2", "-o", path, NATIVE / f"{name}.c"], check=True)
    return path


def started_redis(port: int, core: int, directory: Path) -> Pinned:
    """In memory: what a disk adds is the same for whoever asks."""
    binary = program("redis-server")
    assert binary is not None
    place = directory / f"redis-{port}"
    place.mkdir()
    command: list[str | Path] = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", "--dir", place]  # fmt: skip
    return Pinned(command, core=core, log=place / "log")
