"""One run of one case through one peer, and what it took."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.backend import Backend, Errand, LoadResult
from tests.benchmarks.processes import Pinned, core_time

GIB = 1024**3
DISTURBED = 0.6


@dataclass(frozen=True, slots=True)
class Run:
    """`requests` are those that were served. Seconds are of processor time, but `took_s`.
    `core_busy_s` is of the proxy's core, whoever used it: it also holds what the kernel does for
    sockets outside of any process."""

    requests: int
    errors: int
    bytes: int
    took_s: float
    p50_us: int
    p99_us: int
    cpu_s: float
    core_busy_s: float
    other_core_busy_s: float
    redis_cpu_s: float

    @property
    def disturbed(self) -> bool:
        """Most of the core went to something else: more than the kernel does for sockets."""
        return self.core_busy_s - self.cpu_s > DISTURBED * self.took_s


@dataclass(frozen=True, slots=True)
class Metric:
    """`of` a run. `less_is_better` says which way a ratio is turned."""

    name: str
    title: str
    unit: str
    of: Callable[[Run], float]
    less_is_better: bool = True


METRICS = (
    Metric("cpu_us", "CPU per request", "µs", lambda run: run.cpu_s / run.requests * 1e6),
    Metric("cpu_s_gib", "CPU per GiB", "s", lambda run: run.cpu_s / run.bytes * GIB),
    Metric("busy_s_gib", "core busy per GiB", "s", lambda run: run.core_busy_s / run.bytes * GIB),
    Metric("rps", "requests/s", "1/s", lambda run: run.requests / run.took_s, less_is_better=False),
    Metric("p50_us", "p50", "µs", lambda run: run.p50_us),
    Metric("p99_us", "p99", "µs", lambda run: run.p99_us),
    Metric("redis_us", "Redis CPU per request", "µs", lambda r: r.redis_cpu_s / r.requests * 1e6),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a peer listens, and on which core it runs."""

    process: Pinned
    port: int
    core: int


def run(backend: Backend, target: Target, errand: Errand, keys: Path) -> tuple[Run, LoadResult]:
    cpu, redis = target.process.used_ns, backend.redis.used_ns
    core, other = core_time(target.core), _wanted_s(backend)
    result = backend.load(target.port, errand, keys)
    size = errand.size or int(errand.path.rpartition("/")[2])
    served = result.requests - result.errors
    return Run(
        requests=served,
        errors=result.errors,
        bytes=size * served,
        took_s=result.seconds,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        cpu_s=(target.process.used_ns - cpu) / 1e9,
        core_busy_s=core_time(target.core).busy_s - core.busy_s,
        other_core_busy_s=_wanted_s(backend) - other,
        redis_cpu_s=(backend.redis.used_ns - redis) / 1e9,
    ), result


def _wanted_s(backend: Backend) -> float:
    """How long the other core was busy with more than ballast."""
    ballast_ns = 0 if backend.ballast is None else backend.ballast.used_ns
    return core_time(backend.core).busy_s - ballast_ns / 1e9
