"""Where a request comes from: the address of the client behind proxies the operator trusts.

X-Forwarded-For is written by whoever wants to. Only what a trusted proxy appended says something:
the rightmost address that is not itself a trusted proxy.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def client_address(
    peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]
) -> str:
    """The client's address in its usual spelling; `peer` itself if it is not a trusted proxy.

    `peer` is empty on a unix socket, which only a local proxy can reach: it is trusted. What is
    no address ends the search: whoever stands to the right of it is the client.
    """
    address = _parsed(peer)
    if address is None and peer:
        return peer
    client = peer if address is None else str(address)
    if address is not None and not _is_trusted(address, trusted):
        return client
    forwarded = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    for hop in reversed(b",".join(forwarded).decode("latin-1").split(",")):
        address = _parsed(hop.strip())
        if address is None:
            return client
        client = str(address)
        if not _is_trusted(address, trusted):
            return client
    return client


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parsed(text: str) -> Address | None:
    """An address, also with a port (`1.2.3.4:80`, `[::1]:80`) as some proxies write it."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
