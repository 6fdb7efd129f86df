"""Senders: who is at the other end of a client's connection, and whose word on that is taken."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from gateway.admission.peers import client_address
from gateway.proxy.connection import Arrival
from gateway.proxy.wire import Sender

UNIX = "unknown"


class Senders:
    """`trusted` are the networks of proxies whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)

    def address(self, arrival: Arrival) -> str:
        """The client's address, for logs and for slowing down guesses."""
        peer = arrival.connection.peer
        if peer and not self._trusted:
            return peer
        return client_address(peer, arrival.raw_headers, self._trusted) or UNIX

    def of(self, arrival: Arrival) -> Sender:
        """The neighbour, as it is told to the upstream."""
        connection = arrival.connection
        peer = connection.peer
        return Sender(
            address=(peer or UNIX).encode(),
            scheme=b"https" if connection.encrypted else b"http",
            port=connection.port,
            trusted=not peer or any(ip_address(peer) in network for network in self._trusted),
        )
