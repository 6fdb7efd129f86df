"""Answers as they reach the client: heads, framing, chunks and what the gateway says itself."""

import pytest

from gateway.proxy import wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.wire import Delivery
from tests.proxy.heads import Field, fields, values


def answer(status: int = 200, *headers: Field, **more: object) -> AnswerHead:
    return AnswerHead(status, b"OK", headers, **more)  # type: ignore[arg-type]


LENGTH = answer(200, (b"Content-Length", b"5"), length=5)
CHUNKS = answer(200, (b"Transfer-Encoding", b"chunked"), chunked=True)
UNTIL_CLOSE = answer(200, version=(1, 0))
HEAD = answer(200, (b"Content-Length", b"5"), length=5, bodyless=True)
HEAD_CHUNKS = answer(200, (b"Transfer-Encoding", b"chunked"), chunked=True, bodyless=True)
NO_CONTENT = answer(204, bodyless=True)
NO_CONTENT_LENGTH = answer(204, (b"Content-Length", b"0"), length=0, bodyless=True)
NOT_MODIFIED = answer(304, (b"Content-Length", b"5"), length=5, bodyless=True)
SWITCHING = answer(101, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), upgrade=True)

DELIVERIES = [
    # (answer, client's version, keep_alive, how, the fields on framing)
    (LENGTH, (1, 1), True, Delivery.LENGTH, [b"Content-Length: 5"]),
    (LENGTH, (1, 1), False, Delivery.LENGTH, [b"Connection: close", b"Content-Length: 5"]),
    (LENGTH, (1, 0), True, Delivery.LENGTH, [b"Connection: keep-alive", b"Content-Length: 5"]),
    (LENGTH, (1, 0), False, Delivery.LENGTH, [b"Connection: close", b"Content-Length: 5"]),
    (CHUNKS, (1, 1), True, Delivery.CHUNKED, [b"Transfer-Encoding: chunked"]),
    (CHUNKS, (1, 0), True, Delivery.CLOSE, [b"Connection: close"]),
    (UNTIL_CLOSE, (1, 1), True, Delivery.CHUNKED, [b"Transfer-Encoding: chunked"]),
    (UNTIL_CLOSE, (1, 0), True, Delivery.CLOSE, [b"Connection: close"]),
    (HEAD, (1, 1), True, Delivery.NO_BODY, [b"Content-Length: 5"]),
    (HEAD, (1, 0), True, Delivery.NO_BODY, [b"Connection: keep-alive", b"Content-Length: 5"]),
    (HEAD_CHUNKS, (1, 1), True, Delivery.NO_BODY, []),
    (HEAD_CHUNKS, (1, 0), True, Delivery.NO_BODY, [b"Connection: keep-alive"]),
    (NO_CONTENT, (1, 1), True, Delivery.NO_BODY, []),
    (NO_CONTENT_LENGTH, (1, 1), True, Delivery.NO_BODY, []),
    (NOT_MODIFIED, (1, 1), True, Delivery.NO_BODY, [b"Content-Length: 5"]),
    (SWITCHING, (1, 1), True, Delivery.UPGRADE, [b"Upgrade: websocket", b"Connection: Upgrade"]),
]


@pytest.mark.parametrize(("head", "version", "keep", "how", "lines"), DELIVERIES)
def test_how_an_answer_is_delivered(
    head: AnswerHead, version: tuple[int, int], keep: bool, how: Delivery, lines: list[bytes]
) -> None:
    """failure row 39"""
    assert wire.delivery(head, version) is how
    assert wire.is_chunked_to_client(head, version) is (how is Delivery.CHUNKED)
    kept = keep and how not in (Delivery.CLOSE, Delivery.UPGRADE)
    assert wire.keeps_client(head, version, asked=keep) is kept
    out = wire.answer_head(head, extra=(), keep_alive=keep, client_version=version)
    names = (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"keep-alive")
    assert [
        b"%b: %b" % (name, value) for name, value in fields(out) if name.lower() in names
    ] == lines


def test_a_whole_answer_head() -> None:
    head = AnswerHead(
        201,
        b"Made",
        (
            (b"Server", b"up/1"),
            (b"Date", b"Thu, 01 Jan 2026 00:00:00 GMT"),
            (b"Content-Length", b"2"),
            (b"Connection", b"keep-alive, X-Hop"),
            (b"Keep-Alive", b"timeout=5"),
            (b"X-Hop", b"1"),
            (b"Proxy-Authenticate", b"Basic"),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
            (b"x-request-id", b"theirs"),
            (b"RateLimit", b'"theirs";r=1'),
            (b"Via", b"1.1 other"),
            (b"Trailer", b"X-Sum"),
        ),
        length=2,
    )
    extra = [(b"RateLimit", b'"ours";r=2'), (b"X-Request-Id", b"r1")]
    out = wire.answer_head(head, extra=extra, keep_alive=True, client_version=(1, 1))
    assert out == (
        b"HTTP/1.1 201 Made\r\n"
        b"Server: up/1\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"Set-Cookie: a=1\r\n"
        b"Set-Cookie: b=2\r\n"
        b"Via: 1.1 other\r\n"
        b"Via: 1.1 quota-gateway\r\n"
        b'RateLimit: "ours";r=2\r\n'
        b"X-Request-Id: r1\r\n"
        b"Content-Length: 2\r\n\r\n"
    )


def test_trailers_are_announced_where_they_can_come() -> None:
    head = answer(200, (b"Trailer", b"X-Sum"), chunked=True)
    for version, announced in (((1, 1), [b"X-Sum"]), ((1, 0), [])):
        out = wire.answer_head(head, extra=(), keep_alive=True, client_version=version)
        assert values(out, b"trailer") == announced


def test_an_upstream_of_http_1_0_is_told_in_via() -> None:
    out = wire.answer_head(UNTIL_CLOSE, extra=(), keep_alive=True, client_version=(1, 1))
    assert out.startswith(b"HTTP/1.1 200 OK\r\nVia: 1.0 quota-gateway\r\n")


def test_interim_answers() -> None:
    """failure row 39"""
    headers = [(b"Link", b"</a>; rel=preload"), (b"Connection", b"x")]
    assert wire.informational(103, headers) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    )
    assert wire.informational(199, []) == b"HTTP/1.1 199 \r\n\r\n"


OWN = [
    (
        wire.own_answer(403, {"Content-Type": "text/plain"}, b"no", keep_alive=True),
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
    ),
    (
        wire.own_answer(409, {}, b"no", keep_alive=False),
        b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    ),
    (
        wire.own_answer(404, {}, b"no", keep_alive=True, head_only=True),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n",
    ),
    (
        wire.own_answer(200, {}, b"", keep_alive=True, client_version=(1, 0)),
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ),
    (wire.own_answer(204, {}, b"", keep_alive=True), b"HTTP/1.1 204 No Content\r\n\r\n"),
    (wire.own_answer(599, {}, b"", keep_alive=True), b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"),
    (
        wire.own_answer(200, {"X": "caf\u00e9 \u20ac"}, b"", keep_alive=True),
        b"HTTP/1.1 200 OK\r\nX: caf\xe9 ?\r\nContent-Length: 0\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("made", "expected"), OWN)
def test_answers_of_our_own(made: bytes, expected: bytes) -> None:
    assert made == expected


@pytest.mark.parametrize("name", ["X\r\nInjected", "X"])
def test_a_line_break_in_a_field_of_ours_is_a_fault_of_ours(name: str) -> None:
    """failure row 66"""
    with pytest.raises(AssertionError):
        wire.own_answer(200, {name: "a\r\nSet-Cookie: b"}, keep_alive=True)


CHUNKED = [
    (wire.chunk(b""), b""),
    (wire.chunk(b"hello"), b"5\r\nhello\r\n"),
    (wire.chunk(b"a" * 300), b"12c\r\n" + b"a" * 300 + b"\r\n"),
    (wire.LAST_CHUNK, b"0\r\n\r\n"),
    (wire.last_chunk([]), b"0\r\n\r\n"),
    (wire.last_chunk([(b"X-Sum", b"1"), (b"B", b"")]), b"0\r\nX-Sum: 1\r\nB: \r\n\r\n"),
    (
        wire.last_chunk(
            [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"Set-Cookie", b"a")]
        ),
        b"0\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("made", "expected"), CHUNKED)
def test_chunks(made: bytes, expected: bytes) -> None:
    assert made == expected
