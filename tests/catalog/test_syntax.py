"""URLs of upstreams, rates, methods and time zones."""

import re

import pytest

from gateway.catalog import syntax
from gateway.catalog.plans import RateLimit
from gateway.catalog.sizes import Unreadable


@pytest.mark.parametrize("text", ["GET", "PUT", "PROPFIND", "M-SEARCH", "X"])
def test_methods(text: str) -> None:
    assert syntax.method(text) == text


@pytest.mark.parametrize("text", ["", "get", "CONNECT", "trace", "A B", "GET\n", "É", "1"])
def test_what_is_no_method_of_a_route(text: str) -> None:
    assert isinstance(syntax.method(text), Unreadable)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/1m", RateLimit(100, 60)), ("1/1s", RateLimit(1, 1)),
        ("5000/1h30m", RateLimit(5000, 5400)),
        ("100/m", RateLimit(100, 60)), ("10/31d", RateLimit(10, 31 * 86_400)),
        ("1000000/s", RateLimit(1_000_000, 1)),
    ],
)  # fmt: skip
def test_rates(text: str, rate: RateLimit) -> None:
    assert syntax.rate(text) == rate
    assert re.search(syntax.RATE_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    ["", "100", "0/1m", "-1/1m", "100/", "100/60", "100/.s", "100/0s", "100/1500ms", "1/32d",
     "1000001/1s", "1.5/1m",
     "100/1m/1s", "a/1m", "100/minute", "\u0665/1m", "100 / 1m", "99999999/1d"],
)  # fmt: skip
def test_what_is_no_rate(text: str) -> None:
    assert isinstance(syntax.rate(text), Unreadable)


@pytest.mark.parametrize("text", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_time_zones(text: str) -> None:
    assert syntax.zone(text) == text


@pytest.mark.parametrize(
    "text", ["", "Berlin", "Europe", "../UTC", "/UTC", "Europe/Berlin\0", "CET7"]
)
def test_what_is_no_time_zone(text: str) -> None:
    assert isinstance(syntax.zone(text), Unreadable)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9000", "http://localhost", "https://files.example.com:8443",
        "http://[::1]:9000", "https://[2001:db8::1]", "http://under_score:1", "unix:/run/x.sock",
        "http://h:65535", "http://h:1",
    ],
)  # fmt: skip
def test_upstream_urls(text: str) -> None:
    assert syntax.upstream_url(text) == text
    assert re.search(syntax.URL_PATTERN, text)


def test_a_slash_at_the_end_is_forgiven() -> None:
    assert syntax.upstream_url("http://h:9000/") == "http://h:9000"


@pytest.mark.parametrize(
    "text",
    [
        "", "http:", "http://", "http:///", "http://:80", "http://h:0", "http://h:65536", "http://h:x",
        "http://h/p", "http://h?q", "http://h#f", "http://u@h", "http://u:p@h", "ftp://h", "h:80",
        "HTTP://h", "http://[::1", "http://[::g]", "http://[1.2.3.4]", "http://h h", "http://-h",
        "unix:x", "unix://h/x", "unix:/x?y", "unix:/", "http://h:\u0668",
    ],
)  # fmt: skip
def test_what_is_no_url_of_an_upstream(text: str) -> None:
    assert isinstance(syntax.upstream_url(text), Unreadable)


def test_a_password_in_a_url_is_not_repeated() -> None:
    for text in ("http://root:hunter2@h", "hxxp://root:hunter2@h", "http://root:hunter2@h/p"):
        read = syntax.upstream_url(text)
        assert isinstance(read, Unreadable)
        assert "hunter2" not in read.problem + read.remedy
