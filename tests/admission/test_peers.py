"""Client addresses behind proxies, trusted or not."""

from ipaddress import ip_network

import pytest

from gateway.admission.peers import client_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1/32")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1", b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"1.1.1.1, "], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", [b"2001:DB8:0::1"], "2001:db8::1"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("fd00::1", [b"198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("::ffff:203.0.113.9", [b"198.51.100.7"], "203.0.113.9"),
        ("127.0.0.1", [b"127.0.0.1"], "127.0.0.1"),
        ("", [], ""),
        ("", [b"198.51.100.7"], "198.51.100.7"),
        ("nonsense", [b"198.51.100.7"], "nonsense"),
    ],
)
def test_the_rightmost_address_that_is_not_trusted(
    peer: str, forwarded: list[bytes], client: str
) -> None:
    """failure row 66"""
    headers = [(b"Host", b"a"), *((b"X-Forwarded-For", value) for value in forwarded)]
    assert client_address(peer, headers, TRUSTED) == client


def test_nobody_is_trusted_unless_listed() -> None:
    """failure row 66"""
    assert client_address("127.0.0.1", [(b"x-forwarded-for", b"1.1.1.1")], ()) == "127.0.0.1"
