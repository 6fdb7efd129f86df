"""Framing: one length or one chunked coding, and nothing that can be read otherwise."""

import pytest

from gateway.admission.framing import amount
from gateway.admission.head import Head
from gateway.errors import BAD_FRAMING, BAD_HEADER, EXPECTATION_FAILED
from tests.admission.asks import ask, error, head

CHUNKED = (b"Transfer-Encoding", b"chunked")
NUMBERS_REFUSED = [
    b"",
    b"9007199254740992",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 5000,
    b"-1",
    b"-0",
    b"+5",
    b"1e3",
    b"1.0",
    b"nan",
    b"inf",
    b"0x10",
    b"0b1",
    b"05",
    b"00",
    b" 5",
    b"5 ",
    b"\t5",
    b"5\x0b",
    b"5_0",
    b"5, 5",
    b"5,5",
    b"5;5",
    b"5,6",
    "\u0665".encode(),
    "\uff15".encode(),
    b"\xb2",
]


def length(value: bytes) -> Head:
    return head("PUT", "/a", (b"Content-Length", value))


@pytest.mark.parametrize("value", NUMBERS_REFUSED)
def test_a_length_that_is_no_plain_number_is_refused(value: bytes) -> None:
    """failure row 62, failure row 41"""
    judged = ask("PUT", "/a", (b"Content-Length", value))
    assert error(judged) in (BAD_FRAMING, BAD_HEADER)
    assert amount(value) is None


@pytest.mark.parametrize("number", [0, 1, 10, 9_007_199_254_740_991])
def test_a_length_is_an_int_below_2_53(number: int) -> None:
    """failure row 62: 0 is a length, and so is 2^53 - 1."""
    judged = length(b"%d" % number)
    assert judged.length == number
    assert judged.has_body is (number > 0)
    assert not judged.chunked


def test_no_length_is_no_body() -> None:
    """RFC 9112 section 6.3, item 7."""
    judged = head("POST", "/a")
    assert (judged.length, judged.chunked, judged.has_body) == (None, False, False)


def test_chunked_is_a_body_of_unknown_length() -> None:
    judged = head("PUT", "/a", CHUNKED)
    assert (judged.length, judged.chunked, judged.has_body) == (None, True, True)


@pytest.mark.parametrize(
    "coding",
    [
        b"",
        b"Chunked",
        b"CHUNKED",
        b"xchunked",
        b"chunkedx",
        b" chunked",
        b"chunked ",
        b"\x0bchunked",
        b"chunked\x0b",
        b"identity",
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked, chunked",
        b"chunked;q=1",
        b"chunked,",
        b",chunked",
        b'"chunked"',
        b"'chunked'",
        b"c\x00hunked",
        b"chun\tked",
        b"cow",
    ],
)
def test_a_coding_other_than_chunked_is_refused(coding: bytes) -> None:
    """failure row 41"""
    judged = ask("PUT", "/a", (b"Transfer-Encoding", coding))
    assert error(judged) in (BAD_FRAMING, BAD_HEADER)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"5"), CHUNKED],
        [CHUNKED, (b"Content-Length", b"5")],
        [(b"Content-Length", b"0"), CHUNKED],
        [(b"Content-Length", b"5"), (b"Content-Length", b"5")],
        [(b"Content-Length", b"5"), (b"Content-Length", b"6")],
        [(b"Content-Length", b"5"), (b"content-length", b"6")],
        [CHUNKED, CHUNKED],
        [CHUNKED, (b"Transfer-Encoding", b"identity")],
        [(b"Transfer-Encoding", b"cow"), CHUNKED],
    ],
)
def test_two_lengths_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """failure row 41"""
    assert error(ask("PUT", "/a", *headers)) is BAD_FRAMING


def test_spellings_of_framing_headers_are_no_way_around() -> None:
    """failure row 41"""
    for name in (
        b"Transfer-Encoding ",
        b" Transfer-Encoding",
        b"Transfer_Encoding",
        b"Transfer-Encoding:",
    ):
        assert error(ask("PUT", "/a", (name, b"chunked"))) is BAD_HEADER


def test_http_1_0_has_no_chunked() -> None:
    """failure row 41"""
    assert error(ask("PUT", "/a", CHUNKED, version=(1, 0))) is BAD_FRAMING


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_method_without_content_has_none(method: str) -> None:
    """failure row 41: an upstream that does not read it takes it for the next request."""
    assert error(ask(method, "/a", (b"Content-Length", b"5"))) is BAD_FRAMING
    assert error(ask(method, "/a", CHUNKED)) is BAD_FRAMING
    assert head(method, "/a", (b"Content-Length", b"0")).length == 0


def test_an_expectation_is_100_continue_or_refused() -> None:
    body = (b"Content-Length", b"5")
    assert head("PUT", "/a", body, (b"Expect", b"100-Continue")).expects_continue
    assert head("PUT", "/a", CHUNKED, (b"Expect", b"100-continue")).expects_continue
    assert not head("PUT", "/a", body).expects_continue
    for value in (b"", b"100", b"200-ok", b"100-continue, x", b"100-continue;q=1"):
        assert error(ask("PUT", "/a", body, (b"Expect", value))) is EXPECTATION_FAILED


def test_an_expectation_without_body_or_on_http_1_0_is_met_already() -> None:
    """RFC 9110 section 10.1.1"""
    expect = (b"Expect", b"100-continue")
    assert not head("PUT", "/a", expect).expects_continue
    assert not head("PUT", "/a", expect, (b"Content-Length", b"0")).expects_continue
    old = head("PUT", "/a", expect, (b"Content-Length", b"5"), version=(1, 0))
    assert not old.expects_continue


def test_an_upgrade_is_asked_for_in_two_headers() -> None:
    """RFC 9110 section 7.8"""
    upgrade = (b"Upgrade", b"websocket")
    assert (
        head("GET", "/a", upgrade, (b"Connection", b"keep-alive, Upgrade")).upgrade == b"websocket"
    )
    assert head("GET", "/a", upgrade).upgrade is None
    assert head("GET", "/a", (b"Connection", b"upgrade")).upgrade is None
    assert head("GET", "/a", upgrade, (b"Connection", b"close")).upgrade is None
    old = head("GET", "/a", upgrade, (b"Connection", b"upgrade"), version=(1, 0))
    assert old.upgrade is None


@pytest.mark.parametrize("protocols", [b"h2c", b"H2C", b"HTTP/2.0", b"TLS/1.0", b"websocket, h2c"])
def test_no_upgrade_leads_to_requests_that_nobody_judges(protocols: bytes) -> None:
    """failure row 41: HTTP/2 in clear text would carry requests past every route."""
    judged = head("GET", "/a", (b"Upgrade", protocols), (b"Connection", b"Upgrade, HTTP2-Settings"))
    assert judged.upgrade is None


def test_an_upgrade_has_no_body() -> None:
    """failure row 41"""
    headers = [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade"), (b"Content-Length", b"1")]
    assert error(ask("POST", "/a", *headers)) is BAD_FRAMING


def test_connection_options_are_read() -> None:
    judged = head("GET", "/a", (b"Connection", b" Close,X-Mine ,, te"), (b"connection", b"x-b"))
    assert judged.connection == {b"close", b"x-mine", b"te", b"x-b"}
    assert head("GET", "/a").connection == frozenset()


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"host", b"Authorization", b"Content-Type", b"X-Api-Key"]
)
def test_connection_cannot_take_away_what_counts(name: bytes) -> None:
    """failure row 66: hop-by-hop by nomination."""
    assert error(ask("PUT", "/a", (b"Connection", b"close, " + name))) is BAD_HEADER
