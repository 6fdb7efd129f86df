"""Results: what a benchmark found, as a document of JSON and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.measure import Run
from tests.benchmarks.ratios import Rounds

VERSION = 1


@dataclass(frozen=True, slots=True)
class CaseResult:
    name: str
    title: str
    reference: str
    bulk: bool
    runs: Rounds
    failed: Mapping[str, str]
    """Peers that did not do their work, and what was wrong."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `base` is with no connection, the others are for each connection more than that."""

    base: float
    per_idle: float
    per_slow: float


@dataclass(frozen=True, slots=True)
class Results:
    """`about` describes the machine, `peers` the versions of those that ran, `missing` what would
    have to be installed for the others."""

    about: Mapping[str, str]
    peers: Mapping[str, str]
    missing: Mapping[str, str]
    rounds: int
    cases: Sequence[CaseResult]
    memory: Mapping[str, Memory]


def write(results: Results, path: Path) -> None:
    path.write_text(json.dumps({"version": VERSION, **asdict(results)}, indent=1) + "\n")


def read(path: Path) -> Results:
    said = json.loads(path.read_text())
    if said.pop("version") != VERSION:
        raise ValueError(f"{path} is of another version of the benchmark")
    cases = [
        CaseResult(
            **{
                **case,
                "runs": {peer: [Run(**run) for run in runs] for peer, runs in case["runs"].items()},
            }
        )
        for case in said.pop("cases")
    ]
    memory = {peer: Memory(**found) for peer, found in said.pop("memory").items()}
    return Results(cases=cases, memory=memory, **said)
