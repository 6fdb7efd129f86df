"""What goes over the wire, as pure functions on bytes: heads, chunks and the gateway's own answers.

The rule (RFC 9110, section 7.6): what concerns one connection ends here, what we know better we
say ourselves, and every other field passes as the bytes it came in, in its order, so that
signatures over a request stay valid. Nothing a client sends can look like something we said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus

from gateway.proxy.answer import AnswerHead

Fields = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive te trailer transfer-encoding upgrade http2-settings"
    b" proxy-connection proxy-authorization proxy-authenticate proxy-authentication-info".split()
)
"""Fields between two neighbours, whatever Connection says."""

SAID_BY_US = frozenset(
    b"content-length expect host x-request-id forwarded"
    b" x-real-ip x-client-ip x-cluster-client-ip true-client-ip"
    b" x-original-url x-original-method x-rewrite-url"
    b" x-http-method-override x-http-method x-method-override".split()
)
"""Fields of a request that we set, or that claim what only we can know: who sent it, and which
path and method a route was found for."""

SAID_BY_US_PREFIXES = (b"x-forwarded-", b"x-account", b"x-quota-", b"proxy-")

NEVER_NOMINATED = frozenset({b"close", b"host", b"date", b"content-type"})
"""Options of Connection that name no field, and fields that are for every recipient."""

NOT_IN_TRAILERS = HOP_BY_HOP | frozenset(
    b"content-length content-encoding content-type content-range host date age vary location"
    b" authorization set-cookie cookie cache-control expires pragma retry-after"
    b" www-authenticate".split()
)
"""Fields that a recipient acts on before the body (RFC 9110, section 6.5.1)."""

VIA = {
    (1, 1): b"Via: 1.1 quota-gateway\r\n",
    (1, 0): b"Via: 1.0 quota-gateway\r\n",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


# -- requests -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForwardRules:
    """How requests of one route go on. `authority` is the upstream's own name, said as Host unless
    the client's is kept."""

    authority: bytes
    keep_host: bool = False
    strip: frozenset[bytes] = frozenset()
    """Lower-case names of fields that stay here."""


@dataclass(frozen=True, slots=True, eq=False)
class Sender:
    """The other end of a client connection: its address as text (b"unknown" on a unix socket), the
    scheme and port it reached us by, and whether it is a proxy whose word on these is taken."""

    address: bytes
    scheme: bytes = b"http"
    port: int | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What we say about one request: its id and its framing. Neither length nor chunked: it has no
    body. `upgrade`: the protocols asked for, where the route lets them through."""

    request_id: bytes
    length: int | None = None
    chunked: bool = False
    upgrade: bytes | None = None


def request_head(
    method: bytes,
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    rules: ForwardRules,
    sender: Sender,
    message: Message,
) -> bytes:
    """The head of the request that goes upstream, made from the client's."""
    taken: dict[bytes, list[bytes]] = {}
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    if not rules.keep_host:
        lines.append(b"Host: %b\r\n" % rules.authority)
    for name, value in headers:
        if not _ends_here(name, rules.strip):
            lines.append(b"%b: %b\r\n" % (name, value))
            continue
        lower = name.lower()
        taken.setdefault(lower, []).append(value)
        if lower == b"host" and rules.keep_host:
            lines.append(b"%b: %b\r\n" % (name, value))
    if b"connection" in taken:
        lines = _without_nominated(lines, taken[b"connection"])
    if rules.keep_host and b"host" not in taken:
        lines.append(b"Host: %b\r\n" % rules.authority)  # a client of HTTP/1.0
    lines.append(_forwarded(taken, sender))
    lines.append(b"Via: 1.1 quota-gateway\r\nX-Request-Id: %b\r\n" % message.request_id)
    lines.append(_request_framing(taken, message))
    return b"".join(lines)


@lru_cache(maxsize=512)
def _ends_here(name: bytes, strip: frozenset[bytes]) -> bool:
    read = name.lower().replace(b"_", b"-")  # CGI and WSGI cannot tell the two apart
    held = read in HOP_BY_HOP or read in SAID_BY_US or read in strip
    return held or read.startswith(SAID_BY_US_PREFIXES)


def _without_nominated(lines: list[bytes], values: list[bytes]) -> list[bytes]:
    """Leave out the fields that Connection names; but not those every recipient needs."""
    nominated = _tokens(values) - HOP_BY_HOP - NEVER_NOMINATED
    if not nominated:
        return lines
    kept = [line for line in lines[1:] if line.partition(b":")[0].lower() not in nominated]
    return [lines[0], *kept]


def _forwarded(taken: Mapping[bytes, list[bytes]], sender: Sender) -> bytes:
    """X-Forwarded-* and Forwarded (RFC 7239): what we saw; what a trusted proxy saw before us
    comes first."""
    host = b", ".join(taken.get(b"host", ()))
    if not sender.trusted:
        return _seen_by_us(sender.address, sender.scheme, sender.port, host)
    lines = [_listed(b"X-Forwarded-For", taken.get(b"x-forwarded-for", ()), sender.address)]
    for name, ours in (
        (b"X-Forwarded-Proto", sender.scheme),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", b"" if sender.port is None else b"%d" % sender.port),
    ):
        if said := b", ".join(taken.get(name.lower(), ())) or ours:
            lines.append(b"%b: %b\r\n" % (name, said))
    element = _element(sender.address, sender.scheme, host)
    lines.append(_listed(b"Forwarded", taken.get(b"forwarded", ()), element))
    return b"".join(lines)


@lru_cache(maxsize=256)
def _seen_by_us(address: bytes, scheme: bytes, port: int | None, host: bytes) -> bytes:
    lines = [b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address, scheme)]
    if host:
        lines.append(b"X-Forwarded-Host: %b\r\n" % host)
    if port is not None:
        lines.append(b"X-Forwarded-Port: %d\r\n" % port)
    lines.append(b"Forwarded: %b\r\n" % _element(address, scheme, host))
    return b"".join(lines)


def _element(address: bytes, scheme: bytes, host: bytes) -> bytes:
    node = b'"[%b]"' % address if b":" in address else address
    element = b"for=%b;proto=%b" % (node, scheme)
    if not host:
        return element
    return element + b';host="%b"' % host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _listed(name: bytes, before: Sequence[bytes], ours: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, b", ".join([*before, ours]))


def _request_framing(taken: Mapping[bytes, list[bytes]], message: Message) -> bytes:
    """The fields on connection and length, and the end of the head."""
    options = []
    lines = b""
    if b"te" in taken and b"trailers" in _tokens(taken[b"te"]):
        options.append(b"TE")
        lines += b"TE: trailers\r\n"
    if message.upgrade is not None:
        options.append(b"Upgrade")
        lines += b"Upgrade: %b\r\n" % message.upgrade
    if options:
        lines += b"Connection: %b\r\n" % b", ".join(options)
    if message.chunked:
        return lines + b"Transfer-Encoding: chunked\r\n\r\n"
    if message.length is not None:
        return lines + b"Content-Length: %d\r\n\r\n" % message.length
    return lines + b"\r\n"


# -- answers --------------------------------------------------------------------------------------


class Delivery(Enum):
    """How the client sees where an answer's body ends."""

    NO_BODY = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()
    """By the end of the connection, which is all a client of HTTP/1.0 can be told."""
    UPGRADE = auto()
    """It does not: another protocol follows."""


def delivery(answer: AnswerHead, client_version: tuple[int, int]) -> Delivery:
    if answer.upgrade:
        return Delivery.UPGRADE
    if answer.bodyless:
        return Delivery.NO_BODY
    if answer.length is not None:
        return Delivery.LENGTH
    return Delivery.CHUNKED if client_version >= (1, 1) else Delivery.CLOSE


def is_chunked_to_client(answer: AnswerHead, client_version: tuple[int, int]) -> bool:
    return delivery(answer, client_version) is Delivery.CHUNKED


def keeps_client(answer: AnswerHead, client_version: tuple[int, int], *, asked: bool) -> bool:
    """Whether the client's connection can stay after this answer, given that it asked for that."""
    return asked and delivery(answer, client_version) not in (Delivery.CLOSE, Delivery.UPGRADE)


def answer_head(
    answer: AnswerHead,
    *,
    extra: Fields,
    keep_alive: bool,
    client_version: tuple[int, int],
) -> bytes:
    """The head of the answer the client gets, made from the upstream's; `extra` are our own
    fields, which replace the upstream's of the same name."""
    way = delivery(answer, client_version)
    ours = [name.lower() for name, _ in extra]
    options: list[bytes] = []
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    for name, value in answer.headers:
        lower = name.lower()
        if lower in HOP_BY_HOP:
            if lower == b"connection":
                options.append(value)
            if lower != b"trailer" or way is not Delivery.CHUNKED:
                continue
        elif lower == b"content-length" or lower in ours:
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if options and options not in ([b"keep-alive"], [b"close"]):
        lines = _without_nominated(lines, options)
    lines.append(VIA[answer.version])
    lines += [b"%b: %b\r\n" % field for field in extra]
    lines.append(_answer_framing(answer, way, keep_alive, client_version))
    return b"".join(lines)


def _answer_framing(
    answer: AnswerHead, way: Delivery, keep_alive: bool, client_version: tuple[int, int]
) -> bytes:
    if way is Delivery.UPGRADE:
        protocols = b", ".join(v for name, v in answer.headers if name.lower() == b"upgrade")
        return b"Upgrade: %b\r\nConnection: Upgrade\r\n\r\n" % protocols
    lines = _connection(keep_alive and way is not Delivery.CLOSE, client_version)
    if way is Delivery.CHUNKED:
        return lines + b"Transfer-Encoding: chunked\r\n\r\n"
    if answer.length is not None and way is not Delivery.CLOSE and answer.status != 204:
        return lines + b"Content-Length: %d\r\n\r\n" % answer.length
    return lines + b"\r\n"


def informational(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An interim answer (103 Early Hints) on its way to a client of HTTP/1.1."""
    kept = [b"%b: %b\r\n" % (n, v) for n, v in headers if n.lower() not in HOP_BY_HOP]
    return b"".join([_status_line(status), *kept, b"\r\n"])


def own_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    keep_alive: bool,
    head_only: bool = False,
    client_version: tuple[int, int] = (1, 1),
) -> bytes:
    """An answer that the gateway gives itself. `head_only`: it answers a HEAD."""
    lines = [_status_line(status)]
    for name, value in headers.items():
        field = b"%b: %b\r\n" % (name.encode("ascii"), value.encode("latin-1", "replace"))
        assert field.count(b"\r") == field.count(b"\n") == 1, "a line break in a field of ours"
        lines.append(field)
    lines.append(_connection(keep_alive, client_version))
    if status not in (204, 304):
        lines.append(b"Content-Length: %d\r\n" % len(body))
    lines.append(b"\r\n")
    if not head_only and status not in (204, 304):
        lines.append(body)
    return b"".join(lines)


def fields_of(answer_head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Those of a head that was made here."""
    fields = (line.partition(b": ") for line in answer_head.split(b"\r\n")[1:-2])
    return tuple((name, value) for name, _, value in fields)


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; nothing for no data, since an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body, with the trailer fields that may stand there."""
    lines = [b"%b: %b\r\n" % (n, v) for n, v in trailers if n.lower() not in NOT_IN_TRAILERS]
    return b"".join([b"0\r\n", *lines, b"\r\n"])


def _connection(keep_alive: bool, client_version: tuple[int, int]) -> bytes:
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"" if client_version >= (1, 1) else b"Connection: keep-alive\r\n"


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def _tokens(values: Iterable[bytes]) -> set[bytes]:
    return {token.strip().lower() for value in values for token in value.split(b",")} - {b""}
