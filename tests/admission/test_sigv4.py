"""Access key ids: the one the upstream will read, or a refusal."""

import pytest

from gateway.admission.sigv4 import access_key_id
from gateway.errors import BAD_HEADER, BAD_REQUEST, UNAUTHENTICATED
from tests.admission.asks import error, head

SCOPE = "AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request"
SIGNED = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature=abc"
PRESIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + SCOPE.replace("/", "%2F")


def from_header(value: str) -> object:
    return access_key_id(head("GET", "/b/k", (b"Authorization", value.encode("latin-1"))))


def from_query(query: str) -> object:
    return access_key_id(head("GET", f"/b/k?{query}"))


def test_a_signed_request() -> None:
    assert from_header(SIGNED) == "AKIDEXAMPLE"
    assert from_header(SIGNED.replace(", ", ",")) == "AKIDEXAMPLE"
    compact = f"AWS4-HMAC-SHA256 Signature=abc,Credential={SCOPE}"
    assert from_header(compact) == "AKIDEXAMPLE"


def test_a_presigned_request() -> None:
    assert from_query(PRESIGNED) == "AKIDEXAMPLE"
    assert from_query(f"x=1&X-Amz-Credential={SCOPE}&versionId=3") == "AKIDEXAMPLE"


@pytest.mark.parametrize("value", ["Bearer abc", "Basic abc", "aws4-hmac-sha256 Credential=x", ""])
def test_other_schemes_are_no_signature(value: str) -> None:
    assert from_header(value) is None


@pytest.mark.parametrize(
    "query", ["", "list-type=2", "prefix=a%2Fb", "x-amz-acl=private", "X-Amz-Date=1", "uploads"]
)
def test_other_queries_are_no_signature(query: str) -> None:
    assert from_query(query) is None


def test_version_2_is_refused() -> None:
    assert error(from_header("AWS AKIDEXAMPLE:c2lnbmF0dXJl")) is UNAUTHENTICATED
    assert error(from_query("AWSAccessKeyId=AKID&Signature=x&Expires=1")) is UNAUTHENTICATED
    assert error(from_query("AWS%41ccessKeyId=AKID")) is UNAUTHENTICATED


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "AKIDEXAMPLE",
        "/20260101/us-east-1/s3/aws4_request",
        "AKID/2026/us-east-1/s3/aws4_request",
        "AKID/20260101/us-east-1/s3/aws4",
        "AKID/20260101/us-east-1/s3/aws4_request/more",
        "AK ID/20260101/us-east-1/s3/aws4_request",
        "AKID\xe9/20260101/us-east-1/s3/aws4_request",
        "A" * 129 + "/20260101/us-east-1/s3/aws4_request",
    ],
)
def test_a_malformed_credential_is_refused(credential: str) -> None:
    """failure row 64"""
    assert (
        error(from_header(f"AWS4-HMAC-SHA256 Credential={credential}, Signature=x")) is BAD_REQUEST
    )


def test_a_signature_without_credential_is_refused() -> None:
    assert error(from_header("AWS4-HMAC-SHA256 Signature=abc")) is BAD_REQUEST
    assert error(from_header("AWS4-HMAC-SHA256")) is BAD_REQUEST
    assert error(from_query("X-Amz-Credential=")) is BAD_REQUEST


@pytest.mark.parametrize(
    "query",
    [
        f"{PRESIGNED}&X-Amz-Credential=OTHER",
        f"{PRESIGNED}&x-amz-credential=OTHER",
        f"{PRESIGNED}&X-Amz%2DCredential=OTHER",
        f"{PRESIGNED};X-Amz-Credential=OTHER",
        "x-amz-credential=OTHER",
        "X-Amz%2dCredential=OTHER",
        "%58-Amz-Credential=OTHER",
    ],
)
def test_a_second_credential_in_the_query_is_refused(query: str) -> None:
    """failure row 66: the upstream may read another one than the gateway."""
    assert error(from_query(query)) is BAD_REQUEST


def test_a_second_credential_in_the_header_is_refused() -> None:
    """failure row 66"""
    assert error(from_header(f"{SIGNED}, Credential=OTHER/x")) is BAD_HEADER
    assert error(from_header(f"{SIGNED}, credential=OTHER/x")) is BAD_HEADER


def test_header_and_query_at_once_are_refused() -> None:
    """failure row 66"""
    both = head("GET", f"/b/k?{PRESIGNED}", (b"Authorization", SIGNED.encode()))
    assert error(access_key_id(both)) is BAD_REQUEST
    presigned = head("GET", f"/b/k?{PRESIGNED}", (b"Authorization", b"Basic abc"))
    assert access_key_id(presigned) == "AKIDEXAMPLE"
    broken = head("GET", "/b/k?X-Amz-Credential=x", (b"Authorization", SIGNED.encode()))
    assert error(access_key_id(broken)) is BAD_REQUEST
