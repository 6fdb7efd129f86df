"""Credentials: at most one, from where the route accepts it, and what goes upstream of it."""

import pytest

from gateway.admission.identify import (
    Credential,
    credential,
    credential_headers,
    is_signed_for,
)
from gateway.catalog.routes import CredentialKind
from gateway.errors import (
    BAD_HEADER,
    MALFORMED_API_KEY,
    NO_API_KEY,
    UNAUTHENTICATED,
    Refusal,
)
from tests.admission.asks import error, head, route
from tests.admission.test_sigv4 import SIGNED

KEY = b"qg_0123456789abcdefghijABCDEFGHIJ01abcdef"
KINDS = CredentialKind
ALL = tuple(CredentialKind)


def found(auth: tuple[CredentialKind, ...], *headers: tuple[bytes, bytes]) -> Credential | Refusal:
    return credential(head("GET", "/files/a", *headers), auth)


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        (KINDS.X_API_KEY, [(b"X-Api-Key", KEY)]),
        (KINDS.X_API_KEY, [(b"x-api-key", KEY)]),
        (KINDS.BEARER, [(b"Authorization", b"Bearer " + KEY)]),
        (KINDS.BEARER, [(b"Authorization", b"bearer  " + KEY)]),
        (KINDS.CLOUDFLARE, [(b"X-Auth-Email", b"a@b.example"), (b"X-Auth-Key", KEY)]),
    ],
)
def test_each_kind_of_credential(kind: CredentialKind, headers: list[tuple[bytes, bytes]]) -> None:
    expected = Credential(kind, KEY.decode())
    assert found(ALL, *headers) == expected
    assert found((kind,), *headers) == expected


def test_an_access_key_id() -> None:
    signed = (b"Authorization", SIGNED.encode())
    assert found((KINDS.S3,), signed) == Credential(KINDS.S3, "AKIDEXAMPLE")
    assert found(ALL, signed) == Credential(KINDS.S3, "AKIDEXAMPLE")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"X-Api-Key", b"")],
        [(b"X-Api-Key", b"two words")],
        [(b"X-Api-Key", b"a,b")],
        [(b"X-Api-Key", b"caf\xc3\xa9")],
        [(b"X-Api-Key", b"k" * 257)],
        [(b"X-Api-Key", b"k" * 8000)],
        [(b"Authorization", b"Bearer")],
        [(b"Authorization", b"Bearer ")],
        [(b"Authorization", b"Bearer a b")],
        [(b"Authorization", KEY)],
        [(b"Authorization", b"Basic " + KEY)],
        [(b"X-Auth-Key", KEY)],
        [(b"X-Auth-Email", b"a@b.example")],
        [(b"Cookie", b"key=" + KEY)],
    ],
)
def test_what_cannot_be_a_key_is_no_credential(headers: list[tuple[bytes, bytes]]) -> None:
    """failure row 64: none of these is hashed or looked up."""
    refusal = found((KINDS.X_API_KEY, KINDS.BEARER, KINDS.CLOUDFLARE), *headers)
    assert error(refusal) in (NO_API_KEY, MALFORMED_API_KEY)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"X-Api-Key", b"two words"),
        (b"Authorization", b"Bearer a b"),
        (b"Authorization", b"Basic " + KEY),
        (b"X-Auth-Key", b"\xe9"),
    ],
)
def test_what_is_tried_as_a_key_and_cannot_be_one_is_told_apart(
    header: bytes, value: bytes
) -> None:
    auth = (KINDS.X_API_KEY, KINDS.BEARER, KINDS.CLOUDFLARE)
    refusal = found(auth, (b"X-Auth-Email", b"a@b.example"), (header, value))
    assert error(refusal) is MALFORMED_API_KEY
    assert isinstance(refusal, Refusal)
    assert header.lower() in refusal.detail.lower().encode()
    assert error(found(auth)) is NO_API_KEY


def test_what_is_no_key_beside_a_key_is_the_upstreams_business() -> None:
    basic = (b"Authorization", b"Basic " + KEY)
    beside = found((KINDS.X_API_KEY, KINDS.BEARER), (b"X-Api-Key", KEY), basic)
    assert beside == Credential(KINDS.X_API_KEY, KEY.decode())


def test_a_route_says_what_it_accepts() -> None:
    """RFC 9110 section 11.6.1: a 401 has a challenge."""
    refusal = found(ALL)
    assert isinstance(refusal, Refusal)
    challenge = refusal.headers["WWW-Authenticate"]
    for scheme in ("ApiKey", "Bearer", "AWS4-HMAC-SHA256", 'header="X-API-Key"', "X-Auth-Key"):
        assert scheme in challenge
    assert found((), (b"X-Api-Key", KEY)) == Refusal(
        NO_API_KEY, "no API key was given that is accepted here"
    )


def test_only_the_kinds_of_the_route_are_read() -> None:
    """failure row 66"""
    assert error(found((KINDS.BEARER,), (b"X-Api-Key", KEY))) is NO_API_KEY
    one = found((KINDS.X_API_KEY,), (b"X-Api-Key", KEY), (b"Authorization", b"Bearer upstreams"))
    assert one == Credential(KINDS.X_API_KEY, KEY.decode())


def test_two_different_credentials_are_refused() -> None:
    """failure row 66: the same key twice is no contradiction."""
    same = found(ALL, (b"X-Api-Key", KEY), (b"Authorization", b"Bearer " + KEY))
    assert same == Credential(KINDS.X_API_KEY, KEY.decode())
    two = found(ALL, (b"X-Api-Key", KEY), (b"Authorization", b"Bearer other"))
    assert error(two) is BAD_HEADER
    signed = found(ALL, (b"X-Api-Key", KEY), (b"Authorization", SIGNED.encode()))
    assert error(signed) is BAD_HEADER


def test_a_refused_signature_ends_the_search() -> None:
    assert error(found(ALL, (b"Authorization", b"AWS AKID:x"))) is UNAUTHENTICATED


def test_a_credential_does_not_show_its_secret() -> None:
    """failure row 68"""
    assert KEY.decode() not in repr(Credential(KINDS.BEARER, KEY.decode()))


@pytest.mark.parametrize(
    ("auth", "names"),
    [
        ((KINDS.X_API_KEY, KINDS.BEARER), {b"x-api-key", b"authorization"}),
        ((KINDS.X_API_KEY,), {b"x-api-key"}),
        ((KINDS.CLOUDFLARE,), {b"x-auth-email", b"x-auth-key"}),
        ((KINDS.S3,), set()),
        ((KINDS.S3, KINDS.BEARER), {b"authorization"}),
        ((), set()),
    ],
)
def test_what_is_the_gateways_business_stays_here(
    auth: tuple[CredentialKind, ...], names: set[bytes]
) -> None:
    bearer = head("GET", "/files/a", (b"Authorization", b"Bearer " + KEY))
    assert credential_headers(route(auth=auth)) == names
    assert not is_signed_for(route(auth=auth), bearer)
    assert credential_headers(route(auth=auth, strip_credentials=False)) == set()


def test_a_signature_is_for_the_upstream() -> None:
    signed = head("GET", "/files/a", (b"Authorization", SIGNED.encode()))

    def kept_here(*auth: CredentialKind) -> frozenset[bytes]:
        taking = route(auth=auth)
        return credential_headers(taking, signed=is_signed_for(taking, signed))

    assert kept_here(KINDS.S3, KINDS.BEARER) == set()
    assert kept_here(*ALL) == {b"x-api-key", b"x-auth-email", b"x-auth-key"}
    assert kept_here(KINDS.BEARER) == {b"authorization"}
