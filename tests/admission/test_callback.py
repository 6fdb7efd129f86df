"""Who calls back: signatures and the URLs that only the gateway can have made."""

import hashlib
import hmac

import pytest

from gateway.admission.callback import judge_signature, named_by, signature, token
from gateway.catalog.jobs import Callback
from gateway.errors import UNAUTHENTICATED

NOW_MS = 1_700_000_000_000
SECRET = "a-secret-of-callbacks"
BODY = b'{"job_id": "j"}'


def headers(timestamp: bytes, given: bytes) -> dict[bytes, bytes]:
    return {b"x-callback-timestamp": timestamp, b"x-callback-signature": given}


def signed(timestamp: bytes = b"1700000000", body: bytes = BODY) -> bytes:
    return hmac.new(SECRET.encode(), timestamp + b"." + body, hashlib.sha256).hexdigest().encode()


def judged(timestamp: bytes, given: bytes, body: bytes = BODY) -> bool:
    """Whether it is taken for the upstream's."""
    refusal = judge_signature(Callback(SECRET), headers(timestamp, given), body, NOW_MS)
    assert refusal is None or refusal.error is UNAUTHENTICATED
    return refusal is None


def test_the_signature_is_what_anybody_would_compute() -> None:
    assert signature(SECRET, b"1700000000", BODY) == signed()


@pytest.mark.parametrize("given", [signed(), b"sha256=" + signed(), signed().upper()])
def test_what_is_signed_just_now_is_taken(given: bytes) -> None:
    assert judged(b"1700000000", given)


@pytest.mark.parametrize(
    ("timestamp", "given", "body"),
    [
        (b"1700000000", signed(), b'{"job_id": "k"}'),
        (b"1700000001", signed(), BODY),
        (b"1700000000", signed()[:-1], BODY),
        (b"1700000000", b"", BODY),
        (b"", b"", BODY),
        (b"1700000000", b"\xff" * 64, BODY),
        (b"", signed(b""), BODY),
        (b"now", signed(b"now"), BODY),
        (b"-1700000000", signed(b"-1700000000"), BODY),
        (b"1" * 13, signed(b"1" * 13), BODY),
    ],
)
def test_what_is_not_signed_so_is_refused(timestamp: bytes, given: bytes, body: bytes) -> None:
    assert not judged(timestamp, given, body)


@pytest.mark.parametrize(
    ("seconds", "taken"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_a_signature_is_good_for_the_window_only(seconds: int, taken: bool) -> None:
    timestamp = b"%d" % (1_700_000_000 + seconds)
    assert judged(timestamp, signed(timestamp)) is taken


def test_a_token_names_whom_it_was_made_for() -> None:
    made = token(SECRET, "work", "acme.corp", "ab12-3f")
    assert named_by(made, SECRET, "work") == ("acme.corp", "ab12-3f")
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


@pytest.mark.parametrize(
    "other",
    [
        token(SECRET, "play", "acme", "r1"),
        token("another-secret-here", "work", "acme", "r1"),
        token(SECRET, "work", "acme", "r1").replace("acme", "evil"),
        token(SECRET, "work", "acme", "r1").replace("r1", "r2"),
        token(SECRET, "work", "acme", "r1")[:-1],
        "acme~r1~",
        "acme~r1",
        "acme",
        "",
        "~~",
        "acme~r1~ü",
        "acme~r1~\udcff",
    ],
)
def test_any_other_token_names_nobody(other: str) -> None:
    """failure row 56: callbacks for jobs that were guessed"""
    assert named_by(other, SECRET, "work") is None
