"""Where to listen, whom to trust, and where Redis is."""

import re
from ipaddress import ip_network

import pytest

from gateway.catalog import addresses
from gateway.catalog.addresses import Address, RedisUrl, TcpAddress, UnixAddress
from gateway.catalog.sizes import Unreadable


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        (":8080", TcpAddress("", 8080)),
        ("[::1]:0", TcpAddress("::1", 0)),
        ("gateway.example:443", TcpAddress("gateway.example", 443)),
        ("unix:/run/gateway.sock", UnixAddress("/run/gateway.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert addresses.address(text) == address
    assert str(address) == text
    assert re.search(addresses.ADDRESS.pattern, text)


@pytest.mark.parametrize(
    "text",
    ["8080", "127.0.0.1", "::1:80", ":65536", ":-1", ":x", "unix:", "unix:x", "unix:/", "a b:1"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert isinstance(addresses.address(text), Unreadable)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True),
        ("unix:/x", True), (":1", False), ("0.0.0.0:1", False), ("[::]:1", False),
        ("10.0.0.1:1", False), ("example.com:1", False),
    ],
)  # fmt: skip
def test_only_loopback_and_sockets_are_private(text: str, private: bool) -> None:
    """failure row 67 (what counts as exposed)"""
    address = addresses.address(text)
    assert not isinstance(address, Unreadable)
    assert address.is_private is private


def test_networks_are_exact() -> None:
    assert addresses.network("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert addresses.network("2001:db8::7") == ip_network("2001:db8::7/128")
    assert isinstance(addresses.network("10.0.0.1/8"), Unreadable)
    assert isinstance(addresses.network("private"), Unreadable)


@pytest.mark.parametrize(
    "text",
    ["auto", "redis://h", "rediss://h:1/0", "unix:///run/redis.sock", "redis+cluster://a:1,b:2",
     "redis+sentinel://a:1/main"],
)  # fmt: skip
def test_where_redis_may_be(text: str) -> None:
    url = addresses.redis_url(text)
    assert isinstance(url, RedisUrl)
    assert url.get_secret_value() == text
    assert url.is_auto is (text == "auto")
    assert re.search(addresses.REDIS.pattern, text)


@pytest.mark.parametrize("text", ["", "redis", "http://h", "embedded", "REDIS://h"])
def test_where_no_redis_is(text: str) -> None:
    assert isinstance(addresses.redis_url(text), Unreadable)


def test_a_redis_url_is_shown_without_password_and_parameters() -> None:
    url = RedisUrl("rediss://me:canary@h:6379/0?password=canary2")
    assert str(url) == "rediss://***@h:6379/0"
    assert "canary" not in repr(url) + f"{url}"
    assert url == RedisUrl("rediss://me:canary@h:6379/0?password=canary2")
    assert "canary" not in str(RedisUrl("redis://a@canary@h"))
