"""The gateway's own signatures, recomputed by botocore from what would be sent."""

import pytest
from botocore.credentials import Credentials

from gateway.admission.sigv4_signing import signed_fields
from gateway.catalog.routes import S3Credentials
from tests.processes.sigv4_check import assert_signed
from tests.upstream_line import Received

OURS = S3Credentials(
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-west-3"
)
NOW_MS = 1_790_000_000_123


@pytest.mark.parametrize(
    "target",
    [
        "/bucket/key",
        "/bucket/a//b",
        "/bucket/a%20b/%C3%A4%2B",
        "/bucket/~a-b_c.d",
        "/bucket/key?versionId=a%2Fb",
        "/bucket/.",
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_what_we_sign_holds(method: str, target: str) -> None:
    fields = signed_fields(method, target, "s3.example.com", OURS, now_ms=NOW_MS)
    sent = Received(
        method=method.encode(),
        target=target.encode(),
        headers=[(b"Host", b"s3.example.com"), *fields],
    )
    assert_signed(sent, Credentials(OURS.access_key, OURS.secret_key))


def test_another_secret_signs_otherwise() -> None:
    other = S3Credentials(OURS.access_key, "another", OURS.region)
    fields = signed_fields("HEAD", "/b/k", "s3.example.com", other, now_ms=NOW_MS)
    sent = Received(method=b"HEAD", target=b"/b/k", headers=[(b"Host", b"s3.example.com"), *fields])
    with pytest.raises(AssertionError):
        assert_signed(sent, Credentials(OURS.access_key, OURS.secret_key))
