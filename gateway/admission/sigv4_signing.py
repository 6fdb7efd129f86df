"""Signing of a question to S3 by AWS Signature Version 4: requests without a body, in the header.

Source: AWS General Reference, "Create a signed AWS API request"; for S3 a path is not encoded
again. What is signed are Host, the date and the hash of the empty body.
"""

import hashlib
import hmac
from datetime import UTC, datetime

from gateway.catalog.routes import S3Credentials

_EMPTY = hashlib.sha256(b"").hexdigest()
_SIGNED = "host;x-amz-content-sha256;x-amz-date"
_METHOD = "AWS4-HMAC-SHA256"


def signed_fields(
    method: str, target: str, host: str, credentials: S3Credentials, *, now_ms: int
) -> list[tuple[bytes, bytes]]:
    """The header fields that sign a request, besides Host. `target` has its path in the one
    spelling of S3, and parameters of its query in their order, each with a value."""
    at = datetime.fromtimestamp(now_ms / 1_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    path, _, query = target.partition("?")
    headers = f"host:{host}\nx-amz-content-sha256:{_EMPTY}\nx-amz-date:{at}\n"
    canonical = "\n".join((method, path, query, headers, _SIGNED, _EMPTY))
    scope = f"{at[:8]}/{credentials.region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{_METHOD}\n{at}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"{_METHOD} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={_SIGNED}, Signature={signature}"
    )
    return [
        (b"x-amz-content-sha256", _EMPTY.encode()),
        (b"x-amz-date", at.encode()),
        (b"Authorization", authorization.encode()),
    ]
