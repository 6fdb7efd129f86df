"""Rounds: every peer of a group once in each, interleaved, so that all see the same weather."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.cases import Case, Group
from tests.benchmarks.measure import Run
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.ratios import Rounds, turns
from tests.benchmarks.stage import House, stage

WARM_S = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    reference: str
    runs: Rounds


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
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for turn in turns(names, rounds):
                for name in turn:
                    runs[name].append(running.run(name, case))
                _say(".")
            _say("\n")
            outcomes.append(Outcome(case, group.reference, runs))
        return outcomes


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
