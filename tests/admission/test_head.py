"""The request line, and the judged head as a whole."""

import pytest

from gateway.admission.head import Head, HeadLimits, judge
from gateway.errors import (
    BAD_PATH,
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    URI_TOO_LONG,
    VERSION_REFUSED,
)
from tests.admission.asks import HOST, ask, error, head


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 0), (0, 0), (9, 9)])
def test_only_http_1_0_and_1_1_are_spoken(version: tuple[int, int]) -> None:
    """failure row 41"""
    assert error(ask("GET", "/", version=version)) is VERSION_REFUSED


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "GET:", "GÉT", "G/T", "\x00"])
def test_a_method_is_a_token(method: str) -> None:
    assert error(ask(method, "/")) is BAD_REQUEST


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_trace_and_connect_are_refused(method: str) -> None:
    judged = ask(method, "/" if method == "TRACE" else "example:443")
    assert error(judged) is METHOD_NOT_ALLOWED
    assert not isinstance(judged, Head)
    assert "PUT" in judged.headers["Allow"]


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "a",
        "http://files.example/a",
        "HTTPS://files.example/a",
        "files.example:443",
        "?a",
        "\\a",
        "@files.example/a",
        "%2fa",
    ],
)
def test_a_target_is_a_path(target: str) -> None:
    """failure row 41: an absolute target could name another host than Host does."""
    assert error(ask("GET", target)) is BAD_PATH


def test_an_asterisk_is_for_options() -> None:
    """RFC 9112 section 3.2.4"""
    assert head("OPTIONS", "*").path == "*"


@pytest.mark.parametrize(
    "target", ["/a?b c", "/a?b#c", "/a#b?c", "/a?\x00", "/a?\xe9", "/a?b\r\nX:"]
)
def test_a_query_is_visible_ascii(target: str) -> None:
    assert error(ask("GET", target)) is BAD_PATH


def test_a_target_has_a_most() -> None:
    """failure row 63"""
    assert isinstance(ask("GET", "/" + "a" * 8189), Head)
    assert error(ask("GET", "/" + "a" * 8190)) is URI_TOO_LONG
    assert error(ask("GET", "/?" + "a" * 8190)) is URI_TOO_LONG
    assert error(judge("GET", "/abc", (1, 1), [HOST], HeadLimits(target_max=3))) is URI_TOO_LONG


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a?b=c", "/a", "b=c"),
        ("/a?", "/a", ""),
        ("/a?b?c=%2e%2e/../d", "/a", "b?c=%2e%2e/../d"),
        ("/a?%zz[]{}|", "/a", "%zz[]{}|"),
        ("/?/../x", "/", "/../x"),
    ],
)
def test_path_and_query_are_raw_halves_of_the_target(target: str, path: str, query: str) -> None:
    judged = head("GET", target)
    assert (judged.target, judged.path, judged.query) == (target, path, query)


def test_a_whole_head() -> None:
    headers = (
        HOST,
        (b"Content-Length", b"5"),
        (b"Content-Type", b"text/plain"),
        (b"Expect", b"100-continue"),
    )
    judged = judge("PUT", "/files/a?x=1", (1, 1), headers)
    assert judged == Head(
        method="PUT",
        target="/files/a?x=1",
        path="/files/a",
        query="x=1",
        version=(1, 1),
        headers=headers,
        host=b"files.example",
        length=5,
        expects_continue=True,
    )
