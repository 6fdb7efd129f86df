"""URLs that others chose: what they mean, and the places no request of ours may go."""

from ipaddress import ip_network

import pytest

from gateway.admission.destinations import Destination, destination, is_listed, is_public
from gateway.errors import BAD_REQUEST
from tests.admission.asks import error


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://a.example", Destination("a.example", 443, True, "/", "a.example")),
        ("https://a.example/x?y=1", Destination("a.example", 443, True, "/x?y=1", "a.example")),
        ("https://a.example?y", Destination("a.example", 443, True, "/?y", "a.example")),
        ("HTTPS://A.Example:443/", Destination("a.example", 443, True, "/", "A.Example")),
        ("https://a.example.:8443/", Destination("a.example", 8443, True, "/", "a.example.:8443")),
        ("http://a.example/", Destination("a.example", 80, False, "/", "a.example")),
        ("https://[2606::1]:5/a", Destination("2606::1", 5, True, "/a", "[2606::1]:5")),
        ("https://1.2.3.4/", Destination("1.2.3.4", 443, True, "/", "1.2.3.4")),
    ],
)
def test_what_a_url_means(url: str, there: Destination) -> None:
    assert destination(url, plain_http=True) == there


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "//a.example", "/x", "ftp://a.example", "file:///etc/passwd",
        "gopher://a.example", "unix:/x", "javascript:alert(1)", "https://", "https:///x",
        "https://u@a.example", "https://u:p@a.example", "https://a.example@b.example/",
        "https://a.example#b", "https://a.example/x#y", "https://a.example\\@b.example/",
        "https://a.example/\r\nHost: b", "https://a.example/ x", "https://a example/",
        "https://a.example:0/", "https://a.example:65536/", "https://a.example:x/",
        "https://a.example:/", "https://-a.example/", "https://a.example-/", "https://ä.example/",
        "https://a%2eexample/", "https://[::1/", "https://[::1]x/", "https://[fe80::1%25eth0]/",
        "https://a.example/\x00", "https://a.example/ä", "https://" + "a" * 2_048,
    ],
)  # fmt: skip
def test_what_is_no_url_for_us(url: str) -> None:
    """failure row 65"""
    assert error(destination(url, plain_http=True)) is BAD_REQUEST


def test_plain_http_has_to_be_allowed() -> None:
    assert error(destination("http://a.example/", plain_http=False)) is BAD_REQUEST
    assert isinstance(destination("https://a.example/", plain_http=False), Destination)


FORBIDDEN = [
    # this network, private, shared, loopback, link-local (and the metadata services there)
    "0.0.0.0", "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.0.0.1", "10.255.255.255",
    "100.64.0.0", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.0", "127.0.0.1",
    "127.0.0.53", "127.1.2.3", "127.255.255.255", "169.254.0.0", "169.254.1.1",
    "169.254.169.254", "169.254.170.2", "169.254.255.255", "172.16.0.0", "172.16.0.1",
    "172.17.0.1", "172.31.255.255", "192.168.0.0", "192.168.0.1", "192.168.255.255",
    # protocol assignments, documentation, relays, benchmarks, multicast, reserved, broadcast
    "192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.2.0", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.0", "192.88.99.1", "192.175.48.1", "198.18.0.0",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "224.0.0.251",
    "233.252.0.1", "239.255.255.255", "240.0.0.1", "250.1.2.3", "255.255.255.254",
    "255.255.255.255",
    # IPv6: unspecified, loopback, mapped, compatible, translated
    "::", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:8.8.8.8", "::ffff:7f00:1", "::ffff:0:127.0.0.1", "::127.0.0.1", "::7f00:1",
    "::8.8.8.8", "64:ff9b::", "64:ff9b::7f00:1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff::7f00:1", "100::", "100::1",
    "100:0:0:1::1", "1fff:ffff::1",
    # Teredo, ORCHID, benchmarks, documentation, 6to4
    "2001::", "2001::1", "2001:0:7f00:1::", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1",
    "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::1", "2001:db8::", "2001:db8::1",
    "2001:db8:ffff:ffff::1", "2002::", "2002:7f00:1::", "2002:a00:1::", "2002:c0a8:1::1",
    "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1", "3fff:fff:ffff::1",
    # beyond global unicast: SRv6 SIDs, unique local, link-local, site-local, multicast
    "4000::1", "5f00::1", "6000::1", "8000::1", "a000::1", "fc00::", "fc00::1", "fd00::1",
    "fd00:ec2::254", "fdff:ffff::1", "fe00::1", "fe80::", "fe80::1", "fe80::1%eth0", "febf::1",
    "fec0::1", "feff::1", "ff00::", "ff01::1", "ff02::1", "ff05::1:3", "ff0e::1", "ffff::1",
    "2606:4700::1%eth0",
    # no addresses at all
    "", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "8.8.8", "8.8.8.8/32",
    "256.0.0.1", "1.2.3.4.5", "::g", "[::1]", " 8.8.8.8", "8.8.8.8 ", "٨.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_places_that_are_not_public(address: str) -> None:
    """failure row 65"""
    assert not is_public(address)


def test_there_are_more_than_a_hundred_of_them() -> None:
    assert len(set(FORBIDDEN)) == len(FORBIDDEN) > 120


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
        "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",
        "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
        "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1",
        "2606:4700::1111", "2a00::1", "3ffe::1",
    ],
)  # fmt: skip
def test_places_that_are_public(address: str) -> None:
    assert is_public(address)


def test_networks_may_be_allowed_all_the_same() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert is_public("10.1.2.3", allowed)
    assert is_public("fd00::1", allowed)
    assert not is_public("10.2.0.1", allowed)
    assert not is_public("::ffff:10.1.2.3", allowed)
    assert not is_public("localhost", allowed)


def test_hosts_may_be_listed() -> None:
    hosts = ("a.example", "*.b.example")
    assert [is_listed(h, hosts) for h in ("a.example", "x.b.example", "x.y.b.example")] == [
        True
    ] * 3
    no = ("x.a.example", "b.example", "xb.example", "b.example.evil", "")
    assert [is_listed(host, hosts) for host in no] == [False] * 5
