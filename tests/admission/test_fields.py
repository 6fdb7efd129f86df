"""Header fields: what has one reading, and the limits."""

import pytest

from gateway.admission.fields import OVERRIDES, SINGLETONS, is_token
from gateway.admission.head import Head, HeadLimits, judge
from gateway.errors import BAD_FRAMING, BAD_HEADER, HEADERS_TOO_LARGE
from tests.admission.asks import HOST, ask, error, head


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"X Api Key",
        b" Host",
        b"Content-Length ",
        b"Content-Length\t",
        b"X-A\x00",
        b"X-A\r",
        b"X-A\nB",
        b"X-A:",
        b"X(A)",
        b"X-\xc3\xa9",
        b'X"A',
        b"X,A",
        b"X;A",
        b"X@A",
        b"[X]",
    ],
)
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    """failure row 41"""
    assert error(ask("GET", "/", (name, b"v"))) is BAD_HEADER


@pytest.mark.parametrize(
    "name", [b"X_Account_Id", b"Content_Length", b"Transfer_Encoding", b"X_Api_Key", b"_", b"a_"]
)
def test_a_name_with_an_underscore_is_refused(name: bytes) -> None:
    """failure row 66: some servers read `X_Account` and `X-Account` as the same header."""
    assert error(ask("GET", "/", (name, b"v"))) is BAD_HEADER


def test_an_operator_may_let_underscores_through_below_a_prefix() -> None:
    limits = HeadLimits(underscores_below=(b"x-amz-meta-",))
    mine = judge("GET", "/", (1, 1), (HOST, (b"X-Amz-Meta-my_key", b"v")), limits)
    assert isinstance(mine, Head)
    assert mine.get(b"x-amz-meta-my_key") == b"v"
    other = judge("GET", "/", (1, 1), (HOST, (b"X_Amz-Meta-a", b"v")), limits)
    assert error(other) is BAD_HEADER


@pytest.mark.parametrize("byte", [*range(0x09), *range(0x0A, 0x20), 0x7F])
def test_control_characters_in_values_are_refused(byte: int) -> None:
    """failure row 41: CR, LF (and so folded lines) and NUL, and failure row 66 (CRLF)."""
    assert error(ask("GET", "/", (b"X-A", b"a" + bytes([byte]) + b"b"))) is BAD_HEADER


def test_tab_and_bytes_beyond_ascii_are_values() -> None:
    assert head("GET", "/", (b"X-A", b"a\tb \xc3\xa9\xff")).get(b"x-a") == b"a\tb \xc3\xa9\xff"


@pytest.mark.parametrize("name", sorted(SINGLETONS - {b"content-length", b"transfer-encoding"}))
def test_one_of_a_kind_given_twice_is_refused(name: bytes) -> None:
    """failure row 66: whichever comes first, in whatever case, same value or not."""
    value = b"files.example" if name == b"host" else b"1"
    assert error(ask("GET", "/", (name, value), (name.title(), value))) is BAD_HEADER


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding"])
def test_framing_given_twice_is_refused_as_framing(name: bytes) -> None:
    """failure row 41"""
    assert error(ask("PUT", "/", (name, b"5"), (name.lower(), b"5"))) is BAD_FRAMING


def test_lists_given_in_several_lines_are_joined() -> None:
    judged = head("GET", "/", (b"Accept", b"a/b"), (b"ACCEPT", b"c/d"), (b"X-A", b"1"))
    assert judged.get(b"accept") == b"a/b, c/d"
    assert judged.get(b"x-b") is None
    assert judged.headers == (HOST, (b"Accept", b"a/b"), (b"ACCEPT", b"c/d"), (b"X-A", b"1"))


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_overrides_of_method_and_path_are_refused(name: bytes) -> None:
    """failure row 66: routes are chosen by the request line, so nothing may replace it later."""
    assert error(ask("POST", "/", (name, b"DELETE"))) is BAD_HEADER
    assert error(ask("POST", "/", (name.upper(), b"/admin"))) is BAD_HEADER


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a/b@c",
        b"a/b",
        b"user@host",
        b"a b",
        b"a,b",
        b"host:",
        b"host:x",
        b"host:123456",
        b"host:80:80",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"a%2fb",
        b"http://a",
        b"\xff",
        b"a" * 256,
    ],
)
def test_a_host_that_is_no_authority_is_refused(host: bytes) -> None:
    """failure row 41"""
    assert error(judge("GET", "/", (1, 1), [(b"Host", host)])) is BAD_HEADER


@pytest.mark.parametrize(
    "host", [b"a", b"files.example:8080", b"my_service", b"127.0.0.1", b"[::1]", b"[::1]:80"]
)
def test_a_host_is_kept_as_it_came(host: bytes) -> None:
    judged = judge("GET", "/", (1, 1), [(b"Host", host)])
    assert isinstance(judged, Head)
    assert judged.host == host


def test_only_http_1_0_may_leave_the_host_out() -> None:
    assert error(judge("GET", "/", (1, 1), [])) is BAD_HEADER
    old = judge("GET", "/", (1, 0), [])
    assert isinstance(old, Head)
    assert old.host == b""


def test_headers_have_a_most() -> None:
    """failure row 63: 129 headers, one of 9 kB, all together."""
    many = [(b"X-%d" % number, b"v") for number in range(128)]
    assert isinstance(ask("GET", "/", *many[:127]), Head)
    assert error(ask("GET", "/", *many)) is HEADERS_TOO_LARGE
    assert isinstance(ask("GET", "/", (b"X", b"v" * 8189)), Head)
    assert error(ask("GET", "/", (b"X", b"v" * 8190))) is HEADERS_TOO_LARGE
    assert error(ask("GET", "/", (b"X" * 9000, b""))) is HEADERS_TOO_LARGE
    wide = [(b"X%d" % number, b"v" * 8000) for number in range(5)]
    assert isinstance(ask("GET", "/", *wide[:4]), Head)
    assert error(ask("GET", "/", *wide)) is HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    ("text", "token"),
    [("GET", True), ("M-SEARCH", True), ("!#$", True), ("", False), ("G T", False), ("GÉT", False)],
)
def test_tokens(text: str, token: bool) -> None:
    assert is_token(text) is token
