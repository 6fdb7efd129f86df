"""aws-chunked bodies: the data counts, however it is cut up, and the envelope is bounded."""

from io import BytesIO
from itertools import pairwise

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.aws_chunked import ENVELOPE_MIN, AwsChunks, decoded_length, wire_max
from gateway.catalog.routes import CredentialKind
from gateway.errors import BAD_FRAMING, INVALID_AMOUNT, LENGTH_REQUIRED
from tests.admission.asks import error, head, route
from tests.admission.test_framing import NUMBERS_REFUSED

S3 = route("/s3/{key...}", auth=(CredentialKind.S3,), opaque=True)
STREAMING = (b"x-amz-content-sha256", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER")
CHUNKED = (b"Transfer-Encoding", b"chunked")
SIGNATURE = b";chunk-signature=" + b"a" * 64
TRAILER = b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"


def encoded(*chunks: bytes, extension: bytes = b"", trailer: bytes = TRAILER) -> bytes:
    framed = [b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    return b"".join(framed) + b"0" + extension + b"\r\n" + trailer


def counted(*pieces: bytes) -> AwsChunks:
    chunks = AwsChunks()
    for piece in pieces:
        chunks.feed(piece)
    return chunks


def declaring(value: bytes, *headers: tuple[bytes, bytes]) -> object:
    more = headers or (CHUNKED,)
    return decoded_length(
        head("PUT", "/s3/k", STREAMING, (b"X-Amz-Decoded-Content-Length", value), *more), S3
    )


def test_the_decoded_length_is_what_is_stored() -> None:
    assert declaring(b"1000003") == 1_000_003
    assert declaring(b"5", (b"Content-Length", b"93")) == 5
    assert declaring(b"0") == 0


@pytest.mark.parametrize("value", [v for v in NUMBERS_REFUSED if b"\x0b" not in v])
def test_a_decoded_length_is_a_plain_number(value: bytes) -> None:
    """failure row 62"""
    assert error(declaring(value)) is INVALID_AMOUNT


def test_a_decoded_length_must_be_there_and_fit() -> None:
    """failure row 44"""
    assert error(decoded_length(head("PUT", "/s3/k", STREAMING, CHUNKED), S3)) is LENGTH_REQUIRED
    assert error(declaring(b"94", (b"Content-Length", b"93"))) is BAD_FRAMING


def test_elsewhere_the_bytes_as_sent_count() -> None:
    """An upstream that does not decode would store the envelope too."""
    decoded = (b"X-Amz-Decoded-Content-Length", b"5")
    streamed = head("PUT", "/s3/k", STREAMING, decoded, CHUNKED)
    assert decoded_length(streamed, route()) is None
    signed = (b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD")
    assert decoded_length(head("PUT", "/s3/k", signed, decoded, CHUNKED), S3) is None
    assert decoded_length(head("PUT", "/s3/k", decoded, CHUNKED), S3) is None
    assert decoded_length(head("PUT", "/s3/k", STREAMING, decoded), S3) is None


@pytest.mark.parametrize(
    ("body", "decoded"),
    [
        (encoded(), 0),
        (encoded(trailer=b"\r\n"), 0),
        (encoded(b"hello"), 5),
        (encoded(b"hello", b" world"), 11),
        (encoded(b"hello", extension=SIGNATURE), 5),
        (encoded(b"\r\n0\r\n\r\n", b"5\r\n"), 10),
        (encoded(b"a" * 70_000, b"b" * 65_536, extension=SIGNATURE), 135_536),
        (b"A\r\n0123456789\r\n0\r\n\r\n", 10),
        (b"00a\r\n0123456789\r\n00\r\n\r\n", 10),
        (encoded(b"x", trailer=b"a:b\n\r\nx-amz-trailer-signature:c\r\n\r\n"), 1),
    ],
)
def test_the_data_counts(body: bytes, decoded: int) -> None:
    """failure row 44: exact, fed whole and byte by byte."""
    for chunks in (counted(body), counted(*(body[at : at + 1] for at in range(len(body))))):
        assert chunks.refusal is None
        assert chunks.decoded == decoded


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n",
        b"5;\x00\r\nhello\r\n",
        b"1" * 14 + b"\r\n",
        b"plain text that is no such body\n",
        b"5;" + b"s" * 2000 + b"\r\nhello\r\n",
        b"5;" + b"s" * 2000,
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    """failure row 41"""
    chunks = counted(body, encoded(b"hello"))
    assert chunks.refusal is not None
    assert chunks.refusal.error is BAD_FRAMING


def test_a_truncated_body_counts_what_there_was() -> None:
    assert counted(b"5\r\nhel").decoded == 3
    assert counted(b"5\r\nhel").refusal is None


def test_nobody_sends_much_more_than_is_counted() -> None:
    """failure row 44: neither in tiny chunks, nor in extensions, nor behind the end."""
    tiny = b"1\r\nx\r\n" * 100_000
    assert counted(tiny).refusal is not None
    padded = encoded(*[b"x"] * 200, extension=b";" + b"p" * 1000)
    assert counted(padded).refusal is not None
    assert counted(encoded(b"x"), b"t" * ENVELOPE_MIN).refusal is not None
    assert counted(encoded(b"x"), b"t" * 1000).refusal is None
    assert wire_max(10) == 20 + ENVELOPE_MIN


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.booleans(),
    st.lists(st.integers(0, 3000), max_size=12),
)
def test_any_cut_gives_the_same_count(data: list[bytes], signed: bool, cuts: list[int]) -> None:
    body = encoded(*data, extension=SIGNATURE if signed else b"")
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    chunks = counted(*pieces)
    assert chunks.refusal is None
    assert chunks.decoded == sum(map(len, data))


def test_what_boto3_sends() -> None:
    """A real client: the body botocore makes of a stream with a trailing checksum."""
    sent = AwsChunkedWrapper(
        BytesIO(b"x" * 1_000_003), Crc32Checksum, "x-amz-checksum-crc32", chunk_size=65_536
    ).read()
    chunks = counted(*(sent[at : at + 10_000] for at in range(0, len(sent), 10_000)))
    assert chunks.refusal is None
    assert chunks.decoded == 1_000_003
    assert len(sent) < wire_max(1_000_003)
