"""The scanner beside the parsers it stands in for: it takes nothing that they do not take, and
finds the same data, however the bytes come."""

import asyncio
from collections.abc import Iterator

import httptools
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.streams import StreamReader
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.proxy.chunks import (
    ALONG_FINE_MAX,
    ALONG_MAX,
    TRAILERS_MAX,
    ChunkScanner,
    MalformedChunksError,
    chunked_head,
)

HEAD = b"PUT /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n00001\r\n,\r\nA\r\n0123456789\r\n000\r\n\r\n",
    b"5;name\r\nhello\r\n3;a=b;c\r\n\r\n0\r\n0;d=e\r\n\r\n",
    b"2\r\n\r\n\r\n0\r\nA: b\r\nEmpty:\r\n\r\n",
    b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
]
BAD = [
    b"\r\n0\r\n\r\n",
    b"0\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhell\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\t\r\nhello\r\n0\r\n\r\n",
    b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5; a\r\nhello\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"5;a=\r\nhello\r\n0\r\n\r\n",
    b"5;a=b=c\r\nhello\r\n0\r\n\r\n",
    b"5;a\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;a\x00\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\n",
    b"g\r\n",
    b";a\r\n",
    b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"10000000000000000\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA\r\n\r\n",
    b"0\r\n A: b\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\rc\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\nA: b\r\n\n",
    b"5;" + b"a" * 65 + b"\r\nhello\r\n0\r\n\r\n",
    b"5" + b";a" * 5 + b"\r\nhello\r\n0\r\n\r\n",
    b"0\r\nA: " + b"b" * TRAILERS_MAX + b"\r\n\r\n",
]


def splits(data: bytes) -> Iterator[list[bytes]]:
    """In one piece, byte by byte, and in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for place in range(1, min(len(data), 100)):
        yield [data[:place], data[place:]]


def scanned(pieces: list[bytes]) -> tuple[ChunkScanner, bytes]:
    """With the data it found. What comes behind the end is not fed but collected."""
    scanner, data, behind = ChunkScanner(), b"", b""
    for piece in pieces:
        if scanner.ended:
            behind += piece
        else:
            data += b"".join(scanner.feed(memoryview(piece)))
    scanner.behind += behind
    return scanner, data


def feed(scanner: ChunkScanner, pieces: list[bytes]) -> None:
    for piece in pieces:
        scanner.feed(piece)


class Parsed:
    """What aiohttp's parser of requests makes of the same."""

    def __init__(self, body: bytes) -> None:
        loop = asyncio.new_event_loop()
        protocol = BaseProtocol(loop)
        parser = HttpRequestParser(protocol, loop, 1 << 30, auto_decompress=False)
        protocol._parser = parser
        self.good, self.data, self.ended = True, b"", False
        ((_, stream),), _, _ = parser.feed_data(HEAD)
        assert isinstance(stream, StreamReader)
        try:
            parser.feed_data(body)
        except Exception:  # whatever it says is a no
            self.good = False
        self.ended = stream.is_eof()
        self.data = b"".join(stream._buffer)
        loop.close()


class Answered:
    """What llhttp makes of it in an answer."""

    def __init__(self, body: bytes) -> None:
        self.data, self.ended, self.good = b"", False, True
        self.trailers: list[tuple[bytes, bytes]] = []
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            parser.feed_data(body)
        except httptools.HttpParserError:
            self.good = False

    def on_body(self, data: bytes) -> None:
        self.data += data

    def on_message_complete(self) -> None:
        self.ended = True


@pytest.mark.parametrize("body", GOOD)
def test_what_is_well_formed_is_found_however_it_comes(body: bytes) -> None:
    parsed = Parsed(body)
    whole, found = scanned([body])
    assert whole.ended
    assert parsed.ended
    assert found == parsed.data
    for pieces in splits(body):
        scanner, data = scanned(pieces)
        assert (scanner.ended, scanner.trailers, scanner.behind) == (
            True, whole.trailers, whole.behind,
        )  # fmt: skip
        assert (data, scanner.decoded) == (found, len(found))


@pytest.mark.parametrize("body", BAD)
def test_what_is_not_is_malformed_however_it_comes(body: bytes) -> None:
    for pieces in splits(body):
        scanner = ChunkScanner()
        with pytest.raises(MalformedChunksError):
            feed(scanner, pieces)
        assert scanner.broken
        assert not scanner.ended
        with pytest.raises(MalformedChunksError):
            scanner.feed(b"0\r\n\r\n")


def test_what_no_end_could_make_good_is_malformed_at_once() -> None:
    for begun in (b"x", b"5\n", b"5 ", b"5\r\nhellox", b"5\r\nhello\rx", b"0\r\n:", b"0\r\nA b"):
        with pytest.raises(MalformedChunksError):
            ChunkScanner().feed(begun)


def test_where_it_is_shows_while_it_goes_on() -> None:
    scanner = ChunkScanner()
    assert b"".join(scanner.feed(b"a\r\n0123")) == b"0123"
    assert (scanner.decoded, scanner.ended) == (4, False)
    assert b"".join(scanner.feed(b"456789\r\n0\r\n\r\nmore")) == b"456789"
    assert (scanner.decoded, scanner.ended, scanner.behind) == (10, True, b"more")


def test_small_chunks_and_long_bodies_are_not_worth_the_search() -> None:
    fine, coarse = ChunkScanner(), ChunkScanner()
    while fine.goes_along:
        fine.feed(b"1000\r\n" + bytes(0x1000) + b"\r\n1\r\nx\r\n")
    assert ALONG_FINE_MAX < fine.decoded < 2 * ALONG_FINE_MAX
    while coarse.goes_along:
        coarse.feed(b"1000\r\n" + bytes(0x1000) + b"\r\n")
    assert ALONG_MAX < coarse.decoded < 2 * ALONG_MAX
    for body in (b"0\r\n\r\n", b"1\r\nx\r\n0\r\n\r\n"):
        ended = ChunkScanner()
        ended.feed(body)
        assert not ended.goes_along


_pieces = st.one_of(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b"0", b"5", b"1", b"a", b"F", b";", b"=", b"x", b"hello", b" ",
         b"\t", b"0\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"A: b\r\n", b"A:", b'"', b"\x00", b"-",
         b"+", b"_", b"\x80"]
    ),
    st.binary(max_size=3),
)  # fmt: skip
_bodies = st.lists(_pieces, max_size=12).map(b"".join)


@given(_bodies, st.lists(st.integers(1, 8), max_size=20))
@example(b"5\r\nhello\r\n0\r\n\r\n", [])
def test_nothing_is_taken_that_the_parsers_do_not_take(body: bytes, sizes: list[int]) -> None:
    pieces, rest = [], body
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    pieces.append(rest)
    try:
        scanner, data = scanned(pieces)
    except MalformedChunksError:
        return
    body = body[: len(body) - len(scanner.behind)]
    for parsed in (Parsed(body), Answered(body)):
        assert parsed.good
        assert parsed.data == data
        assert parsed.ended == scanner.ended


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (HEAD + b"5\r\n", len(HEAD)),
        (HEAD.replace(b"chunked", b"Chunked"), len(HEAD)),
        (HEAD[:-1], 0),
        (HEAD.replace(b"chunked", b"gzip"), 0),
        (b"GET / HTTP/1.1\r\n\r\n" + HEAD, 0),
        (b"", 0),
    ],
)
def test_a_head_that_speaks_of_chunks_ends(data: bytes, end: int) -> None:
    assert chunked_head(data) == end
