"""A stage: the peers of a group, started and taught, and the proof that they did their work."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

from tests.benchmarks import backend as backends
from tests.benchmarks import learning, measure
from tests.benchmarks.backend import Backend
from tests.benchmarks.books import Books, Customer, Standing, opened
from tests.benchmarks.cases import Case
from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Run, Target
from tests.benchmarks.peers import gateway
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned, free_ports
from tests.benchmarks.site import Site

CUSTOMERS = 100
SETTLED_WITHIN_S = 10.0
ERRORS_MOST = 0.1
"""Of all requests: a store that hangs for a moment on a busy machine is answered with 503."""
HOUR_MS = 3_600_000
MARGIN_MS = 20_000
"""A lesson must hold for this much longer before it is relied on."""


class UnequalWorkError(Exception):
    """A peer has not done what it was measured for."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`python` runs the gateway; `settings` are lines of its `[server]` table."""

    python: str
    settings: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    """Of bodies that nginx with Lua will be sent."""


class House:
    """Backend and accounts, for as long as the benchmark takes."""

    def __init__(self, backend: Backend, cores: Cores, wishes: Wishes, books: Books) -> None:
        self.backend = backend
        self.cores = cores
        self.wishes = wishes
        self.books = books
        self.customers: Sequence[Customer] = books.customers(CUSTOMERS)
        self.keys = backend.directory / "keys"
        self.keys.write_text("".join(f"{customer.key}\n" for customer in self.customers))
        self.one_key = backend.directory / "one-key"
        self.one_key.write_text(f"{self.customers[0].key}\n")
        self._taught: dict[str, str] = {}
        self._taught_until_ms = 0
        self._places = 0

    def site(self, peer: Peer) -> Site:
        """A new place for a peer."""
        self._places += 1
        directory = self.backend.directory / f"{peer.name}-{self._places}"
        directory.mkdir()
        words = self.backend.directory / "words.lua"
        return replace(_site(self.backend, self.cores, self.wishes, directory), words=words)

    def teach(self) -> bool:
        """Have nginx with Lua know what to ask of Redis now; True if it knew something else."""
        if self.books.now_ms() + MARGIN_MS < self._taught_until_ms:
            return False
        into_hour_ms = self.books.now_ms() % HOUR_MS
        if into_hour_ms > HOUR_MS - MARGIN_MS:
            time.sleep((HOUR_MS - into_hour_ms) / 1_000 + 0.5)
        site = self.site(gateway.GATEWAY)
        teacher = gateway.GATEWAY.launch(site)
        try:
            teacher.wait_listening(site.port)
            self._taught = learning.teach(
                site.port,
                self.backend.redis_port,
                self.books,
                self.customers,
                sizes=self.wishes.sizes,
                directory=self.backend.directory,
            )
        finally:
            teacher.stop()
        self._taught_until_ms = (self.books.now_ms() // HOUR_MS + 1) * HOUR_MS
        return True

    def examine(self, site: Site) -> None:
        """Whether nginx with Lua answers as the gateway does, and knows how the account stands.
        Raises UnequalWorkError."""
        customer = self.customers[0]
        try:
            answer = learning.upload(site.port, customer.key, self.wishes.sizes[0])
        except (HTTPException, RuntimeError) as failure:
            said = (site.directory / "error.log").read_text(errors="replace")[-2_000:]
            raise UnequalWorkError(f"nginx with Lua fails: {failure}\n{said}") from failure
        wrong = learning.differences(self._taught, answer)
        left = self.settled_left(customer)
        if f'"storage_bytes";r={left},' not in answer.get("ratelimit", ""):
            wrong.append(f"storage_bytes, of which {left} are left")
        if wrong:
            raise UnequalWorkError(f"nginx with Lua answers unlike the gateway: {wrong}, {answer}")

    def settled(self) -> Standing:
        """How all accounts stand when nothing is open any more, or after some time."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while True:
            found = self.books.standing(self.customers)
            if not found.open_reservations or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def settled_left(self, customer: Customer) -> int | None:
        self.settled()
        return self.books.quotas(customer)["storage_bytes"].remaining


@contextmanager
def house(cores: Cores, wishes: Wishes) -> Iterator[House]:
    """Raises MissingError."""
    with backends.standing(cores.others, never_idle=True) as backend, ExitStack() as stack:
        place = backend.directory / "desk"
        place.mkdir()
        site = _site(backend, cores, wishes, place)
        config = site.write("gateway.toml", gateway.config(site))
        books = stack.enter_context(opened(config))
        yield House(backend, cores, wishes, books)


def _site(backend: Backend, cores: Cores, wishes: Wishes, directory: Path) -> Site:
    return Site(
        directory=directory,
        core=cores.proxy,
        port=free_ports(1)[0],
        upstream_port=backend.upstream_port,
        redis_port=backend.redis_port,
        python=wishes.python,
        settings=wishes.settings,
    )


class Stage:
    """Peers that run, by their names."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._peers: dict[str, Peer] = {}
        self._targets: dict[str, Target] = {}

    def start(self, peer: Peer) -> None:
        if peer.taught:
            self._house.teach()
        site = self._house.site(peer)
        process = peer.launch(site)
        self._peers[peer.name] = peer
        self._targets[peer.name] = Target(process, site.port, site.core)
        process.wait_listening(site.port)
        if peer.taught:
            self._house.examine(site)

    def process(self, name: str) -> Pinned:
        return self._targets[name].process

    def port(self, name: str) -> int:
        return self._targets[name].port

    def stop(self) -> None:
        for target in self._targets.values():
            target.process.stop()

    def run(self, name: str, case: Case) -> Run:
        """One run, and the proof that every request of it was counted once. Raises
        UnequalWorkError."""
        peer, target, house = self._peers[name], self._targets[name], self._house
        if peer.taught and house.teach():
            target.process.signal(signal.SIGHUP)
            time.sleep(1)  # nothing tells when the old worker takes no more connections
        before = house.settled() if peer.ledger else None
        run, result = measure.run(house.backend, target, case.errand, house.keys)
        if result.errors > result.requests * ERRORS_MOST:
            raise UnequalWorkError(
                f"{name} failed {result.errors} of {result.requests} requests:"
                f" {result.said}\n{target.process.log.read_text(errors='replace')[-2_000:]}"
            )
        if before is not None:
            self._prove(name, case, run, before)
        return run

    def warm(self, name: str, case: Case) -> None:
        """A run that is not measured, and whose failures do not matter: a busy machine may take
        its time to find all accounts for the first time."""
        target, house = self._targets[name], self._house
        measure.run(house.backend, target, case.errand, house.keys)

    def _prove(self, name: str, case: Case, run: Run, before: Standing) -> None:
        up = case.errand.method != "GET"
        wanted = replace(
            before,
            uploads=before.uploads + (run.requests if up else 0),
            stored=before.stored + (run.bytes if up else 0),
            delivered=before.delivered + (0 if up else run.bytes),
        )
        if (found := self._house.settled()) != wanted:
            raise UnequalWorkError(
                f"after {run.requests} requests through {name}, and {run.errors} in vain, the"
                f" books say {found} and not {wanted}"
            )


@contextmanager
def stage(house: House) -> Iterator[Stage]:
    with ExitStack() as stack:
        built = Stage(house)
        stack.callback(built.stop)
        yield built
