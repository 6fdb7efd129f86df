"""Scale: gateways before a Redis Cluster of three masters, and what bounds a single account.

    python -m tests.benchmarks.scale

What a request costs a gateway and what it costs Redis is measured as processor time, so that the
figures hold for more cores than this machine has.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from redis.crc import key_slot

from gateway.ledger.keys import keys_of
from tests.benchmarks import backend as backends
from tests.benchmarks import machine, publish, sizing
from tests.benchmarks.backend import Backend, Errand, MissingError
from tests.benchmarks.books import Books, Customer, opened
from tests.benchmarks.hot import saturated
from tests.benchmarks.peers import gateway
from tests.benchmarks.processes import Pinned, free_ports, used_ns
from tests.benchmarks.site import Site
from tests.benchmarks.sizing import Crowd, Hot, Sizing
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import RedisServer, found_binaries

CUSTOMERS = 300
CONNECTIONS = 64
IDLE_ACCOUNTS = 5_000
RECORDS = 20_000
BLOCK_OVER_S = 1.5
"""By then what was used of a block is in the books."""
UPLOAD = Errand("POST", "/files/upload", 1024, CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Yard:
    backend: Backend
    cluster: RedisCluster
    cores: machine.Cores
    books: Books
    site: Site

    def master_ns(self) -> list[int]:
        return [used_ns(pid(server)) for server in self.cluster.servers]

    def used_bytes(self) -> int:
        return sum(_said(server, "memory", "used_memory") for server in self.cluster.servers)

    def keys(self, name: str, customers: Sequence[Customer]) -> Path:
        path = self.backend.directory / name
        path.write_text("".join(f"{customer.key}\n" for customer in customers))
        return path

    @contextmanager
    def gateways(self, count: int) -> Iterator[list[tuple[Pinned, int]]]:
        """Running, with their ports; all of them on one core."""
        with ExitStack() as stack:
            started = []
            for number in range(count):
                directory = self.backend.directory / f"gateways-{count}-{number}"
                directory.mkdir(exist_ok=True)
                site = replace(self.site, directory=directory, port=free_ports(1)[0])
                process = gateway.GATEWAY.launch(site)
                stack.callback(process.stop)
                started.append((process, site.port))
            for process, port in started:
                process.wait_listening(port)
            yield started


def pid(server: RedisServer) -> int:
    return _said(server, "server", "process_id")


def _said(server: RedisServer, section: str, field: str) -> int:
    for line in server.info(section).splitlines():
        name, _, value = line.partition(b":")
        if name == field.encode():
            return int(value)
    raise ValueError(f"Redis does not say {field}")


@contextmanager
def yard(cores: machine.Cores, python: str) -> Iterator[Yard]:
    """Raises MissingError."""
    with ExitStack() as stack:
        backend = stack.enter_context(backends.standing(cores.others))
        cluster = stack.enter_context(running_cluster(found_binaries()[-1]))
        for server in cluster.servers:
            server.run("CONFIG", "SET", "appendonly", "no")
            os.sched_setaffinity(pid(server), {cores.others})
        site = Site(
            directory=backend.directory,
            core=cores.proxy,
            port=free_ports(1)[0],
            upstream_port=backend.upstream_port,
            redis_port=backend.redis_port,
            store_url=cluster.url,
            python=python,
        )
        config = site.write("gateway.toml", gateway.config(site))
        yield Yard(backend, cluster, cores, stack.enter_context(opened(config)), site)


# -- measurements ---------------------------------------------------------------------------------


def crowd(at: Yard, customers: Sequence[Customer], gateways: int, seconds: float) -> Crowd:
    """All accounts busy through so many gateways. Every request must be in the books."""
    keys = at.keys("keys", customers)
    with at.gateways(gateways) as running:
        _loads(at, running, keys, 1.0)
        before = at.books.standing(customers)
        cpu, masters = _cpu_ns(running), at.master_ns()
        requests = _loads(at, running, keys, seconds)
        spent = [after - so_far for after, so_far in zip(at.master_ns(), masters, strict=True)]
        found = Crowd(
            gateways, requests, (_cpu_ns(running) - cpu) / 1e9, [each / 1e9 for each in spent]
        )
        counted = at.books.standing(customers).uploads - before.uploads
        if counted != requests:
            raise RuntimeError(f"{requests} requests were served, and {counted} are in the books")
        return found


def hot(at: Yard, customer: Customer, blocked: Customer, seconds: float) -> Hot:
    """One account alone, through a gateway; its master with no pause between its scripts; then one
    that is `blocked`: served from blocks."""
    owner = _owner(at, customer)
    with at.gateways(1) as running:
        requests, cpu_s, _ = _alone(at, running, customer, seconds)
        before_ns = used_ns(pid(owner))
        served = saturated(owner, running[0][1], customer, seconds)
        per_s = served / (used_ns(pid(owner)) - before_ns) * 1e9
        with_block = _alone(at, running, blocked, seconds)
    return Hot(requests, cpu_s, per_s, *with_block)


def _alone(
    at: Yard, running: Sequence[tuple[Pinned, int]], customer: Customer, seconds: float
) -> tuple[int, float, float]:
    """How many requests of one account were served, and what they cost its master and the gateways.
    Every one must be in the books."""
    keys, owner = at.keys("hot-key", [customer]), _owner(at, customer)
    _loads(at, running, keys, 1.0)
    time.sleep(BLOCK_OVER_S)
    before, before_ns = at.books.standing([customer]), (used_ns(pid(owner)), _cpu_ns(running))
    requests = _loads(at, running, keys, seconds)
    time.sleep(BLOCK_OVER_S)
    spent = (used_ns(pid(owner)) - before_ns[0], _cpu_ns(running) - before_ns[1])
    counted = at.books.standing([customer]).uploads - before.uploads
    if counted != requests:
        raise RuntimeError(f"{requests} requests were served, and {counted} are in the books")
    return requests, spent[0] / 1e9, spent[1] / 1e9


def _owner(at: Yard, customer: Customer) -> RedisServer:
    return at.cluster.owner(key_slot(keys_of(customer.account).books))


def _loads(at: Yard, running: Sequence[tuple[Pinned, int]], keys: Path, seconds: float) -> int:
    """How many requests were served by all gateways together."""
    errand = replace(UPLOAD, connections=max(1, CONNECTIONS // len(running)), seconds=seconds)
    with ThreadPoolExecutor(len(running)) as pool:
        results = list(pool.map(lambda g: at.backend.load(g[1], errand, keys), running))
    return sum(result.requests - result.errors for result in results)


def _cpu_ns(running: Sequence[tuple[Pinned, int]]) -> int:
    return sum(process.used_ns for process, _ in running)


def measured(at: Yard, rounds: int, seconds: float, about: str) -> Sizing:
    customers = at.books.customers(CUSTOMERS)
    crowds = []
    for _ in range(rounds):
        for gateways in (1, 2, 3):
            crowds.append(crowd(at, customers, gateways, seconds))
            print(".", end="", flush=True, file=sys.stderr)
    (blocked,) = at.books.customers(1, "blocked", plan=gateway.HOT_PLAN)
    hots = [hot(at, customers[0], blocked, seconds) for _ in range(rounds)]
    empty = at.used_bytes()
    idle = at.books.customers(IDLE_ACCOUNTS, "idle")
    made = at.used_bytes()
    at.books.upload(idle, UPLOAD.size)
    used = at.used_bytes()
    at.books.upload(idle[:1] * RECORDS, UPLOAD.size)
    remembered = at.used_bytes()
    print(file=sys.stderr)
    return Sizing(
        about,
        crowds,
        hots,
        account_bytes=(made - empty) / len(idle),
        used_account_bytes=(used - empty) / len(idle),
        record_bytes=(remembered - used) / RECORDS,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long one run takes")
    parser.add_argument("--python", default=sys.executable, help="which Python runs the gateways")
    parser.add_argument("--publish", action="store_true", help="tell the README")
    options = parser.parse_args()
    cores = machine.cores()
    if cores is None:
        print("the benchmark needs two cores", file=sys.stderr)
        return 2
    about = f"{machine.processor()}, {machine.python_said(options.python)}"
    try:
        with machine.alone(), yard(cores, options.python) as at:
            found = measured(at, options.rounds, options.seconds, about)
    except MissingError as missing:
        print(f"the benchmark needs {missing}", file=sys.stderr)
        return 2
    print(sizing.table(found), end="")
    print(f"one account by processor time: {found.hot_by_cpu:,.0f} requests/s")
    if options.publish:
        publish.publish_sizing(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
