"""Every request to an S3 API is one operation, or it is refused; whatever stores is known."""

import pytest

from gateway.admission.head import Head, judge
from gateway.admission.s3_names import CopySource, Object
from gateway.admission.s3_operation import (
    AbortUpload,
    CompleteUpload,
    Control,
    Copy,
    CreateUpload,
    Delete,
    DeleteMany,
    Operation,
    Part,
    Put,
    Read,
)
from gateway.admission.s3_operation import judge as operation
from gateway.errors import (
    BAD_HEADER,
    BAD_PATH,
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_SERVED,
    Error,
    Refusal,
)
from tests.admission.asks import error

DOMAINS = ("s3.example", "[::1]")
KEY = Object("b", "k")
FROM = Object("src", "old%20key")
COPY = (b"x-amz-copy-source", b"/src/old%20key")
RANGE = (b"x-amz-copy-source-range", b"bytes=5-14")


def asked(
    line: str, *headers: tuple[bytes, bytes], host: bytes = b"s3.example"
) -> Operation | Refusal:
    method, _, target = line.partition(" ")
    head = judge(method, target, (1, 1), ((b"Host", host), *headers))
    assert isinstance(head, Head), head
    return operation(head, DOMAINS)


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        ("GET /", (), Read()),
        ("GET /b?list-type=2&prefix=a%2Fb", (), Read()),
        ("HEAD /b/k", (), Read()),
        ("GET /b/k?uploadId=U", (), Read()),
        ("GET /b/k?anything;at%20all", (), Read()),
        ("PUT /b/k", (), Put(KEY)),
        ("PUT /b/k?x-id=PutObject", (), Put(KEY)),
        ("PUT /b/k?X-Amz-Credential=a%2Fb&X-Amz-Signature=0&x-amz-acl=private", (), Put(KEY)),
        ("PUT /b/k", (COPY,), Copy(KEY, CopySource(FROM))),
        ("DELETE /b/k", (), Delete(KEY)),
        ("DELETE /b/k?versionId=v%2B1", (), Delete(Object("b", "k", "v+1"))),
        ("DELETE /b/k?versionId=", (), Delete(KEY)),
        ("POST /b?delete", (), DeleteMany("b")),
        ("POST /b/?delete=", (), DeleteMany("b")),
        ("POST /b/k?uploads", (), CreateUpload(KEY)),
        ("PUT /b/k?partNumber=1&uploadId=U%2F1", (), Part(KEY, "U/1", 1)),
        ("PUT /b/k?uploadId=U&partNumber=010000&x-id=UploadPart", (), Part(KEY, "U", 10_000)),
        ("PUT /b/k?partNumber=7&uploadId=U", (COPY,), Part(KEY, "U", 7, CopySource(FROM))),
        (
            "PUT /b/k?partNumber=7&uploadId=U",
            (COPY, RANGE),
            Part(KEY, "U", 7, CopySource(FROM, 10)),
        ),
        ("POST /b/k?uploadId=U", (), CompleteUpload(KEY, "U")),
        ("DELETE /b/k?uploadId=U", (), AbortUpload(KEY, "U")),
        ("PUT /b/k?tagging", (), Control()),
        ("PUT /b/k?acl&versionId=3", (), Control()),
        ("DELETE /b/k?tagging", (), Control()),
        ("POST /b/k?restore", (), Control()),
        ("PUT /b", (), Control()),
        ("DELETE /b", (), Control()),
        ("PUT /b?versioning", (), Control()),
        ("DELETE /b?policy", (), Control()),
    ],
)
def test_what_is_asked(
    line: str, headers: tuple[tuple[bytes, bytes], ...], expected: Operation
) -> None:
    assert asked(line, *headers) == expected


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        # Nobody knows what an upstream that does not know these would store.
        ("PUT /b/k?append&position=0", (), NOT_SERVED),
        ("PUT /b/k?uploadId=U", (), NOT_SERVED),
        ("PUT /b/k?partNumber=1", (), NOT_SERVED),
        ("PUT /b/k?renameObject", (), NOT_SERVED),
        ("PUT /b/k?versionId=1", (), NOT_SERVED),
        ("PUT /b/k", ((b"x-amz-write-offset-bytes", b"5"),), NOT_SERVED),
        ("PUT /b/k?tagging", (COPY,), NOT_SERVED),
        ("PUT /b", (COPY,), NOT_SERVED),
        ("PUT /b?replication", (), NOT_SERVED),
        ("POST /b/k?uploads", (COPY,), NOT_SERVED),
        ("POST /b/k?select&select-type=2", (), NOT_SERVED),
        ("POST /b/k", (), NOT_SERVED),
        ("POST /b", (), NOT_SERVED),
        ("DELETE /b/k?uploads", (), NOT_SERVED),
        ("PUT /", (), NOT_SERVED),
        ("PATCH /b/k", (), METHOD_NOT_ALLOWED),
        # Spellings that one upstream reads and another does not.
        ("PUT /b/k?upload%49d=U&partNumber=1", (), BAD_REQUEST),
        ("PUT /b/k?uploadId=U&uploadId=V&partNumber=1", (), BAD_REQUEST),
        ("PUT /b/k?uploadId=U;partNumber=1", (), BAD_REQUEST),
        ("PUT /b/k?UploadId=U&partNumber=1", (), NOT_SERVED),
        ("PUT /b/k?partNumber=0&uploadId=U", (), BAD_REQUEST),
        ("PUT /b/k?partNumber=10001&uploadId=U", (), BAD_REQUEST),
        ("PUT /b/k?partNumber=1e3&uploadId=U", (), BAD_REQUEST),
        ("PUT /b/k?X-Amz-Copy-Source=%2Fsrc%2Fk", (), BAD_REQUEST),
        ("PUT /b/k?x-amz-write-offset-bytes=5", (), BAD_REQUEST),
        ("PUT /b/k+l", (), BAD_PATH),
        ("PUT /%62/k", (), BAD_PATH),
        ("PUT //k", (), BAD_PATH),
        ("PUT /b/k?partNumber=7&uploadId=U", (COPY, RANGE, RANGE), BAD_HEADER),
        (
            "PUT /b/k?partNumber=7&uploadId=U",
            (COPY, (b"x-amz-copy-source-range", b"bytes=9-5")),
            BAD_HEADER,
        ),
        ("PUT /b/k?partNumber=7&uploadId=U", (COPY, (RANGE[0], b"5-9")), BAD_HEADER),
    ],
)
def test_what_is_refused(
    line: str, headers: tuple[tuple[bytes, bytes], ...], expected: Error
) -> None:
    assert error(asked(line, *headers)) == expected


def test_buckets_stand_in_the_path_or_in_the_host() -> None:
    put = Put(Object("b", "k/l"))
    assert asked("PUT /b/k/l") == put
    assert asked("PUT /b/k/l", host=b"S3.Example:8080") == put
    assert asked("PUT /b/k/l", host=b"[::1]:8080") == put
    assert asked("PUT /k/l", host=b"b.s3.example:443") == put
    assert asked("PUT /k/l", host=b"my.b.s3.example") == Put(Object("my.b", "k/l"))
    assert asked("POST /?delete", host=b"b.s3.example") == DeleteMany("b")
    for host in (b"evil.example", b"s3.example.evil", b"xs3.example", b"[::2]"):
        assert error(asked("PUT /b/k", host=host)) == BAD_REQUEST
    assert error(asked("PUT /k", host=b"-.s3.example")) == BAD_PATH
