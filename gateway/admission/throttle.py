"""Guessing slowed down: failed attempts to authenticate, counted per client address.

Every address may fail a few times in a row and then once per interval. While an address waits, a
right key is to be refused like a wrong one, or guessing would not be slowed. Memory is bounded: the
address that failed longest ago is forgotten first.
"""

from collections import OrderedDict
from ipaddress import IPv6Address

FAILURES_MAX = 20
INTERVAL_S = 3.0
ADDRESSES_MAX = 10_000
IPV6_PREFIX_BITS = 64
"""One subscriber has this much of IPv6: its addresses share one allowance."""


class FailureThrottle:
    """A token bucket per address, kept as the instant at which it is full again."""

    def __init__(
        self,
        failures_max: int = FAILURES_MAX,
        interval_s: float = INTERVAL_S,
        addresses_max: int = ADDRESSES_MAX,
    ) -> None:
        self._burst_s = (failures_max - 1) * interval_s
        self._interval_s = interval_s
        self._addresses_max = addresses_max
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_s)

    def wait_s(self, address: str, now_s: float) -> float:
        """Seconds until `address` may try again; 0 if it may now."""
        if not self._full_at_s:
            return 0.0
        full_at_s = self._full_at_s.get(_subscriber(address))
        return 0.0 if full_at_s is None else max(0.0, full_at_s - now_s - self._burst_s)

    def failed(self, address: str, now_s: float) -> None:
        """Count a failed attempt."""
        subscriber = _subscriber(address)
        full_at_s = max(self._full_at_s.get(subscriber, now_s), now_s) + self._interval_s
        self._full_at_s[subscriber] = full_at_s
        self._full_at_s.move_to_end(subscriber)
        if len(self._full_at_s) > self._addresses_max:
            self._full_at_s.popitem(last=False)


def _subscriber(address: str) -> str:
    """What shares an allowance: an IPv4 address, the network of an IPv6 address, else the text."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS))
