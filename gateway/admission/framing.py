"""Where the body ends: one length or one chunked coding, and nothing that can be read otherwise.

Stricter than RFC 9112 section 6.3, which lets a recipient repair some of this: a repaired request
may be repaired differently behind the gateway, and that is request smuggling.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission.fields import SINGLETONS
from gateway.catalog.meters import AMOUNT_END
from gateway.errors import BAD_FRAMING, BAD_HEADER, EXPECTATION_FAILED, Refusal

BODILESS = frozenset({"GET", "HEAD"})
"""Content in these has no meaning (RFC 9110 section 9.3.1); a server that does not read it takes
it for the next request."""

_NEVER_UPGRADED_TO = (b"h2c", b"http/", b"tls/")
"""Protocols in which further requests would pass the gateway unjudged."""

_MAY_NOT_BE_NOMINATED = SINGLETONS - {b"upgrade", b"expect"}
"""Fields that a client must not have removed on the way by naming them in Connection."""


@dataclass(frozen=True, slots=True)
class Frame:
    length: int | None
    chunked: bool
    expects_continue: bool
    upgrade: bytes | None
    connection: frozenset[bytes]


def judge(method: str, version: tuple[int, int], index: Mapping[bytes, bytes]) -> Frame | Refusal:
    """`index`: headers by lower-case name, without repeated singletons."""
    length = _length(index.get(b"content-length"))
    if isinstance(length, Refusal):
        return length
    coding = index.get(b"transfer-encoding")
    refusal = _judge_coding(coding, length, version)
    if refusal is not None:
        return refusal
    has_body = coding is not None or bool(length)
    if has_body and method in BODILESS:
        return Refusal(BAD_FRAMING, f"a {method} request has no body")
    expectation = index.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        return Refusal(EXPECTATION_FAILED, "only 100-continue is understood in Expect")
    connection = _options(index.get(b"connection"))
    if not connection.isdisjoint(_MAY_NOT_BE_NOMINATED):
        return Refusal(BAD_HEADER, "Connection names a header that is not hop-by-hop")
    upgrade = _upgrade(index.get(b"upgrade"), connection, version)
    if upgrade is not None and has_body:
        return Refusal(BAD_FRAMING, "a request to upgrade the protocol has no body")
    expects_continue = expectation is not None and has_body and version == (1, 1)
    return Frame(length, coding is not None, expects_continue, upgrade, connection)


def amount(value: bytes) -> int | None:
    """A number as a header may give it: digits only, no leading zero, below 2^53; else None."""
    if not value.isdigit() or len(value) > 16 or (value[:1] == b"0" and len(value) > 1):
        return None
    number = int(value)
    return number if number < AMOUNT_END else None


def _length(value: bytes | None) -> int | Refusal | None:
    """A Content-Length: RFC 9110 section 8.6, without its leave to repeat the same number."""
    if value is None:
        return None
    length = amount(value)
    if length is None:
        return Refusal(BAD_FRAMING, "Content-Length is not one plain number below 2^53")
    return length


def _judge_coding(
    coding: bytes | None, length: int | None, version: tuple[int, int]
) -> Refusal | None:
    """RFC 9112 section 6.1. Other codings than chunked, in any spelling, are not taken."""
    if coding is None:
        return None
    if version != (1, 1):
        return Refusal(BAD_FRAMING, "HTTP/1.0 has no Transfer-Encoding")
    if length is not None:
        return Refusal(BAD_FRAMING, "Content-Length and Transfer-Encoding exclude each other")
    if coding != b"chunked":
        return Refusal(BAD_FRAMING, "Transfer-Encoding must be exactly `chunked`")
    return None


_NO_OPTIONS: frozenset[bytes] = frozenset()
"""One for all: an empty set of its own is larger than most heads."""


def _options(connection: bytes | None) -> frozenset[bytes]:
    """The options of a Connection header (RFC 9110 section 7.6.1)."""
    if connection is None:
        return _NO_OPTIONS
    return frozenset(option.strip() for option in connection.lower().split(b",")) - {b""}


def _upgrade(
    protocols: bytes | None, connection: frozenset[bytes], version: tuple[int, int]
) -> bytes | None:
    """What the client wants to change to (RFC 9110 section 7.8), None if that is to be ignored.

    Ignored are an Upgrade that Connection does not name, any on HTTP/1.0, and one that offers a
    further version of HTTP, which a server may always leave unanswered.
    """
    if protocols is None or b"upgrade" not in connection or version != (1, 1):
        return None
    names = [name.strip().lower() for name in protocols.split(b",")]
    if any(name.startswith(_NEVER_UPGRADED_TO) for name in names):
        return None
    return protocols
