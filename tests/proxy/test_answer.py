"""What is an answer, where it ends, and what is refused, byte for byte and split anywhere."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.answer import (
    HEAD_BYTES_MAX,
    AnswerHead,
    AnswerReader,
    Headers,
    TruncatedAnswerError,
)
from gateway.proxy.answer_framing import MalformedAnswerError


class Reading:
    """An AnswerReader with what it told on the way."""

    def __init__(self, method: bytes = b"GET", *, upgrade: bool = False) -> None:
        self.interim: list[tuple[int, Headers]] = []
        self.reader = AnswerReader(lambda status, headers: self.interim.append((status, headers)))
        self.reader.begin(method, upgrade=upgrade)

    def feed(self, *pieces: bytes) -> "Reading":
        for piece in pieces:
            self.reader.feed(piece)
        return self

    @property
    def head(self) -> AnswerHead:
        assert self.reader.head is not None
        return self.reader.head


def splits(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """`data` whole, cut in two at every place, and byte by byte."""
    yield (data,)
    for place in range(1, len(data)):
        yield data[:place], data[place:]
    yield tuple(data[i : i + 1] for i in range(len(data)))


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"

COMPLETE = [
    # (method, bytes, status, body, keep_alive)
    (b"GET", OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True),
    (b"GET", OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    (b"GET", OK + b"content-LENGTH:\t5 \r\n\r\nhello", 200, b"hello", True),
    (b"GET", OK + CHUNKS, 200, b"hello world", True),
    (b"GET", OK + b"Connection: close\r\n" + CHUNKS, 200, b"hello world", False),
    (b"GET", OK + b"Connection: Foo, CLOSE\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    (
        b"GET",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
        200,
        b"x",
        True,
    ),
    (b"GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b"", True),
    (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b"", False),
    (b"GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, b"", False),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b"", True),
    (b"HEAD", OK + b"Content-Length: 5\r\n\r\n", 200, b"", True),
    (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, b"", True),
    (b"HEAD", OK + b"\r\n", 200, b"", True),
    (b"HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n", 404, b"", True),
    (b"GET", b"HTTP/1.1 100 Go\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi", True),
    (b"GET", b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 999, b"", True),
    (b"GET", b"HTTP/1.1 507 \r\nContent-Length: 0\r\n\r\n", 507, b"", True),
]  # fmt: skip


@pytest.mark.parametrize(("method", "data", "status", "body", "keep_alive"), COMPLETE)
def test_an_answer_reads_the_same_however_it_is_cut(
    method: bytes, data: bytes, status: int, body: bytes, keep_alive: bool
) -> None:
    """failure row 39"""
    for pieces in splits(data):
        reading = Reading(method).feed(*pieces)
        assert reading.head.status == status
        assert reading.reader.take() == body
        assert reading.reader.ended
        assert not reading.reader.extra
        assert reading.reader.keep_alive is keep_alive


@pytest.mark.parametrize(("method", "data", "status", "body", "keep_alive"), COMPLETE)
def test_one_byte_behind_an_answer_is_noticed(
    method: bytes, data: bytes, status: int, body: bytes, keep_alive: bool
) -> None:
    """failure row 41"""
    for pieces in (*splits(data + b"H"), (data, b"HTTP/1.1 200 OK\r\n\r\n")):
        reading = Reading(method).feed(*pieces)
        assert reading.reader.extra
        assert reading.head.status == status
        assert reading.reader.take() == body


def test_a_whole_second_answer_behind_the_first_is_not_taken_for_ours() -> None:
    """failure row 41"""
    answer = OK + b"Content-Length: 5\r\n\r\nhello"
    reading = Reading().feed(answer + OK + b"Content-Length: 6\r\n\r\nforged")
    assert reading.reader.extra
    assert reading.reader.take() == b"hello"


def test_a_body_behind_the_answer_to_head_is_not_a_body() -> None:
    """failure row 39"""
    for pieces in splits(OK + b"Content-Length: 5\r\n\r\nhello"):
        reading = Reading(b"HEAD").feed(*pieces)
        assert reading.reader.take() == b""
        assert reading.reader.extra
        assert reading.head.length == 5
        assert reading.head.bodyless


def test_an_answer_without_length_or_chunks_ends_with_its_connection() -> None:
    for pieces in splits(OK + b"Date: today\r\n\r\nto the end"):
        reading = Reading().feed(*pieces)
        assert not reading.reader.ended
        reading.reader.eof()
        assert reading.reader.ended
        assert not reading.reader.keep_alive
        assert reading.reader.take() == b"to the end"
        assert reading.head == AnswerHead(200, b"OK", ((b"Date", b"today"),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Content-Length: 5\r\n\r\n",
        OK + CHUNKS[:-2],
        OK + CHUNKS[:-5],
        OK + CHUNKS[:-7],
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_an_answer_that_ends_early_is_truncated(data: bytes) -> None:
    """failure row 38"""
    for pieces in splits(data) if data else [()]:
        reading = Reading().feed(*pieces)
        with pytest.raises(TruncatedAnswerError):
            reading.reader.eof()


BROKEN = [
    b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    b"<html>no head at all</html>",
    b"RTSP/1.1 200 OK\r\n\r\n",
    b"ICE/1.1 200 OK\r\n\r\n",
    b"HTTP/0.9 200 OK\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 -20 OK\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    OK + b"Content-Length: 5, 5\r\n\r\nhello",
    OK + b"Content-Length: +5\r\n\r\nhello",
    OK + b"Content-Length: -5\r\n\r\nhello",
    OK + b"Content-Length: 0x5\r\n\r\nhello",
    OK + b"Content-Length: 5 5\r\n\r\nhello",
    OK + b"Content-Length:\r\n\r\nhello",
    OK + b"Content-Length: 9999999999999999999\r\n\r\nhello",
    OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"X: a\x00b\r\n\r\n",
    OK + b"X\x00: ab\r\n\r\n",
    OK + b"X: a\x01b\r\n\r\n",
    OK + b"X: a\rb\r\n\r\n",
    OK + b"X: a\r\n folded\r\n\r\n",
    OK + b"X : a\r\n\r\n",
    OK + b" X: a\r\n\r\n",
    OK + b"no colon\r\n\r\n",
    OK + b": no name\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    OK + b"Content-Length: 0\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nnonsense",
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_has_more_than_one_reading_is_refused(data: bytes) -> None:
    """failure row 41"""
    for pieces in splits(data):
        with pytest.raises(MalformedAnswerError):
            Reading().feed(*pieces)


@pytest.mark.parametrize(
    "rest",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhelloo\r\n0\r\n\r\n",
        b"5 ;\x00\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_broken_chunks_break_the_body_but_not_the_head(rest: bytes) -> None:
    """failure row 41"""
    for pieces in splits(rest):
        reading = Reading().feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        assert reading.head.chunked
        with pytest.raises(MalformedAnswerError):
            reading.feed(*pieces)
        assert not reading.reader.ended


def test_interim_answers_are_told_and_the_final_one_counts() -> None:
    """failure row 39"""
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\n\r\nhi"
    )
    for pieces in splits(data):
        reading = Reading().feed(*pieces)
        assert reading.interim == [(103, ((b"Link", b"</a.css>"),)), (102, ())]
        assert reading.head.headers == ((b"Content-Length", b"2"), (b"X", b"1"))
        assert reading.reader.take() == b"hi"


def test_trailers_are_collected() -> None:
    data = OK + CHUNKS[:-2] + b"X-Sum: 1\r\nEmpty:\r\n\r\n"
    for pieces in splits(data):
        reading = Reading().feed(*pieces)
        assert reading.reader.ended
        assert reading.reader.trailers == [(b"X-Sum", b"1"), (b"Empty", b"")]
        assert reading.head.headers == ((b"Transfer-Encoding", b"chunked"),)


def test_after_101_everything_is_the_other_protocol() -> None:
    data = (
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nHTTP/1.1 \x00\r\n"
    )
    for pieces in splits(data):
        reading = Reading(upgrade=True).feed(*pieces)
        assert reading.head.upgrade
        assert reading.reader.take() == b"HTTP/1.1 \x00\r\n"
        assert not reading.reader.ended
        assert not reading.reader.keep_alive
        reading.reader.eof()
        assert reading.reader.ended


@pytest.mark.parametrize(
    "data",
    [
        OK + b"X: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        OK + b"X: y\r\n" * (HEAD_BYTES_MAX // 5) + b"\r\n",
        b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n" * HEAD_BYTES_MAX,
        OK + b"X" * HEAD_BYTES_MAX,
        OK + CHUNKS[:-2] + b"X: y\r\n" * (HEAD_BYTES_MAX // 2),
    ],
)
def test_heads_and_trailers_are_bounded(data: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        Reading().feed(*(data[i : i + 65_536] for i in range(0, len(data), 65_536)))


def test_a_head_below_the_bound_is_fine() -> None:
    big = b"X: " + b"a" * (HEAD_BYTES_MAX - 200) + b"\r\n"
    assert Reading().feed(OK + big + b"Content-Length: 0\r\n\r\n").reader.ended


def test_one_reader_reads_one_answer_after_the_other() -> None:
    reading = Reading()
    for _ in range(3):
        for method, data, status, body, _ in COMPLETE:
            reading.reader.begin(method)
            reading.feed(*(data[i : i + 40] for i in range(0, len(data), 40)))
            assert reading.head.status == status
            assert reading.reader.take() == body


def test_field_values_keep_their_bytes() -> None:
    reading = Reading().feed(OK + b"X: caf\xe9 \xff\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")
    assert reading.head.headers[:2] == ((b"X", b"caf\xe9 \xff"), (b"Empty", b""))


WORDS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200 ", b"204 ", b"304 ", b"100 ", b"103 ", b"101 ", b"OK\r\n",
    b"Content-Length: ", b"Transfer-Encoding: ", b"Connection: ", b"Upgrade: ", b"X: ", b"chunked",
    b"close", b"keep-alive", b"5", b"0", b"ffffffffffffffff", b"\r\n", b"\r\n\r\n", b"\r", b"\n",
    b" ", b"\x00", b"hello", b",", b";", b":", b"\xff",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(WORDS) | st.binary(min_size=1, max_size=8), min_size=1),
    st.sampled_from([b"GET", b"HEAD"]),
    st.booleans(),
)
def test_nothing_that_arrives_surprises(words: list[bytes], method: bytes, upgrade: bool) -> None:
    """failure row 41: whatever comes is an answer, more of it, too much of it, or malformed."""
    whole, cut = Reading(method, upgrade=upgrade), Reading(method, upgrade=upgrade)
    data = b"".join(words)
    assert outcome(whole, (data,)) == outcome(cut, tuple(words))


def outcome(reading: Reading, pieces: tuple[bytes, ...]) -> object:
    try:
        reading.feed(*pieces)
        reading.reader.eof()
    except (MalformedAnswerError, TruncatedAnswerError) as failure:
        return type(failure)
    reader = reading.reader
    return reader.head, reader.take(), reader.extra, reader.keep_alive, reading.interim


KNOWN = b"HTTP/1.1 200 OK\r\nX-Known: 1\r\nContent-Length: 2\r\n\r\n"


def test_an_answer_that_is_known_by_its_bytes_reads_as_at_first() -> None:
    first = Reading().feed(KNOWN + b"ab")
    again = Reading().feed(KNOWN + b"cd")
    assert again.head is first.head
    for reading, body in ((first, b"ab"), (again, b"cd")):
        reader = reading.reader
        assert (reader.ended, reader.keep_alive, reader.extra) == (True, True, False)
        assert (reader.queued, reader.take()) == (2, body)
    again.feed(b"x")
    assert again.reader.extra


@pytest.mark.parametrize(
    "pieces", [(KNOWN, b"ab"), (KNOWN + b"a", b"b"), (KNOWN[:9], KNOWN[9:] + b"ab")]
)
def test_a_known_head_that_comes_otherwise_is_parsed(pieces: tuple[bytes, ...]) -> None:
    Reading().feed(KNOWN + b"ab")
    reader = Reading().feed(*pieces).reader
    assert (reader.ended, reader.take()) == (True, b"ab")


def test_more_than_a_known_answer_belongs_to_nobody() -> None:
    Reading().feed(KNOWN + b"ab")
    reader = Reading().feed(KNOWN + b"abc").reader
    assert (reader.ended, reader.extra, reader.take()) == (True, True, b"ab")


def test_a_known_head_says_otherwise_in_answer_to_a_head_request() -> None:
    Reading().feed(KNOWN + b"ab")
    reading = Reading(b"HEAD").feed(KNOWN)
    assert reading.head.bodyless
    assert reading.reader.ended


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", KNOWN),
        (b"GET", b"HTTP/1.1 204 None\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Same\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_is_known_by_its_bytes_too(method: bytes, head: bytes) -> None:
    first = Reading(method).feed(head)
    again = Reading(method).feed(head)
    assert again.head is first.head
    for reading in (first, again):
        reader = reading.reader
        assert (reader.ended, reader.keep_alive, reader.extra, reader.take()) == (
            *(True, True, False, b""),
        )
    assert Reading(method).feed(head + b"x").reader.extra


def test_an_interim_head_is_never_remembered_for_what_came_behind_it() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    for _ in range(2):
        reading = Reading().feed(early + final)
        assert [status for status, _ in reading.interim] == [103]
        assert reading.reader.take() == b"ab"
