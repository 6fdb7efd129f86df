"""multipart/form-data: the bytes of its files, however it is cut up."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests import Request
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from gateway.admission.head import Head
from gateway.admission.multipart import (
    LOOSE_MAX,
    PART_HEADERS_MAX,
    PARTS_MAX,
    FileParts,
    boundary,
    is_file,
)
from gateway.errors import BAD_HEADER, BAD_REQUEST, Refusal
from tests.admission.asks import error, head

MARK = b"----mark"
FIELD = b'Content-Disposition: form-data; name="note"'
FILE = b'Content-Disposition: form-data; name="f"; filename="a.bin"'


def form(content_type: bytes, *headers: tuple[bytes, bytes]) -> Head:
    length = (b"Content-Length", b"9")
    return head("POST", "/files", length, (b"Content-Type", content_type), *headers)


def body(*parts: tuple[bytes, bytes], preamble: bytes = b"", epilogue: bytes = b"\r\n") -> bytes:
    sections = [b"--" + MARK + b"\r\n" + h + b"\r\n\r\n" + c + b"\r\n" for h, c in parts]
    return preamble + b"".join(sections) + b"--" + MARK + b"--" + epilogue


def counted(*pieces: bytes, mark: bytes = MARK) -> FileParts:
    parts = FileParts(mark)
    for piece in pieces:
        parts.feed(piece)
    return parts


def bytewise(content: bytes) -> FileParts:
    return counted(*(content[at : at + 1] for at in range(len(content))))


@pytest.mark.parametrize(
    ("content_type", "mark"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'multipart/form-data; boundary="abc"', b"abc"),
        (b'multipart/form-data;boundary="a b:c"', b"a b:c"),
        (b"Multipart/Form-Data; Boundary=ABC", b"ABC"),
        (b"multipart/form-data ; charset=utf-8 ; boundary=----x1 ;", b"----x1"),
        (b"multipart/form-data; boundary=" + b"a" * 70, b"a" * 70),
        (b"multipart/form-data; boundary=a=b'()+_,-./:?", b"a=b'()+_,-./:?"),
        (b'multipart/form-data; x=""; boundary=a', b"a"),
    ],
)
def test_a_boundary(content_type: bytes, mark: bytes) -> None:
    assert boundary(form(content_type)) == mark
    assert boundary(form(content_type, (b"Content-Encoding", b"identity"))) == mark


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data;",
        b"multipart/form-data; boundary",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="a',
        b'multipart/form-data; boundary="a "',
        b'multipart/form-data; boundary="a\\"b"',
        b"multipart/form-data; boundary=a b",
        b"multipart/form-data; boundary=" + b"a" * 71,
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=a; BOUNDARY=a",
        b"multipart/form-data; boundary=a; boundary*=utf-8''b",
        b"multipart/form-data; boundary*0=a; boundary*1=b",
        b"multipart/form-data; boundary=\xc3\xa9",
        b"multipart/form-data; boundary=a\tb",
        b"multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        b"multipart/form-data; =a; boundary=a",
    ],
)
def test_a_boundary_with_two_readings_is_refused(content_type: bytes) -> None:
    """failure row 41"""
    assert error(boundary(form(content_type))) is BAD_HEADER


def test_other_bodies_are_one_file() -> None:
    """failure row 45: compressed parts cannot be seen."""
    assert boundary(form(b"application/json")) is None
    assert boundary(form(b"multipart/mixed; boundary=a")) is None
    assert boundary(form(b"")) is None
    assert boundary(head("POST", "/files")) is None
    zipped = form(b"multipart/form-data; boundary=a", (b"Content-Encoding", b"gzip"))
    assert boundary(zipped) is None


@pytest.mark.parametrize(
    "headers",
    [
        FIELD,
        b"content-disposition:form-data;name=note",
        b"Content-Type: application/json\r\n" + FIELD,
        FIELD + b"\r\nX-Filename: a",
        b'Content-Disposition: form-data; name="filename"',
        b'Content-Disposition : FORM-DATA ; name="a;b=c"',
    ],
)
def test_a_form_field_is_no_file(headers: bytes) -> None:
    assert not is_file(headers)


@pytest.mark.parametrize(
    "headers",
    [
        FILE,
        b"",
        b"Content-Type: text/plain",
        FIELD + b'; filename=""',
        FIELD + b'; FileName="a"',
        FIELD + b"; filename*=utf-8''a",
        FIELD + b'; filename*0="a"',
        FIELD + b'; filename = "a"',
        b'Content-Disposition: form-data; filename="a"; name="f"',
        FIELD + b"; x=y",
        FIELD + b'\r\n\tfilename="a"',
        FIELD + b';\r\n filename="a"',
        FIELD + b"\r\n" + FILE,
        FIELD + b"\r\n" + FIELD,
        b"Content-Disposition: form-data",
        b'Content-Disposition: attachment; name="a"',
        b'Content-Disposition: form-data; name="a\\"; filename=\\"b"',
        b"Content-Type: multipart/mixed; boundary=x\r\n" + FIELD,
        b"Content-Type: Application/Octet-Stream\r\n" + FIELD,
    ],
)
def test_what_some_reader_may_take_for_a_file_is_one(headers: bytes) -> None:
    """failure row 44"""
    assert is_file(headers)


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (body(), 0),
        (body(epilogue=b""), 0),
        (body((FILE, b"hello")), 5),
        (body((FIELD, b"hello")), 0),
        (body((FIELD, b"x"), (FILE, b"hello"), (FIELD, b"y"), (FILE, b" world")), 11),
        (body((FILE, b"")), 0),
        (body((FILE, b"\r\n")), 2),
        (body((FILE, b"\r\n\r\n--\r\n")), 8),
        (body((FILE, b"-" * 100)), 100),
        (body((FILE, b"\r\n----mar")), 9),
        (body((FILE, b"a\nb\rc")), 5),
        (body((FILE, b"hello"), preamble=b"for old readers\r\n"), 5),
        (body((FILE, b"hello"), preamble=b"\r\n"), 5),
        (body((FILE, b"hello"), epilogue=b"\r\nthe end"), 5),
        (b"------mark \t \r\n" + FILE + b"\r\n\r\nhi\r\n------mark-- \r\n", 2),
        (b"------mark\r\n\r\nno headers\r\n------mark--", 10),
        (b"------mark\r\n" + FILE + b"\r\n\r\n------mark--", 0),
        (b"------mark\r\n" + FILE + b"\r\n\r\n------mar", 9),
        (b"------mark\r\n" + FILE + b"\r\n\r\nhalf", 4),
        (b"------mark\r\n" + FILE + b"\r\n\r\nhalf\r\n------mark", 4),
        (b"------mark\r\n" + FILE, 0),
    ],
)
def test_the_bytes_of_files_count(content: bytes, files: int) -> None:
    """failure row 44: exact, fed whole and byte by byte."""
    for parts in (counted(content), bytewise(content)):
        assert parts.refusal is None
        assert parts.files == files


@pytest.mark.parametrize(
    "content",
    [
        b"\n------mark\r\n",
        b"x------mark\r\n",
        body((FILE, b"hello------mark")),
        body((FILE, b"hello\r------mark\r\n")),
        body((FILE, b"hello\r\n-------mark\r\n")),
        b"------mark\r\n\nX: y",
        b"------mark\r\n" + FIELD + b"\n\n" + FILE,
        b"------mark\r\n" + FIELD + b"\r\r\nX: y",
        body((FILE, b"hello\n------mark\r\n")),
        b"------mark\r\n" + FILE + b"\r\n\r\n\n------mark--",
        b"------mark\n",
        b"------marker\r\n",
        b"------mark-x\r\n",
        b"------mark\r\r\n",
        b"------mark" + b" " * 257 + b"\r\n",
        body((FILE, b"hello\r\n------markx")),
        b"------mark\r\n" + FIELD + b"\n\n" + FILE + b"\r\n\r\n",
        b"------mark\r\n" + FIELD + b"\rX: y\r\n\r\n",
        b"------mark\r\n" + FIELD + b"\r\n------mark\r\n\r\n",
        b"------mark\r\n" + FIELD + b"\r\nX: " + b"x" * PART_HEADERS_MAX + b"\r\n\r\n",
        b"------mark\r\n" + b"x" * (PART_HEADERS_MAX + 4),
        body((FILE, b"hello")) + b"------mark\r\n",
        body((FILE, b"hello")) + b"x" * 2 * LOOSE_MAX,
        b"x" * 2 * LOOSE_MAX,
        b"x" * (LOOSE_MAX + 1) + b"\r\n" + body((FILE, b"hello")),
    ],
)
def test_a_body_with_two_readings_is_refused(content: bytes) -> None:
    """failure row 41: bare line feeds, half boundaries, hidden parts, content outside of parts."""
    for parts in (counted(content), bytewise(content)):
        assert parts.refusal is not None
        assert parts.refusal.error is BAD_REQUEST
        counts = parts.files
        parts.feed(b"more")
        assert parts.files == counts


def test_parts_have_a_most() -> None:
    """failure row 63"""
    part = b"--x\r\n\r\n\r\n\r\n"
    assert counted(part * PARTS_MAX, mark=b"x").refusal is None
    many = counted(part * PARTS_MAX, part, mark=b"x")
    assert isinstance(many.refusal, Refusal)


def test_headers_of_a_part_may_be_as_long_as_their_limit() -> None:
    headers = FILE + b"\r\nX: " + b"x" * (PART_HEADERS_MAX - len(FILE) - 5)
    content = body((headers, b"hello"))
    assert counted(content).files == 5
    assert bytewise(content).files == 5


def test_what_may_be_a_boundary_counts_until_it_is_one() -> None:
    """failure row 42: nothing is forwarded that was not counted before."""
    parts = counted(b"------mark\r\n" + FILE + b"\r\n\r\nhello\r\n------mar")
    assert parts.files == 16
    parts.feed(b"k")
    assert parts.files == 5


CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"\r\n", b"--", MARK, b"x", b"\r\n--x", b"mark", b"\x00"])
).map(b"".join)


@given(
    st.lists(st.tuples(st.sampled_from([FILE, FIELD, b"X: y"]), CONTENT), max_size=5),
    st.lists(st.integers(0, 600), max_size=15),
)
@example([(FILE, b"\r\n--" + MARK)], [1, 2, 3])
def test_any_cut_gives_the_same_count(parts: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    content = body(*parts)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[start:end] for start, end in pairwise(edges)]
    cut, whole = counted(*pieces), counted(content)
    assert (cut.refusal is None) == (whole.refusal is None)
    if whole.refusal is None:
        assert cut.files == whole.files
    if not any(b"--" + MARK in data for _, data in parts):
        assert whole.refusal is None
        assert whole.files == sum(len(data) for headers, data in parts if headers != FIELD)


def test_what_requests_sends() -> None:
    """A real client: Python requests with two files and a field."""
    files = {"a": ("a.bin", b"\r\n--" * 1000), "b": ("\u00fc.txt", b"hello")}
    sent = Request("POST", "http://a/", data={"note": "x"}, files=files).prepare()
    assert isinstance(sent.body, bytes)
    mark = boundary(form(sent.headers["Content-Type"].encode()))
    assert isinstance(mark, bytes)
    parts = counted(sent.body, mark=mark)
    assert parts.refusal is None
    assert parts.files == 4005


def read_leniently(content: bytes) -> int:
    """Bytes of files that a reader sees who takes any line break for one, and who forgives much."""
    decoder = MultipartDecoder(MARK)
    decoder.receive_data(content)
    decoder.receive_data(None)
    in_file, files = False, 0
    try:
        while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
            if isinstance(event, File | Field):
                in_file = isinstance(event, File)
            elif in_file and isinstance(event, Data):
                files += len(event.data)
    except ValueError:
        return 0
    return files


BREAKS = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n")
MARKS = (b"--" + MARK, b"--" + MARK + b"--", b"\n--" + MARK + b"\n", b"\r\n--" + MARK + b"\r\n")
HEADERS = (FIELD, FILE, FIELD + b"; filename*=utf-8''x", b"Content-Type: text/plain")
PIECES = st.sampled_from(
    (*BREAKS, *MARKS, *HEADERS, b"xxxxxxxx", b" ", b"\t", b":", b"; filename=q", b"-", b"--")
)


@given(st.booleans(), st.sampled_from([FIELD, FILE]), st.lists(PIECES, max_size=12))
@example(True, FIELD, [b"\n\n", FILE, b"\r\n--" + MARK + b"--"])
@example(False, FIELD, [b"x", b"--" + MARK, b"\n", FILE, b"\n\n", b"xxxxxxxx"])
def test_a_lenient_reader_finds_no_more_files(
    begun: bool, headers: bytes, pieces: list[bytes]
) -> None:
    """failure row 41: whatever is let through, no upstream stores more of it than was counted."""
    content = b"".join(pieces)
    if begun:
        content = body((headers, content))
    parts = counted(content)
    if parts.refusal is None:
        assert read_leniently(content) <= parts.files
