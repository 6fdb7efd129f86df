"""Senders: who is at the other end of a client's connection, and whose word on that is taken."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from gateway.admission.head import RawHeaders
from gateway.admission.peers import client_address
from gateway.proxy.connection import Arrival, Connection
from gateway.proxy.wire import Sender

UNIX = "unknown"
KNOWN_MAX = 4_096


class Senders:
    """`trusted` are the networks of proxies whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self._known: dict[tuple[str, bool, int | None], Sender] = {}

    def address(self, arrival: Arrival) -> str:
        """The client's address, for logs and for slowing down guesses."""
        return self.address_of(arrival.connection.peer, arrival.raw_headers)

    def address_of(self, peer: str, headers: RawHeaders) -> str:
        if peer and not self._trusted:
            return peer
        return client_address(peer, headers, self._trusted) or UNIX

    def of(self, connection: Connection) -> Sender:
        """The neighbour, as it is told to the upstream."""
        name = (connection.peer, connection.encrypted, connection.port)
        sender = self._known.get(name)
        if sender is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            sender = self._known[name] = self._sender(*name)
        return sender

    def _sender(self, peer: str, encrypted: bool, port: int | None) -> Sender:
        return Sender(
            address=(peer or UNIX).encode(),
            scheme=b"https" if encrypted else b"http",
            port=port,
            trusted=not peer or any(ip_address(peer) in network for network in self._trusted),
        )
