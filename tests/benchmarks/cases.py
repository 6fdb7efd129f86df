"""Cases: what is asked of which peers, and whom they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.backend import Errand
from tests.benchmarks.peers.envoy import ENVOY
from tests.benchmarks.peers.gateway import GATEWAY, OPEN_GATEWAY
from tests.benchmarks.peers.haproxy import HAPROXY, SPLICING_HAPROXY
from tests.benchmarks.peers.nginx import NGINX, TUNED_NGINX
from tests.benchmarks.peers.nginx_lua import NGINX_LUA, TUNED_NGINX_LUA
from tests.benchmarks.peers.peer import Peer

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    title: str
    errand: Errand
    bulk: bool = False
    """Told per GiB instead of per request."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cases of the same peers, all of which are started once. `reference` is a peer's name."""

    name: str
    reference: str
    peers: tuple[Peer, ...]
    cases: tuple[Case, ...]


def groups(seconds: float, *, most_bytes: int = GIB, more: Sequence[Peer] = ()) -> list[Group]:
    """`seconds` is how long one run takes where requests are many; one of large bodies moves no
    more than `most_bytes`. `more` are variants of the gateway."""
    small = tuple(_upload(f"small-{n}", KIB, n, seconds) for n in (1, 64, 256))
    uploads, charged = (
        tuple(
            _upload(f"{name}-{_size(size)}", size, connections, seconds)
            for size, connections in ((16 * KIB, 16), (64 * KIB, 16), (256 * KIB, 8), (MIB, 8))
        )
        for name in ("upload", "charged")
    )
    bulk = tuple(
        _bulk(way, size, connections)
        for way in ("up", "down")
        for size, connections in ((64 * MIB, 1), (64 * MIB, 8), (GIB, 1), (GIB, 8))
        if size * connections <= most_bytes
    )
    chunked = tuple(_bulk(way, 64 * MIB, 8, chunked=True) for way in ("up", "down"))
    everyone = (NGINX, NGINX_LUA, HAPROXY, ENVOY, GATEWAY, OPEN_GATEWAY, *more)
    for_bodies = (TUNED_NGINX, SPLICING_HAPROXY, ENVOY, GATEWAY, *more)
    return [
        Group("small", NGINX_LUA.name, everyone, small),
        Group("charged", TUNED_NGINX_LUA.name, (TUNED_NGINX_LUA, GATEWAY), charged),
        Group("uploads", TUNED_NGINX.name, for_bodies, uploads),
        Group("bulk", TUNED_NGINX.name, for_bodies, bulk),
        Group("chunked", TUNED_NGINX.name, for_bodies, chunked),
    ]


def upload_sizes(chosen: Sequence[Group]) -> tuple[int, ...]:
    """The sizes of bodies that a peer with a ledger is sent."""
    sizes = {
        case.errand.size
        for group in chosen
        if any(peer.taught for peer in group.peers)
        for case in group.cases
    }
    return tuple(sorted(sizes))


def _upload(name: str, size: int, connections: int, seconds: float) -> Case:
    title = f"POST {_size(size)}, {_connections(connections)}"
    return Case(name, title, Errand("POST", "/files/upload", size, connections, seconds=seconds))


def _bulk(way: str, size: int, connections: int, *, chunked: bool = False) -> Case:
    count = max(connections, 512 * MIB // size)
    name, what = f"{way}-{_size(size)}-{connections}", f"{_size(size)}, {_connections(connections)}"
    if way == "up":
        errand = Errand("PUT", "/files/bulk", size, connections, count=count, chunked=chunked)
    else:
        path = f"/bytes/chunks/{size}" if chunked else f"/bytes/{size}"
        errand = Errand("GET", path, 0, connections, count=count)
    kind, told = ("chunked", ", in chunks") if chunked else ("bulk", "")
    return Case(f"{kind}-{name}", f"{errand.method} {what}{told}", errand, bulk=True)


def _size(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
