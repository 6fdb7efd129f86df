"""Addresses: where the gateway listens, which networks it trusts, and where Redis is.

Reading answers the address, or `Unreadable` with what would be right.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gateway.catalog.shapes import ListOf, Written
from gateway.catalog.sizes import Unreadable, shown

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel",
                 "rediss+sentinel")  # fmt: skip

ADDRESS_EXAMPLE = '"127.0.0.1:8080", ":8080" for every interface, or "unix:/path/to.sock"'
REDIS_EXAMPLE = '"auto", or a URL such as "redis://host:6379/0" or "unix:///run/redis.sock"'

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` "" is every interface; port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: str

    @property
    def is_private(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True, repr=False)
class RedisUrl:
    """Where Redis is, or `auto`. Printing it shows neither password nor parameters."""

    _url: str

    @property
    def is_auto(self) -> bool:
        return self._url == "auto"

    def get_secret_value(self) -> str:
        """The whole of it, for the one who connects."""
        return self._url

    def __str__(self) -> str:
        return re.sub(r"//.*@", "//***@", self._url.partition("?")[0])

    def __repr__(self) -> str:
        return f"RedisUrl({str(self)!r})"


def address(text: str) -> Address | Unreadable:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080` or `unix:/path`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("/") and len(path) > 1 and "\0" not in path:
            return UnixAddress(path)
        return Unreadable(f"{shown(text)} has no absolute path", 'write "unix:/path/to.sock"')
    read = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})", text)
    if read is None or int(read[2]) > 65_535:
        return Unreadable(f"{shown(text)} is not an address", f"write {ADDRESS_EXAMPLE}")
    return TcpAddress(read[1].strip("[]"), int(read[2]))


def network(text: str) -> Network | Unreadable:
    """`10.0.0.0/8`, or one address."""
    try:
        return ip_network(text)
    except ValueError:
        return Unreadable(
            f"{shown(text)} is not a network", 'write it like "10.0.0.0/8", host bits zero'
        )


def redis_url(text: str) -> RedisUrl | Unreadable:
    """Only the scheme is judged here; the store knows the rest."""
    scheme, colon, _ = text.partition(":")
    if text == "auto" or (colon and scheme in REDIS_SCHEMES):
        return RedisUrl(text)
    return Unreadable("this is not where a Redis could be", f"write {REDIS_EXAMPLE}")


ADDRESS = Written(
    address, ADDRESS_EXAMPLE, r"^(unix:/.+|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):[0-9]{1,5})$"
)
NETWORKS = ListOf(
    Written(network, 'a network such as "10.0.0.0/8"', r"^[0-9A-Fa-f.:]+(/[0-9]+)?$"),
    'a list such as ["10.0.0.0/8", "192.0.2.7"]',
)
REDIS = Written(
    redis_url,
    REDIS_EXAMPLE,
    rf"^(auto|({'|'.join(map(re.escape, REDIS_SCHEMES))}):.*)$",
    secret=True,
)
