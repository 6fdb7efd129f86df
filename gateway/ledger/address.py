"""Where a store is: its URL taken apart and checked, so that no secret of it is ever printed.

`redis://user:password@host:6379/0`, `rediss://…` (TLS), `unix:///path?db=0`,
`redis+cluster://host:port,host:port` and `redis+sentinel://host:port,host:port/mastername/0`
(`rediss+…` for TLS). Parameters: `db`, and with TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
User name and password are percent-encoded where they need to be.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.errors import ConfigError, ConfigProblem

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_EXAMPLE = "write it like redis://user:password@host:6379/0 or unix:///run/redis.sock"


class Kind(StrEnum):
    SINGLE = "redis"
    CLUSTER = "redis+cluster"
    SENTINEL = "redis+sentinel"


@dataclass(frozen=True, slots=True)
class Address:
    """One server and how to be let in. Printing it shows the place alone."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a unix socket; then host and port mean nothing."""
    db: int = 0
    tls: bool = False
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls_files: Mapping[str, str] = field(default_factory=dict)
    """`ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, as redis-py calls them."""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> "Address":
        """The same credentials at another place."""
        return replace(self, host=host, port=port, path="")

    def tls_context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.tls_files.get("ssl_ca_certs"))
        if certificate := self.tls_files.get("ssl_certfile"):
            context.load_cert_chain(certificate, self.tls_files.get("ssl_keyfile"))
        return context


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL names: one server, or where to ask for the nodes or the master."""

    kind: Kind
    addresses: tuple[Address, ...]
    master: str = ""
    """The name that the sentinels know the master by."""

    def __str__(self) -> str:
        places = ",".join(str(address) for address in self.addresses)
        return f"{self.kind}://{places}/{self.master}" if self.master else f"{self.kind}://{places}"


def parse(url: str) -> Place:
    """Raises `ConfigError`, which repeats no part of the URL: a password that is not encoded well
    ends up in any of them."""
    try:
        return _place(url)
    except ValueError as error:
        raise ConfigError((ConfigProblem("redis", str(error), _EXAMPLE),)) from None


def _place(url: str) -> Place:
    split = urlsplit(url)
    parameters = _parameters(split.query)
    scheme = split.scheme.replace("rediss", "redis", 1)
    login, _, hosts = split.netloc.rpartition("@")
    user, _, password = login.partition(":")
    common = Address(
        db=_db(parameters.get("db", "0")),
        tls=split.scheme.startswith("rediss"),
        user=unquote(user),
        password=unquote(password),
        tls_files={name: parameters[name] for name in _TLS_FILES if name in parameters},
    )
    path = unquote(split.path)
    if scheme == "unix":
        if not path.startswith("/") or hosts:
            raise ValueError("a unix:// URL needs the absolute path of the socket")
        return Place(Kind.SINGLE, (replace(common, path=path),))
    if scheme not in list(Kind):
        raise ValueError("the URL's scheme is none of redis, rediss, unix, redis+cluster, …")
    kind = Kind(scheme)
    port = SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT
    nodes = tuple(common.at(*_host_port(host, port)) for host in hosts.split(","))
    return _with_path(kind, nodes, path.strip("/").split("/"))


def _with_path(kind: Kind, nodes: tuple[Address, ...], parts: list[str]) -> Place:
    """What stands behind the hosts: a database, or a master's name and a database."""
    match kind, parts:
        case Kind.SENTINEL, [name] if name:
            return Place(kind, nodes, name)
        case Kind.SENTINEL, [name, db] if name:
            return Place(kind, tuple(replace(node, db=_db(db)) for node in nodes), name)
        case Kind.SENTINEL, _:
            raise ValueError("a sentinel URL ends with the name of the master")
        case Kind.CLUSTER, [""]:
            return Place(kind, nodes)
        case Kind.CLUSTER, _:
            raise ValueError("a cluster has no numbered databases")
        case Kind.SINGLE, [""] if len(nodes) == 1:
            return Place(kind, nodes)
        case Kind.SINGLE, [db] if len(nodes) == 1:
            return Place(kind, (replace(nodes[0], db=_db(db)),))
        case _:
            raise ValueError("the URL names more than one server or database")


def _parameters(query: str) -> dict[str, str]:
    known = {"db", *_TLS_FILES}
    parsed = parse_qs(query, keep_blank_values=True)
    if not known.issuperset(parsed):
        raise ValueError(f"the URL may carry no parameters but {', '.join(sorted(known))}")
    return {name: values[-1] for name, values in parsed.items()}


def _db(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the database must be a number")
    return int(text)


def _host_port(text: str, default: int) -> tuple[str, int]:
    split = urlsplit(f"//{text}")
    if not split.hostname:
        raise ValueError("the URL names no host")
    try:
        return split.hostname, split.port or default
    except ValueError:
        raise ValueError("the URL's port must be a number from 1 to 65535") from None
