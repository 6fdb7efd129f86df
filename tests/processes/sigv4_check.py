"""Checks the AWS signature of a request as it arrived, as a real object store would.

Recomputed with botocore's own signer from nothing but the bytes that came: method, target, signed
headers and body. moto does not check signatures unless it is told all its users.
"""

import hashlib
import re

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.upstream_line import Received

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/\d{8}/(?P<region>[^/]+)/s3/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def assert_signed(request: Received, credentials: Credentials) -> None:
    """Raises AssertionError unless the signature in its header holds."""
    given = {name.decode().lower(): value.decode() for name, value in request.headers}
    found = _AUTHORIZATION.fullmatch(given["authorization"])
    assert found is not None, given["authorization"]
    names = found["names"].split(";")
    assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names)
    again = AWSRequest(
        method=request.method.decode(),
        url=f"http://{given['host']}{request.target.decode()}",
        headers={name: given[name] for name in names},
    )
    again.context["timestamp"] = given["x-amz-date"]
    signer = S3SigV4Auth(credentials, "s3", found["region"])
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert signer.signature(text, again) == found["signature"]
    assert found["id"] == credentials.access_key
    declared = given["x-amz-content-sha256"]
    if re.fullmatch(r"[0-9a-f]{64}", declared):
        assert hashlib.sha256(request.body).hexdigest() == declared
