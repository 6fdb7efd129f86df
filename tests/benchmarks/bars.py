"""Bars: what the gateway must reach beside its peers, and what it aims at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import ge, le
from statistics import median

from tests.benchmarks.measure import BY_NAME
from tests.benchmarks.results import CaseResult, Results

KIB = 1024


@dataclass(frozen=True, slots=True)
class Bar:
    """`found` answers None where what it compares was not measured."""

    title: str
    must: float
    aim: float | None
    at_least: bool
    found: Callable[[Results], float | None]

    def verdict(self, value: float) -> str:
        holds = ge if self.at_least else le
        if self.aim is not None and holds(value, self.aim):
            return "aim reached"
        return "held" if holds(value, self.must) else "MISSED"


def quotient(case: CaseResult, metric: str, above: str, below: str) -> float | None:
    """The median of `above` / `below` over the rounds."""
    if above not in case.runs or below not in case.runs:
        return None
    of = BY_NAME[metric].of
    pairs = zip(case.runs[above], case.runs[below], strict=True)
    values = [of(a) / of(b) for a, b in pairs if of(b) > 0]
    return median(values) if values else None


def _of_case(name: str, metric: str, above: str, below: str) -> Callable[[Results], float | None]:
    def found(results: Results) -> float | None:
        case = next((case for case in results.cases if case.name == name), None)
        return None if case is None else quotient(case, metric, above, below)

    return found


def _of_bulk(above: str, below: str) -> Callable[[Results], float | None]:
    """The worst of all large bodies of known length."""

    def found(results: Results) -> float | None:
        values = [
            value
            for case in results.cases
            if case.name.startswith("bulk")
            and (value := quotient(case, "busy_s_gib", above, below)) is not None
        ]
        return min(values, default=None)

    return found


def _slow_kib(results: Results) -> float | None:
    memory = results.memory.get("gateway")
    return None if memory is None else memory.per_slow / KIB


LUA, TUNED, SPLICE, OURS, OPEN = (
    "nginx+lua", "nginx-tuned", "haproxy-splice", "gateway", "gateway-open",
)  # fmt: skip

BARS: Sequence[Bar] = (
    Bar("small, 64 connections: CPU per request, nginx+Lua / gateway", 1.25, 1.8, True,
        _of_case("small-64", "cpu_us", LUA, OURS)),
    Bar("small, 256 connections: CPU per request, nginx+Lua / gateway", 1.4, 2.0, True,
        _of_case("small-256", "cpu_us", LUA, OURS)),
    Bar("1 connection: p50, gateway / nginx+Lua", 1.7, 1.3, False,
        _of_case("small-1", "p50_us", OURS, LUA)),
    Bar("64 KiB uploads: CPU, tuned nginx / gateway", 0.6, 0.8, True,
        _of_case("upload-64KiB", "cpu_us", TUNED, OURS)),
    Bar("bulk of known length, worst: core-busy time, tuned nginx / gateway", 1.15, 1.3, True,
        _of_bulk(TUNED, OURS)),
    Bar("bulk of known length, worst: core-busy time, HAProxy splice / gateway", 1.0, None, True,
        _of_bulk(SPLICE, OURS)),
    Bar("Redis CPU per request, gateway / nginx+Lua", 0.6, 0.5, False,
        _of_case("small-64", "redis_us", OURS, LUA)),
    Bar("memory per slow upload, KiB", 24, 16, False, _slow_kib),
    Bar("small, 64 connections: CPU, gateway / gateway with the quota off", 1.5, 1.3, False,
        _of_case("small-64", "cpu_us", OURS, OPEN)),
)  # fmt: skip
