"""Destinations: URLs that others chose, and which of them the gateway lets itself be sent to.

What a name stands for is only known when it is resolved, and may change between two questions: so
a URL is judged by its form here, and each address by `is_public` where it is connected to.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.errors import BAD_REQUEST, Refusal

Network = IPv4Network | IPv6Network

URL_MAX = 2_048

_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?)"
    r"(?::([0-9]{1,5}))?([/?][!-~]*)?",
    re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}

_NOT_PUBLIC: Sequence[Network] = [
    ip_network(text)
    for text in (
        # RFC 6890 and the IANA registries of special-purpose addresses.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # Of IPv6 only global unicast is public, and not those parts of it that stand for others.
        "::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads. `target` is path and query, `authority` what Host says."""

    host: str
    port: int
    tls: bool
    target: str
    authority: str


def destination(url: str, *, plain_http: bool) -> Destination | Refusal:
    """The destination of a URL without user, fragment or any character that needs encoding."""
    read = _URL.fullmatch(url) if len(url) <= URL_MAX else None
    if read is None or "#" in url or "\\" in url:
        return Refusal(BAD_REQUEST, "this is no URL that a request could be sent to")
    scheme = read[1].lower()
    if scheme == "http" and not plain_http:
        return Refusal(BAD_REQUEST, "the URL has to begin with https://")
    port = _PORTS[scheme] if read[3] is None else int(read[3])
    if not 1 <= port <= 65_535:
        return Refusal(BAD_REQUEST, "the URL has no port that exists")
    target = read[4] or "/"
    host = read[2].strip("[]").lower().removesuffix(".")
    authority = read[2] if port == _PORTS[scheme] else f"{read[2]}:{port}"
    tls = scheme == "https"
    return Destination(host, port, tls, target if target[0] == "/" else f"/{target}", authority)


def is_public(address: str, allowed: Collection[Network] = ()) -> bool:
    """Whether a request may go to this address: none of the private, local, shared, mapped or
    translated ones, unless it is in a network that is `allowed`."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in allowed):
        return True
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return False
    return not any(ip in network for network in _NOT_PUBLIC)


def is_listed(host: str, hosts: Collection[str]) -> bool:
    """Whether a host is one of `hosts`, of which `*.example.com` is every name below that."""
    return any(
        host == known or (known.startswith("*.") and host.endswith(known[1:])) for known in hosts
    )
