"""What the ledger's scripts cost Redis: CPU for each verb, bytes for each account and reservation.

    python -m tests.benchmarks.scripts [--quick] [--newest] [--accounts 1000000] [--json FILE]

Commands are made by the ledger itself, then sent to a real server in pipelines. Two clocks: the CPU
of the whole server process, which is what a request costs, and `usec_per_call` of its statistics,
which is the script alone. Figures are medians over rounds; compare them only within one run.
"""

import argparse
import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import hiredis

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger import scripts
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Line
from gateway.ledger.prepared import Prepared
from gateway.ledger.resp import command, script_call
from gateway.ledger.scripts import Script
from tests.redis_server import Binary, RedisServer, found_binaries

METERS = (
    Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
    Meter("files", MeterKind.LEVEL, "count"),
    Meter("ingress_bytes", MeterKind.CUMULATIVE, "bytes"),
)
LINES = tuple(Line.exact(meter.name, amount) for meter, amount in zip(METERS, (1024, 1, 1024)))  # noqa: B905
ACTUAL = {line.meter: line.most for line in LINES}
SIZE = LINES[0].most
SIZES = {"storage_bytes": None, "files": 1, "ingress_bytes": None}
LARGER = tuple(Line.exact(line.meter, line.most * 2) for line in LINES)
RATE = RateLimit(1_000_000, 1)
DEPTH = 32
"""Commands in one write: what a busy gateway's connection carries together."""
TOGETHER = 500
"""Reservations that are open at a time, beside those that stay open."""
LONG_MS = 3_600_000
SHORT_KEEP_MS = 2_000
"""So that records are being forgotten, as they are in any account that has run for minutes."""
AS_ONE = 8
"""Calls that a gateway under load makes as one."""


def terms_of(account: str) -> Terms:
    month = PeriodRule(PeriodKind.MONTH, "UTC")
    plan = Plan(
        "bench",
        limits={meter.name: 1 << 50 for meter in METERS},
        periods={meter.name: month for meter in METERS},
    )
    return Terms(account, {meter.name: meter for meter in METERS}, plan, key_id="key1")


class Recorder:
    """A transport that runs nothing and keeps what it was asked to run, as bytes."""

    def __init__(self) -> None:
        self.last = b""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.last = script_call(b"EVALSHA", script.sha, keys, args)
        raise StoreError(STORE_UNAVAILABLE, "recorded", transient=False)

    async def close(self) -> None:
        pass


class Commands:
    """The ledger's verbs as the commands that they are on the wire."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._ledger = Ledger(self._recorder, self._recorder, StoreClock())

    def reserve(
        self, terms: Terms, name: str, *, lease_ms: int = 30_000, keep_ms: int = SHORT_KEEP_MS
    ) -> bytes:
        return self._made(
            self._ledger.reserve(terms, name, LINES, lease_ms=lease_ms, keep_ms=keep_ms, rate=RATE)
        )

    def grow(self, terms: Terms, name: str) -> bytes:
        return self._made(self._ledger.grow(terms, name, LARGER))

    def commit(self, terms: Terms, name: str) -> bytes:
        return self._made(self._ledger.commit(terms, name, ACTUAL))

    def open_books(self, account: str) -> bytes:
        return self._made(self._ledger.open_books(account))

    def _made(self, verb: Any) -> bytes:
        # The recorder never waits, so one step is all that a verb takes.
        try:
            verb.send(None)
        except StoreError:
            return self._recorder.last
        raise AssertionError("the ledger waited for something else")


class Loader:
    """Sends commands in pipelines over one connection and sees that each did what it should."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.socket))
        self._reader = hiredis.Reader()
        for script in scripts.ALL:
            self.send([command(b"SCRIPT", b"LOAD", script.source)], lambda reply: True)

    def send(
        self, commands: Sequence[bytes], good: Callable[[Any], bool], depth: int = DEPTH
    ) -> None:
        for start in range(0, len(commands), depth):
            batch = commands[start : start + depth]
            self._socket.sendall(b"".join(batch))
            for _ in batch:
                reply = self._reply()
                assert good(reply), f"the server answered {reply!r}"

    def close(self) -> None:
        self._socket.close()

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 18))
        return reply


def granted(reply: Any) -> bool:
    return isinstance(reply, list) and bytes(reply[0])[:1] == b"g" and reply[2] == 0


def settled(reply: Any) -> bool:
    return isinstance(reply, list) and bytes(reply[0])[:1] == b"s" and reply[2] == 0


def all_of(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda replies: isinstance(replies, list) and all(map(good, replies))


def grown(reply: Any) -> bool:
    return isinstance(reply, list) and bytes(reply[0])[:1] == b"g"


def opened(reply: Any) -> bool:
    return bool(reply == 1)


@dataclass(slots=True)
class Cost:
    """µs of Redis for one command: of the process, and of the script by its own statistics."""

    process_us: float
    script_us: float

    def add(self, other: "Cost", share: float) -> None:
        self.process_us += other.process_us * share
        self.script_us += other.script_us * share


@dataclass(slots=True)
class Row:
    """What it costs with so many reservations open in the account, or so many accounts."""

    open: int
    accounts: int
    reserve: Cost
    commit: Cost
    grow: Cost | None = None

    @property
    def pair_us(self) -> float:
        return self.reserve.process_us + self.commit.process_us


@dataclass(slots=True)
class Report:
    server: str
    rows: list[Row] = field(default_factory=list)
    unpipelined: Row | None = None
    as_one: Row | None = None
    """Where AS_ONE calls, each of another account, are made as one."""
    account_bytes: float = 0
    """Of an account that has moved in one hour, with nothing open and nothing to be forgotten."""
    open_bytes: float = 0
    """Of one open reservation, among very many in an account."""


class Bench:
    def __init__(self, server: RedisServer, pairs: int, rounds: int) -> None:
        self.server = server
        self.loader = Loader(server)
        self.commands = Commands()
        self.pairs = pairs
        self.rounds = rounds
        self._number = 0

    def names(self, count: int) -> list[str]:
        """Ids as the gateway makes them: 26 characters, never twice."""
        self._number += count
        return [f"01JD{number:022d}" for number in range(self._number - count, self._number)]

    def hold(self, terms: Terms, count: int) -> None:
        """So many more reservations are open from now on."""
        made = (self.commands.reserve(terms, name, lease_ms=LONG_MS) for name in self.names(count))
        for part in parts(made, 10_000):
            self.loader.send(part, granted)

    def row(self, chosen: Sequence[Terms], held: int, accounts: int, *, depth: int = DEPTH) -> Row:
        """Reserve, grow and commit, in rounds; `chosen` are the accounts of one round."""
        costs: tuple[list[Cost], ...] = ([], [], [])
        for _ in range(self.rounds):
            named = list(zip(chosen, self.names(len(chosen)), strict=True))
            steps = (
                ([self.commands.reserve(terms, name) for terms, name in named], granted),
                ([self.commands.grow(terms, name) for terms, name in named], grown),
                ([self.commands.commit(terms, name) for terms, name in named], settled),
            )
            spent = [Cost(0, 0), Cost(0, 0), Cost(0, 0)]
            for start in range(0, len(named), TOGETHER):
                for total, (made, good) in zip(spent, steps, strict=True):
                    part = made[start : start + TOGETHER]
                    total.add(self._cost(part, good, depth), len(part) / len(named))
            for found, total in zip(costs, spent, strict=True):
                found.append(total)
        reserve, grow, commit = map(middle, costs)
        return Row(held, accounts, reserve, commit, grow)

    def as_one(self, chosen: Sequence[Terms], accounts: int) -> Row:
        """Reserve and commit, AS_ONE accounts at a time."""
        now_ms = StoreClock().now_ms()
        ready = [
            Prepared(replace(terms, plan=replace(terms.plan, rate=RATE)), SIZES, now_ms,
                     lease_ms=30_000, keep_ms=SHORT_KEEP_MS, note="", with_asset=False)
            for terms in chosen
        ]  # fmt: skip
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for _ in range(self.rounds):
            spent = [Cost(0, 0), Cost(0, 0)]
            for start in range(0, len(ready), TOGETHER):
                part = ready[start : start + TOGETHER]
                named = [(each, name.encode()) for each, name in zip(part, self.names(len(part)))]  # noqa: B905
                steps = (
                    ([each.reserve(name, SIZE) for each, name in named], granted),
                    ([each.commit(name, SIZE, None) for each, name in named], settled),
                )
                for total, (calls, good) in zip(spent, steps, strict=True):
                    groups = [calls[at : at + AS_ONE] for at in range(0, len(calls), AS_ONE)]
                    packed = [group[0].template.family.packed(group) for group in groups]
                    cost = self._cost(packed, all_of(good), DEPTH // AS_ONE)
                    total.add(cost, len(groups) / len(ready))
            for found, total in zip(costs, spent, strict=True):
                found.append(total)
        return Row(0, accounts, *map(middle, costs))

    def _cost(self, made: Sequence[bytes], good: Callable[[Any], bool], depth: int) -> Cost:
        self.server.run("CONFIG", "RESETSTAT")
        before_ns = self.server.cpu_ns()
        self.loader.send(made, good, depth)
        spent_ns = self.server.cpu_ns() - before_ns
        stats = self.server.info("commandstats").decode()
        line = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
        figures = dict(pair.split("=") for pair in line.partition(":")[2].split(","))
        return Cost(spent_ns / len(made) / 1000, float(figures["usec_per_call"]))


def parts(made: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for each in made:
        part.append(each)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def middle(costs: Sequence[Cost]) -> Cost:
    return Cost(median(cost.process_us for cost in costs), median(cost.script_us for cost in costs))


def used_bytes(server: RedisServer) -> int:
    lines = server.info("memory").decode().splitlines()
    return int(next(line for line in lines if line.startswith("used_memory:")).partition(":")[2])


def one_account(bench: Bench, report: Report, held: Sequence[int]) -> None:
    """The same account with more and more open reservations."""
    terms = terms_of("one")
    bench.loader.send([bench.commands.open_books("one")], opened)
    chosen = [terms] * bench.pairs
    bench.row(chosen, 0, 1)
    have = 0
    for count in held:
        before, more = used_bytes(bench.server), count - have
        bench.hold(terms, more)
        if more >= 5_000:
            report.open_bytes = (used_bytes(bench.server) - before) / more
        have = count
        report.rows.append(bench.row(chosen, count, 1))
    report.unpipelined = bench.row(chosen[: bench.pairs // 4], have, 1, depth=1)


def many_accounts(bench: Bench, report: Report, count: int) -> None:
    """Spread over so many accounts, each of which has moved before."""
    bench.server.run("FLUSHALL")
    names = [f"acct-{number:07d}" for number in range(count)]
    before = used_bytes(bench.server)
    made: Iterator[bytes] = map(bench.commands.open_books, names)
    for part in parts(made, 10_000):
        bench.loader.send(part, opened)
    for start in range(0, count, 10_000):
        some = [terms_of(name) for name in names[start : start + 10_000]]
        ids = bench.names(len(some))
        verbs = ((terms, name) for terms, name in zip(some, ids, strict=True))
        pairs = list(verbs)
        bench.loader.send([bench.commands.reserve(t, n, keep_ms=0) for t, n in pairs], granted)
        bench.loader.send([bench.commands.commit(t, n) for t, n in pairs], settled)
    # What is settled is forgotten by the next reserve: here by the sweep alone.
    swept = Sweeper()
    for part in parts(map(swept.command, names), 10_000):
        bench.loader.send(part, lambda reply: reply[0][:1] == b"e")
    report.account_bytes = (used_bytes(bench.server) - before) / count
    step = max(1, count // bench.pairs)
    chosen = [terms_of(name) for name in names[::step][: bench.pairs]]
    report.rows.append(bench.row(chosen, 0, count))
    report.as_one = bench.as_one(chosen, count)


class Sweeper(Commands):
    def command(self, account: str) -> bytes:
        return self._made(self._ledger.expire(account))


def measure(binary: Binary, options: argparse.Namespace) -> Report:
    pairs, rounds = (2_000, 3) if options.quick else (10_000, 7)
    held = (0, 100, 1_000, 10_000) if options.quick else (0, 100, 1_000, 10_000, 100_000)
    accounts = 10_000 if options.quick else options.accounts
    report = Report(binary.name)
    with tempfile.TemporaryDirectory(prefix="qg-bench-") as directory:
        server = RedisServer(binary, Path(directory), options={"appendonly": "no"})
        server.start()
        try:
            bench = Bench(server, pairs, rounds)
            one_account(bench, report, held)
            if accounts:
                many_accounts(bench, report, accounts)
            bench.loader.close()
        finally:
            server.stop()
    return report


def table(report: Report) -> Iterator[str]:
    yield f"{report.server}: µs of Redis for 3 meters (process, script)"
    yield f"{'open':>8} {'accounts':>9}  {'reserve':>15} {'commit':>15} {'grow':>15} {'pair':>7}"
    rows = [*report.rows, *filter(None, (report.unpipelined, report.as_one))]
    notes = {id(report.unpipelined): "  unpipelined", id(report.as_one): f"  {AS_ONE} as one"}
    for row in rows:
        costs = [row.reserve, row.commit, *([row.grow] if row.grow else [])]
        texts = " ".join(f"{cost.process_us:7.1f} {cost.script_us:7.1f}" for cost in costs)
        yield f"{row.open:8} {row.accounts:9}  {texts} {row.pair_us:7.1f}{notes.get(id(row), '')}"
    account, reservation = report.account_bytes, report.open_bytes
    yield f"bytes: {account:.0f} an account, {reservation:.0f} an open reservation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer of everything, in seconds")
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--newest", action="store_true", help="on the newest server alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    binaries = found_binaries()[-1:] if options.newest else found_binaries()
    reports = [measure(binary, options) for binary in binaries]
    for report in reports:
        print("\n".join(table(report)))
    if options.json:
        options.json.write_text(json.dumps([asdict(report) for report in reports], indent=2))


if __name__ == "__main__":
    main()
