"""Callbacks: whether it is the upstream that says how a job is, and of which job it speaks.

Two ways: it signs what it says with a secret that it shares with the gateway (HMAC-SHA256 over
`timestamp.body`), or it calls a URL that it was given for one job, whose last segment only the
gateway can have made.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from gateway.catalog.jobs import Callback
from gateway.errors import UNAUTHENTICATED, Refusal

TIMESTAMP = b"x-callback-timestamp"
SIGNATURE = b"x-callback-signature"
"""Hexadecimal, with or without `sha256=` before it."""


def judge_signature(
    callback: Callback, headers: Mapping[bytes, bytes], body: bytes, now_ms: int
) -> Refusal | None:
    """Why this was not said by the upstream just now, if it was not. What is repeated within the
    window changes nothing: a job ends once."""
    timestamp = headers.get(TIMESTAMP, b"")
    given = headers.get(SIGNATURE, b"").removeprefix(b"sha256=").lower()
    wanted = signature(callback.secret, timestamp, body)
    if not hmac.compare_digest(given, wanted):
        return Refusal(UNAUTHENTICATED, "the callback is not signed by the upstream")
    if not (timestamp.isdigit() and len(timestamp) <= 12):
        return Refusal(UNAUTHENTICATED, "the timestamp is not in seconds")
    if abs(int(timestamp) * 1_000 - now_ms) > callback.window_s * 1_000:
        return Refusal(UNAUTHENTICATED, "the callback is too old, or of the future")
    return None


def signature(secret: str, timestamp: bytes, body: bytes) -> bytes:
    return _mac(secret, b"%b.%b" % (timestamp, body)).hex().encode()


def token(secret: str, rule: str, account: str, reservation: str) -> str:
    """The last segment of the URL that the upstream is given for one job."""
    return f"{account}~{reservation}~{_token_mac(secret, rule, account, reservation)}"


def named_by(given: str, secret: str, rule: str) -> tuple[str, str] | None:
    """Account and reservation that a token was made for; None: it was not made here."""
    account, _, rest = given.partition("~")
    reservation, _, mac = rest.partition("~")
    wanted = _token_mac(secret, rule, account, reservation)
    same = hmac.compare_digest(mac.encode("utf-8", "surrogateescape"), wanted.encode())
    return (account, reservation) if same else None


def _token_mac(secret: str, rule: str, account: str, reservation: str) -> str:
    # The words before tell it apart from a signature: a timestamp has digits only.
    said = f"callback url\n{rule}\n{account}\n{reservation}".encode("utf-8", "surrogateescape")
    return urlsafe_b64encode(_mac(secret, said)).rstrip(b"=").decode()


def _mac(secret: str, message: bytes) -> bytes:
    return hmac.digest(secret.encode(), message, hashlib.sha256)
