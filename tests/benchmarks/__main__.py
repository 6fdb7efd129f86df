"""The benchmark: the gateway beside nginx, nginx with Lua doing the same work, HAProxy and Envoy.

Proxies take turns on one core; load, upstream and Redis are on another. It takes some minutes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import machine, memory, publish, report, results
from tests.benchmarks.backend import MissingError
from tests.benchmarks.cases import Group, groups, upload_sizes
from tests.benchmarks.peers import gateway
from tests.benchmarks.peers.envoy import ENVOY
from tests.benchmarks.peers.haproxy import SPLICING_HAPROXY
from tests.benchmarks.peers.nginx import TUNED_NGINX
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.results import CaseResult, Memory, Results
from tests.benchmarks.rounds import run_group
from tests.benchmarks.stage import House, UnequalWorkError, Wishes, house

MEMORY_PEERS = (TUNED_NGINX, SPLICING_HAPROXY, ENVOY, gateway.GATEWAY)
VARIANTS = {
    "fast": gateway.variant("gateway-ordinary", "fast_path = false"),
    "splice": gateway.variant("gateway-copying", "splice = false"),
}


def main() -> int:
    options = parser().parse_args()
    if options.publish is not None:
        publish.publish(results.read(options.publish))
        return 0
    cores = machine.cores()
    if cores is None:
        print("the benchmark needs two cores", file=sys.stderr)
        return 2
    chosen = _chosen(options)
    wishes = Wishes(options.python, tuple(options.setting), upload_sizes(chosen))
    try:
        with machine.alone(), house(cores, wishes) as opened:
            found = _measure(opened, chosen, options)
    except MissingError as missing:
        print(f"the benchmark needs {missing}", file=sys.stderr)
        return 2
    except UnequalWorkError as wrong:
        print(f"not a fair comparison: {wrong}", file=sys.stderr)
        return 1
    print(report.terminal(found), end="")
    if options.json is not None:
        results.write(found, options.json)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="three short rounds of the main cases")
    add("--rounds", type=int, help="how often each peer has its turn (5)")
    add("--seconds", type=float, help="how long one turn takes (1.5)")
    add("--only", action="append", metavar="CASE", help="groups or cases by name or its beginning")
    add("--peer", action="append", metavar="NAME", help="these peers alone")
    add("--python", default=sys.executable, help="which Python runs the gateway")
    add("--setting", action="append", default=[], metavar="LINE",
        help="a line of the gateway's [server] table")  # fmt: skip
    add("--without", action="append", default=[], choices=VARIANTS,
        help="measure also a gateway without that")  # fmt: skip
    add("--json", type=_new_file, metavar="FILE", help="write what was found")
    add("--publish", type=Path, metavar="FILE",
        help="measure nothing: tell the README what is in such a file")  # fmt: skip
    return parser


def _new_file(said: str) -> Path:
    """Where something can be written; what takes minutes is not to end in vain."""
    path = Path(said)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory for a file {said}")
    return path


def _chosen(options: argparse.Namespace) -> list[Group]:
    seconds = options.seconds or (1.0 if options.quick else 1.5)
    more = [VARIANTS[name] for name in options.without]
    wanted: Sequence[str] | None = options.only
    if wanted is None and options.quick:
        wanted = ("small-64", "upload-64KiB", "bulk-up-64MiB-8")
    chosen = []
    for group in groups(seconds, more=more):
        cases = tuple(
            case
            for case in group.cases
            if wanted is None or any(case.name.startswith(w) or group.name == w for w in wanted)
        )
        if cases:
            chosen.append(Group(group.name, group.reference, group.peers, cases))
    return chosen


def _measure(opened: House, chosen: Sequence[Group], options: argparse.Namespace) -> Results:
    rounds: int = options.rounds or (3 if options.quick else 5)
    wanted = {peer.name: peer for group in chosen for peer in group.peers
              if options.peer is None or peer.name in options.peer}  # fmt: skip
    missing = {name: said for name, peer in wanted.items() if (said := peer.missing()) is not None}
    for name, said in missing.items():
        print(f"{name} is left out: {said} is missing", file=sys.stderr)
    cases: list[CaseResult] = []
    for group in chosen:
        peers: list[Peer] = [
            peer for peer in group.peers if peer.name in wanted and peer.name not in missing
        ]
        for outcome in run_group(opened, group, peers, rounds):
            case = outcome.case
            cases.append(
                CaseResult(
                    case.name,
                    case.title,
                    outcome.reference,
                    case.bulk,
                    outcome.runs,
                    outcome.failed,
                )
            )
    remembered = _measure_memory(opened, options)
    site = opened.site(gateway.GATEWAY)
    versions = {name: p.version(site) for name, p in wanted.items() if name not in missing}
    return Results(machine.described(), versions, missing, rounds, cases, remembered)


def _measure_memory(opened: House, options: argparse.Namespace) -> dict[str, Memory]:
    if options.quick or (options.only is not None and "memory" not in options.only):
        return {}
    print("memory", end="", flush=True, file=sys.stderr)
    found = {}
    for peer in MEMORY_PEERS:
        if peer.missing() is None and (options.peer is None or peer.name in options.peer):
            found[peer.name] = memory.measure(opened, peer, memory.Widths(2_000, 2_000))
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
