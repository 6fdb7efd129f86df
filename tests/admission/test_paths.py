"""Paths: every spelling by which a metered path could slip past its route."""

import pytest

from gateway.admission.head import Head
from gateway.admission.paths import Reading, read
from gateway.errors import BAD_PATH
from tests.admission.asks import ask, error

DOTS = [
    "/.",
    "/..",
    "/./a",
    "/../a",
    "/a/.",
    "/a/..",
    "/a/./b",
    "/a/../b",
    "/%2e",
    "/%2E/a",
    "/a/%2e%2e/b",
    "/a/%2E%2e/b",
    "/a/.%2e/b",
    "/a/%2e./b",
    "/a/..%2fb",
    "/a%2f..%2fb",
    "/a%2F..",
    "/a/..%5cb",
    "/a%5c..%5cb",
    "/a\\..\\b",
    "/..\\b",
    "/a/..;/b",
    "/a/..;x=1/b",
    "/a/.;/b",
    "/a/%2e%2e;/b",
    "/a/..%3b/b",
    "/a/%252e%252e/b",
    "/a/%252e./b",
    "/a/.%252E/b",
    "/a%252f..%252fb",
    "/a/%25252e%25252e/b",
    "/a/..%20/b",
    "/a/%20../b",
    "/a/.%20/b",
]
CONTROLS = ["/a%00", "/a%00.png", "/%0a", "/a%0D%0Ab", "/a%09b", "/a%7f", "/a%2500", "/a%1f"]
OVERLONG = [
    "/a/%c0%ae%c0%ae/b",
    "/a/%C0%AE./b",
    "/a%c0%afb",
    "/a%c1%9cb",
    "/a%e0%80%ae",
    "/a%f0%80%80%ae",
    "/a/%25c0%25ae",
]
BROKEN = ["/%", "/a%", "/a%2", "/a%2g", "/a%zz", "/%u002e%u002e", "/a%%32e", "/a%-1"]
UNPRINTABLE = ["/a b", "/a\x00", "/a\r\nX: y", "/\xe9", "/\udce9", "/a#b", "/#", "/a\x7f", "/a\tb"]
OPAQUE = [
    "//",
    "//a",
    "/a//b",
    "/a//",
    "/a%2fb",
    "/a%2Fb",
    "/%2f",
    "/a\\b",
    "/a%5cb",
    "/a%5Cb",
    "/a;b",
    "/a;x=1/b",
    "/;",
    "/a%252fb",
    "/a%25255cb",
]
PLAIN = [
    "/",
    "/a",
    "/a/",
    "/a/b.c/d",
    "/files/report%20[final].pdf",
    "/a/...",
    "/a/.hidden",
    "/a/..b",
    "/a/b..",
    "/.well-known/x",
    "/a%20b",
    "/100%25",
    "/%E2%82%AC",
    "/a+b,c:d@e!$&'()*=~_-|^{}",
    '/a"<>`b',
    "/a%3fb%23c",
    "/a%3bb",
    "/%E0b%C0",
    "/%41",
    "/a/%2ehidden",
    "/a/%2e%2e%2e",
]


@pytest.mark.parametrize("path", DOTS + CONTROLS + OVERLONG + BROKEN + UNPRINTABLE)
def test_no_route_takes_a_path_that_could_lead_elsewhere(path: str) -> None:
    """failure row 67, failure row 41: dot segments, NUL, overlong and broken escapes, raw bytes."""
    assert error(ask("GET", path)) is BAD_PATH


@pytest.mark.parametrize("path", OPAQUE)
def test_a_path_with_more_readings_is_for_opaque_routes(path: str) -> None:
    assert read(path) is Reading.OPAQUE
    judged = ask("GET", path)
    assert isinstance(judged, Head)
    assert not judged.plain


@pytest.mark.parametrize("path", PLAIN)
def test_a_path_with_one_reading_is_plain(path: str) -> None:
    assert read(path) is Reading.PLAIN
    judged = ask("GET", path)
    assert isinstance(judged, Head)
    assert judged.plain
    assert judged.path == path


def test_a_path_encoded_over_and_over_is_refused() -> None:
    assert error(read("/a%252525252541")) is BAD_PATH


def test_a_long_path_is_judged_quickly() -> None:
    """failure row 63: the fast pattern does not backtrack."""
    assert read("/" + "a" * 8000 + "\\") is Reading.OPAQUE
    assert read("/a" * 4000 + "//") is Reading.OPAQUE
