"""Counts and the actual lines they amount to."""

import zlib

import pytest

from gateway.admission.measure import BodyCount, Counts, actual_lines, reported_size
from gateway.catalog.routes import CredentialKind, Source
from gateway.errors import BAD_FRAMING, BAD_REQUEST
from tests.admission.asks import head, route
from tests.admission.test_aws_chunked import S3, STREAMING, encoded
from tests.admission.test_multipart import FIELD, FILE, MARK, body

FORM = (b"Content-Type", b"multipart/form-data; boundary=" + MARK)
CHUNKED = (b"Transfer-Encoding", b"chunked")
FILES = route("/files", reserve={"storage_bytes": Source.FILES})


def fed(count: BodyCount, *pieces: bytes) -> tuple[int, int, int]:
    for piece in pieces:
        count.feed(piece)
    return count.wire, count.body, count.files


def test_a_plain_body() -> None:
    count = BodyCount.for_head(head("PUT", "/files/a", CHUNKED), route())
    assert fed(count, b"hello", b"", b" world") == (11, 11, 11)
    assert count.refusal is None
    assert not count.reads_bytes
    count.pass_by(1 << 40)
    assert count.wire == 11 + (1 << 40)


def test_a_form_on_a_route_that_counts_files() -> None:
    content = body((FIELD, b"note"), (FILE, b"hello"))
    count = BodyCount.for_head(head("POST", "/files", FORM, CHUNKED), FILES)
    assert count.reads_bytes
    assert fed(count, content) == (len(content), len(content), 5)
    count.feed(b"x" * 5000)
    assert count.refusal is not None
    assert count.refusal.error is BAD_REQUEST


def test_a_form_on_a_route_that_counts_bodies() -> None:
    content = body((FILE, b"hello"))
    count = BodyCount.for_head(head("POST", "/files", FORM, CHUNKED), route())
    assert fed(count, content) == (len(content),) * 3


def test_another_body_on_a_route_that_counts_files() -> None:
    count = BodyCount.for_head(head("POST", "/files", CHUNKED), FILES)
    assert fed(count, b"hello") == (5, 5, 5)


def test_an_aws_chunked_body() -> None:
    decoded = (b"X-Amz-Decoded-Content-Length", b"5")
    count = BodyCount.for_head(head("PUT", "/s3/k", STREAMING, decoded, CHUNKED), S3)
    content = encoded(b"hello")
    assert count.reads_bytes
    assert fed(count, content) == (len(content), 5, 5)
    broken = BodyCount.for_head(head("PUT", "/s3/k", STREAMING, decoded, CHUNKED), S3)
    broken.feed(b"hello\n")
    assert broken.refusal is not None
    assert broken.refusal.error is BAD_FRAMING
    with pytest.raises(AssertionError):
        broken.pass_by(1)


def test_a_compressed_body_counts_as_it_was_sent() -> None:
    """failure row 45: 100 kB of zeros are the 100-odd bytes that came over the wire."""
    bomb = zlib.compress(b"\0" * 100_000)
    zipped = (b"Content-Encoding", b"deflate")
    count = BodyCount.for_head(head("PUT", "/files/a", CHUNKED, zipped), route())
    assert fed(count, bomb) == (len(bomb),) * 3
    form = BodyCount.for_head(head("POST", "/files", CHUNKED, zipped, FORM), FILES)
    assert fed(form, bomb) == (len(bomb),) * 3


EVERYTHING = route(
    reserve={
        "storage_bytes": Source.FILES,
        "ingress_bytes": Source.BODY,
        "egress_bytes": Source.RESPONSE,
        "delivery_seconds": Source.DELIVERY_SECONDS,
        "requests": 1,
    },
    auth=(CredentialKind.X_API_KEY,),
)


def test_actual_lines_follow_their_sources() -> None:
    counts = Counts(body=120, files=100, response_bytes=7, delivery_s=1.01)
    assert actual_lines(EVERYTHING, counts) == {
        "storage_bytes": 100,
        "ingress_bytes": 120,
        "egress_bytes": 7,
        "delivery_seconds": 2,
        "requests": 1,
    }
    assert actual_lines(EVERYTHING, Counts())["delivery_seconds"] == 0
    assert actual_lines(EVERYTHING, Counts(delivery_s=2.0))["delivery_seconds"] == 2


@pytest.mark.parametrize("reported", [0, 90, 110, 1000])
def test_the_upstreams_size_replaces_what_was_counted(reported: int) -> None:
    """failure row 40: smaller or larger."""
    counts = Counts(body=120, files=100, response_bytes=7, reported_size=reported)
    actual = actual_lines(EVERYTHING, counts)
    assert actual["storage_bytes"] == reported
    assert actual["ingress_bytes"] == reported
    assert actual["egress_bytes"] == 7


def test_a_size_is_read_from_the_answer() -> None:
    """failure row 40"""
    assert reported_size(b'{"id": "a", "size": 42}', "size") == 42
    assert reported_size(b'{"size": 0}', "size") == 0
    assert reported_size(b'{"size": 9007199254740991}', "size") == 9_007_199_254_740_991


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b"\xff",
        b"[1]",
        b"42",
        b"null",
        b"{}",
        b'{"Size": 42}',
        b'{"size": null}',
        b'{"size": true}',
        b'{"size": -1}',
        b'{"size": 42.0}',
        b'{"size": 1e3}',
        b'{"size": "42"}',
        b'{"size": NaN}',
        b'{"size": 9007199254740992}',
        b'{"size": ' + b"9" * 5000 + b"}",
        b'{"size": 42',
        b"[" * 100_000,
    ],
)
def test_what_is_no_amount_is_no_size(answer: bytes) -> None:
    """failure row 62, failure row 63: also nested 100,000 deep."""
    assert reported_size(answer, "size") is None
