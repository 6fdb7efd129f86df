"""The head of a request, judged: what has one reading only, and is within the limits.

The parser in front of this accepts more than the gateway does (HTTP/0.9, absolute targets, two
Authorization headers, lengths of 2^63), and what stands behind it may read such things otherwise.
Whatever two parties could understand differently is refused here and never reaches the upstream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.admission import fields, framing, paths
from gateway.errors import (
    BAD_PATH,
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    URI_TOO_LONG,
    VERSION_REFUSED,
    Refusal,
)

RawHeaders = Sequence[tuple[bytes, bytes]]

_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_REFUSED_METHODS = frozenset({"TRACE", "CONNECT"})
"""TRACE echoes credentials (RFC 9110 section 9.3.8), CONNECT is a tunnel past every policy."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """`line_max`: name and value of one header; `header_bytes_max`: all of them together.

    A header name with an underscore is refused unless it begins with one of `underscores_below`
    (lower case): some servers read `X_Account` and `X-Account` as the same.
    """

    headers_max: int = 128
    header_bytes_max: int = 32_768
    line_max: int = 8_190
    target_max: int = 8_190
    underscores_below: tuple[bytes, ...] = ()


LIMITS = HeadLimits()


@dataclass(frozen=True, slots=True)
class Head:
    """A judged head. `target` is in origin-form (or `*`), `path` and `query` its raw halves.

    `headers` are as received; `index` has them by lower-case name, repeated ones joined by `, `
    (RFC 9110 section 5.3). `host` is empty only on HTTP/1.0. `connection` are the options of the
    Connection header in lower case: fields of these names, and the hop-by-hop ones (`Upgrade`
    included, unless `upgrade` is set), are not for the upstream. `plain`: the path keeps the rules
    that every route but an opaque one demands.
    """

    method: str
    target: str
    path: str
    query: str
    version: tuple[int, int]
    headers: tuple[tuple[bytes, bytes], ...]
    host: bytes
    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    upgrade: bytes | None = None
    connection: frozenset[bytes] = frozenset()
    plain: bool = True
    index: Mapping[bytes, bytes] = field(default_factory=dict, repr=False, compare=False)

    def get(self, name: bytes) -> bytes | None:
        """The value of the header with this lower-case name, None if it is absent."""
        return self.index.get(name)

    @property
    def has_body(self) -> bool:
        return self.chunked or (self.length or 0) > 0


def judge(
    method: str,
    target: str,
    version: tuple[int, int],
    raw_headers: RawHeaders,
    limits: HeadLimits = LIMITS,
) -> Head | Refusal:
    """The head with everything decided that later steps rely on, or why it is refused."""
    refusal = _judge_line(method, target, version, limits)
    if refusal is not None:
        return refusal
    index = fields.judge(raw_headers, version, limits)
    if isinstance(index, Refusal):
        return index
    frame = framing.judge(method, version, index)
    if isinstance(frame, Refusal):
        return frame
    path, _, query = target.partition("?")
    reading = paths.read(path)
    if isinstance(reading, Refusal):
        return reading
    return Head(
        method=method,
        target=target,
        path=path,
        query=query,
        version=version,
        headers=tuple(raw_headers),
        host=index.get(b"host", b""),
        length=frame.length,
        chunked=frame.chunked,
        expects_continue=frame.expects_continue,
        upgrade=frame.upgrade,
        connection=frame.connection,
        plain=reading is paths.Reading.PLAIN,
        index=index,
    )


def _judge_line(
    method: str, target: str, version: tuple[int, int], limits: HeadLimits
) -> Refusal | None:
    """The request line: RFC 9112 sections 2.3 (version), 3.1 (method) and 3.2 (target)."""
    if version not in ((1, 1), (1, 0)):
        return Refusal(VERSION_REFUSED, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if not fields.is_token(method):
        return Refusal(BAD_REQUEST, "the method is not a token")
    if method in _REFUSED_METHODS:
        return Refusal(METHOD_NOT_ALLOWED, f"{method} is not served", {"Allow": _METHODS})
    if len(target) > limits.target_max:
        return Refusal(URI_TOO_LONG, f"the target is longer than {limits.target_max} characters")
    if target == "*" and method == "OPTIONS":
        return None
    if not target.startswith("/"):
        return Refusal(BAD_PATH, "the target must be a path that begins with a slash")
    if not paths.is_printable(target):
        return Refusal(BAD_PATH, "the target has characters that must be percent-encoded")
    return None
