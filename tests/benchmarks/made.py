"""Results that nobody has measured, for tests."""

from dataclasses import replace

from tests.benchmarks.measure import Run
from tests.benchmarks.results import CaseResult, Memory, Results

MIB = 1024**2
RUN = Run(
    requests=1_000,
    errors=0,
    bytes=MIB,
    took_s=1.0,
    p50_us=100,
    p99_us=900,
    cpu_s=0.1,
    core_busy_s=0.2,
    other_core_busy_s=0.5,
    redis_cpu_s=0.01,
)


def run(**changes: float) -> Run:
    return replace(RUN, **changes)  # type: ignore[arg-type]  # names and types are checked by use


def results(*cases: CaseResult, memory: dict[str, Memory] | None = None) -> Results:
    return Results(
        about={"processor": "slide rule"},
        peers={"gateway": "this one"},
        missing={"envoy": "envoy"},
        rounds=3,
        cases=list(cases),
        memory=memory or {},
    )


SMALL = CaseResult(
    name="small-64",
    title="POST 1KiB, 64 connections",
    reference="nginx+lua",
    bulk=False,
    failed={"envoy": "it went home"},
    runs={
        "nginx+lua": [run(cpu_s=0.1), run(cpu_s=0.2), run(cpu_s=0.3)],
        "gateway": [run(cpu_s=0.05, redis_cpu_s=0.005), run(cpu_s=0.2), run(cpu_s=0.1)],
    },
)
BULK = CaseResult(
    name="bulk-up-64MiB-1",
    title="PUT 64MiB, 1 connection",
    reference="nginx-tuned",
    bulk=True,
    failed={},
    runs={
        "nginx-tuned": [run(core_busy_s=0.3), run(core_busy_s=0.3)],
        "haproxy-splice": [run(core_busy_s=0.2), run(core_busy_s=0.1)],
        "gateway": [run(core_busy_s=0.2), run(core_busy_s=0.2)],
    },
)
