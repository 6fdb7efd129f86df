"""Whose request it is: the one credential a route accepts, read from the head.

A request carries at most one credential that the route understands. Two that name different keys
are refused, because the gateway and the upstream might each believe another one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.admission.head import Head
from gateway.admission.sigv4 import access_key_id, is_signed
from gateway.catalog.routes import CredentialKind, Route
from gateway.errors import (
    BAD_HEADER,
    MALFORMED_API_KEY,
    NO_API_KEY,
    UNAUTHENTICATED,
    Error,
    Refusal,
)

REALM = "quota-gateway"

_KEY = re.compile(rb"[A-Za-z0-9._~+/=-]{1,256}")
"""What a secret may look like: the characters of RFC 6750 section 2.1, and a sane length. Longer
or other ones cannot be a key, so they are never hashed or looked up."""

_BEARER = re.compile(rb"bearer +(.*)", re.IGNORECASE | re.DOTALL)

_HEADERS: dict[CredentialKind, frozenset[bytes]] = {
    CredentialKind.X_API_KEY: frozenset({b"x-api-key"}),
    CredentialKind.BEARER: frozenset({b"authorization"}),
    CredentialKind.CLOUDFLARE: frozenset({b"x-auth-email", b"x-auth-key"}),
    CredentialKind.S3: frozenset(),
}

_NAMES: dict[CredentialKind, str] = {
    CredentialKind.X_API_KEY: "X-API-Key",
    CredentialKind.BEARER: "Authorization",
    CredentialKind.CLOUDFLARE: "X-Auth-Key",
}

_CHALLENGES: dict[CredentialKind, str] = {
    CredentialKind.X_API_KEY: f'ApiKey realm="{REALM}", header="X-API-Key"',
    CredentialKind.BEARER: f'Bearer realm="{REALM}"',
    CredentialKind.CLOUDFLARE: f'ApiKey realm="{REALM}", header="X-Auth-Key"',
    CredentialKind.S3: f'AWS4-HMAC-SHA256 realm="{REALM}"',
}


@dataclass(frozen=True, slots=True)
class Credential:
    """`secret` is the API key as sent (for S3 the access key id), never to be logged."""

    kind: CredentialKind
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.kind.value})"


def credential(head: Head, auth: Sequence[CredentialKind]) -> Credential | Refusal:
    """The credential of this request, where one of these kinds is asked for.

    NO_API_KEY when there is none, MALFORMED_API_KEY when there is only what cannot be one (both
    with WWW-Authenticate, RFC 9110 section 11.6.1); BAD_HEADER when there are two different ones.
    """
    found: Credential | None = None
    malformed: CredentialKind | None = None
    for kind in auth:
        secret = _READERS[kind](head)
        if isinstance(secret, Refusal):
            return secret
        if secret is None:
            if malformed is None and _is_tried(kind, head):
                malformed = kind
            continue
        if found is not None and found.secret != secret:
            return Refusal(BAD_HEADER, "the request carries two different credentials")
        found = found or Credential(kind, secret)
    if found is None and malformed is not None:
        detail = f"what {_NAMES[malformed]} holds is no API key"
        return unauthenticated(auth, detail, MALFORMED_API_KEY)
    return found or unauthenticated(auth, "no API key was given that is accepted here", NO_API_KEY)


def unauthenticated(
    auth: Sequence[CredentialKind], detail: str, error: Error = UNAUTHENTICATED
) -> Refusal:
    """A 401 that says which credentials are accepted."""
    challenges = ", ".join(_CHALLENGES[kind] for kind in auth)
    headers = {"WWW-Authenticate": challenges} if challenges else {}
    return Refusal(error, detail, headers)


def _is_tried(kind: CredentialKind, head: Head) -> bool:
    """Something stands where this kind of credential would be, and only there."""
    match kind:
        case CredentialKind.X_API_KEY:
            return bool(head.get(b"x-api-key"))
        case CredentialKind.BEARER:
            return head.get(b"authorization") is not None
        case CredentialKind.CLOUDFLARE:
            return bool(head.get(b"x-auth-email")) and head.get(b"x-auth-key") is not None
        case _:
            return False


def is_signed_for(route: Route, head: Head) -> bool:
    """Whether the head carries a signature that the route takes."""
    return CredentialKind.S3 in route.auth and is_signed(head)


def credential_headers(route: Route, *, signed: bool = False) -> frozenset[bytes]:
    """Lower-case names of the headers that are the gateway's business and not the upstream's.

    All that the route could have read a key from, whichever was used. A SigV4 signature is the
    upstream's to check: a head that `is_signed_for` the route keeps it, and the access key id in it
    is no secret.
    """
    if not route.strip_credentials:
        return frozenset()
    names = frozenset[bytes]().union(*(_HEADERS[kind] for kind in route.auth))
    return names - {b"authorization"} if signed else names


def _plausible(value: bytes | None) -> str | None:
    if value is None or _KEY.fullmatch(value) is None:
        return None
    return value.decode("ascii")


def _x_api_key(head: Head) -> str | None:
    return _plausible(head.get(b"x-api-key"))


def _bearer(head: Head) -> str | None:
    """RFC 6750 section 2.1; the scheme's name is case-insensitive (RFC 9110 section 11.1)."""
    found = _BEARER.fullmatch(head.get(b"authorization") or b"")
    return None if found is None else _plausible(found[1])


def _cloudflare(head: Head) -> str | None:
    """Both headers must be there, as at the vendor; only the key says who it is."""
    return _plausible(head.get(b"x-auth-key")) if head.get(b"x-auth-email") else None


_READERS = {
    CredentialKind.X_API_KEY: _x_api_key,
    CredentialKind.BEARER: _bearer,
    CredentialKind.CLOUDFLARE: _cloudflare,
    CredentialKind.S3: access_key_id,
}
