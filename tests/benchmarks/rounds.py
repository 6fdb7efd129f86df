"""Rounds: every peer of a group once in each, interleaved, so that all see the same weather."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.cases import Case, Group
from tests.benchmarks.measure import Run
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.ratios import Rounds, turns
from tests.benchmarks.stage import House, Stage, UnequalWorkError, stage

WARM_S = 0.5
RETAKES = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    reference: str
    runs: Rounds
    """Of the peers that have done their work in each round."""
    failed: Mapping[str, str]
    """Of the others, what was wrong."""


def run_group(house: House, group: Group, peers: Sequence[Peer], rounds: int) -> list[Outcome]:
    """`peers` are those of the group that are installed."""
    with stage(house) as running:
        for peer in peers:
            running.start(peer)
        outcomes = []
        for case in group.cases:
            _say(f"{case.title}:")
            names = [peer.name for peer in peers]
            for name in names:
                running.warm(name, _warm(case))
            outcomes.append(_run_case(running, group.reference, case, turns(names, rounds)))
        return outcomes


def _run_case(
    running: Stage, reference: str, case: Case, order: Sequence[Sequence[str]]
) -> Outcome:
    runs: dict[str, list[Run]] = {name: [] for name in order[0]}
    failed: dict[str, str] = {}
    for turn in order:
        for name in turn:
            if name in failed:
                continue
            try:
                runs[name].append(_undisturbed(running, name, case))
            except UnequalWorkError as wrong:
                failed[name] = str(wrong)
                _say(f"\n{wrong}\n")
        _say(".")
    _say("\n")
    whole = {name: found for name, found in runs.items() if name not in failed}
    return Outcome(case, reference, whole, failed)


def _undisturbed(running: Stage, name: str, case: Case) -> Run:
    """A run that had the core for itself; after some tries, one that did not."""
    run = running.run(name, case)
    for _ in range(RETAKES):
        if not run.disturbed:
            break
        run = running.run(name, case)
    return run


def _warm(case: Case) -> Case:
    errand = case.errand
    short = replace(
        errand,
        seconds=WARM_S if errand.seconds else 0,
        count=min(errand.count, errand.connections),
    )
    return replace(case, errand=short)


def _say(text: str) -> None:
    print(text, end="", flush=True, file=sys.stderr)
