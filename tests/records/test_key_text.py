"""The text of API keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.records.key_text import KeyKind, could_exist, digest, new_key_id, new_secret, shown

SECRETS = [new_secret() for _ in range(50)]


def test_a_new_secret_is_recognisable_and_checks() -> None:
    for secret in SECRETS:
        assert re.fullmatch(r"qg_[0-9A-Za-z]{38}", secret)
        assert could_exist(KeyKind.SECRET, secret)


def test_secrets_and_ids_do_not_repeat() -> None:
    assert len(set(SECRETS)) == len(SECRETS)
    assert len({new_key_id() for _ in range(1_000)}) == 1_000


def test_every_single_typing_error_is_told_without_a_look_up() -> None:
    """failure row 64: a made-up key costs no look-up."""
    secret = SECRETS[0]
    for place in range(len(secret)):
        for wrong in "aZ7":
            typed = secret[:place] + wrong + secret[place + 1 :]
            if typed != secret and typed.startswith("qg_"):
                assert not could_exist(KeyKind.SECRET, typed)


@pytest.mark.parametrize(
    "candidate",
    ["", "qg_", "qg_short", "qg_" + "a" * 500, "short", "x" * 513, "with blanks in it 0123",
     "ключ" * 8, "tab\tin-a-long-enough-one", "nul\0in-a-long-enough-one"],
)  # fmt: skip
def test_what_cannot_be_a_secret(candidate: str) -> None:
    assert not could_exist(KeyKind.SECRET, candidate)


@pytest.mark.parametrize("candidate", ["sk_live_0123456789abcdef", "0123456789abcdef", "x" * 512])
def test_a_foreign_secret_could_exist(candidate: str) -> None:
    assert could_exist(KeyKind.SECRET, candidate)


@pytest.mark.parametrize(
    ("candidate", "could"),
    [("AKIAIOSFODNN7EXAMPLE", True), ("minioadmin", True), ("a/b", False), ("a,b", False),
     ("ab", False), ("A" * 129, False)],
)  # fmt: skip
def test_what_can_be_an_s3_access_key_id(candidate: str, could: bool) -> None:
    assert could_exist(KeyKind.S3, candidate) is could


def test_a_public_s3_id_presented_as_a_secret_is_another_name() -> None:
    public = "AKIAIOSFODNN7EXAMPLE"
    assert digest(KeyKind.S3, public) != digest(KeyKind.SECRET, public)
    assert digest(KeyKind.S3, public) != digest(KeyKind.SECRET, "s3" + public)


@pytest.mark.parametrize(
    ("secret", "said"),
    [("sk_live_0123456789abcdef", "sk_live_…cdef"), ("0123456789abcdef", "…cdef"),
     ("verylongword_0123456789ab", "…89ab")],
)  # fmt: skip
def test_what_lists_and_logs_say_of_a_foreign_secret(secret: str, said: str) -> None:
    """failure row 68"""
    assert shown(KeyKind.SECRET, secret) == said


def test_what_lists_and_logs_say_of_our_own() -> None:
    """failure row 68"""
    secret = SECRETS[0]
    assert shown(KeyKind.SECRET, secret) == f"qg_…{secret[-4:]}"


@given(st.text())
def test_no_text_breaks_the_check_or_the_digest(candidate: str) -> None:
    for kind in KeyKind:
        could_exist(kind, candidate)
    if candidate.isascii():
        assert len(digest(KeyKind.SECRET, candidate)) == 64
