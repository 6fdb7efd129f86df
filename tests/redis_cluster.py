"""A real Redis Cluster for tests: three masters, and slots that can be moved between them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ports import free_port
from tests.redis_server import Binary, RedisServer

SLOTS = 16_384
READY_WITHIN_S = 20.0
OPTIONS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "600",
    "cluster-replica-validity-factor": "0",
    "cluster-migration-barrier": "9",
    "repl-diskless-sync-delay": "0",
    "enable-debug-command": "yes",
}


class RedisCluster:
    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = list(servers)

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{nodes}"

    def empty(self) -> None:
        for server in self.servers:
            if b"role:master" in server.info("replication"):
                server.run("FLUSHALL")

    def owner(self, slot: int) -> RedisServer:
        """The master that serves a slot."""
        reply = self.servers[0].run("CLUSTER", "SLOTS")
        assert isinstance(reply, list)
        (port,) = [master[1] for first, last, master, *_ in reply if first <= slot <= last]
        return next(server for server in self.servers if server.port == port)

    def begin_move(self, slot: int) -> tuple[RedisServer, RedisServer]:
        """Begin to move a slot: what is not at its owner any more is asked for at the other."""
        source = self.owner(slot)
        target = next(s for s in self.servers if s is not source and node_id(s) != "")
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
        return source, target

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        keys = source.run("CLUSTER", "GETKEYSINSLOT", slot, 1_000)
        assert isinstance(keys, list)
        if keys:
            source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)

    def end_move(self, slot: int, target: RedisServer) -> None:
        for server in (target, *self.servers):
            server.run("CLUSTER", "SETSLOT", slot, "NODE", node_id(target))


def node_id(server: RedisServer) -> str:
    answer = server.run("CLUSTER", "MYID")
    assert isinstance(answer, bytes)
    return answer.decode()


@contextmanager
def running_cluster(binary: Binary) -> Iterator[RedisCluster]:
    """Three masters, each with a third of the slots."""
    with ExitStack() as stack:
        servers = []
        for _ in range(3):
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="qg-cluster-")))
            server = RedisServer(binary, directory, port=free_port(), options=options(binary))
            server.start()
            stack.callback(server.kill)
            servers.append(server)
        for number, server in enumerate(servers):
            server.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            slots = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
            server.run("CLUSTER", "ADDSLOTS", *slots)
            server.run("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        wait_agreed(servers, 3)
        yield RedisCluster(servers)


@contextmanager
def joined_replica(cluster: RedisCluster, master: RedisServer) -> Iterator[RedisServer]:
    """One more server, that follows one of the masters."""
    with TemporaryDirectory(prefix="qg-cluster-") as directory:
        binary = master.binary
        server = RedisServer(binary, Path(directory), port=free_port(), options=options(binary))
        server.start()
        try:
            server.run("CLUSTER", "MEET", "127.0.0.1", master.port)
            wait_agreed([*cluster.servers, server], 4)
            server.run("CLUSTER", "REPLICATE", node_id(master))
            until(lambda: b"state=online" in master.info("replication"))
            yield server
        finally:
            server.kill()


def options(binary: Binary) -> dict[str, str]:
    known = dict(OPTIONS)
    if binary.numbers < (7, 0):
        del known["enable-debug-command"]
    return known


def wait_agreed(servers: Sequence[RedisServer], nodes: int) -> None:
    wanted = {b"cluster_state:ok", b"cluster_known_nodes:%d" % nodes}

    def agreed() -> bool:
        return all(wanted <= set(said(server)) for server in servers)

    def said(server: RedisServer) -> list[bytes]:
        answer = server.run("CLUSTER", "INFO")
        assert isinstance(answer, bytes)
        return answer.splitlines()

    until(agreed)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not true():
        assert time.monotonic() < deadline, "the cluster does not get ready"
        time.sleep(0.02)
