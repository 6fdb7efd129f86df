"""Shapes: request lines and header blocks that were judged before, known again by their bytes.

What is judged is a function of the bytes, so the same bytes need no second judgement. A header
block is remembered without the digits of its Content-Length, which are judged each time. Only plain
small requests have a shape; what is odd in any way has none, and is for aiohttp's parser and the
ordinary path to read. Nothing here decides anew: `judge`, the router and `wire` do.
"""

from collections.abc import Hashable
from dataclasses import MISSING, fields
from typing import Any, Generic, Literal, TypeVar

from gateway.admission.estimate import ahead_of_answers
from gateway.admission.framing import BODILESS
from gateway.admission.head import Head, HeadLimits, judge
from gateway.admission.idempotency import HEADER
from gateway.admission.identify import credential, credential_headers
from gateway.admission.measure import BodyCount
from gateway.admission.routing import Match
from gateway.admission.settle import commits
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.routes import AccountSource, CredentialKind, HostPolicy, Policy, Route, Source
from gateway.dialects.native import Native
from gateway.errors import Refusal
from gateway.proxy import wire
from gateway.proxy.live import Live
from gateway.proxy.wire import Sender
from gateway.records.identities import name_of
from gateway.telemetry.metrics import Metrics

SIZE_DIGITS_MAX = 15
"""Of a body's length. Amounts of more digits are not for a RateLimit field, either."""
BLOCK_BYTES_MAX = 4_096
LINE_BYTES_MAX = 2_048
REMEMBERED_MAX = 4_096

_MARK = b"\0request-id\0"
_LENGTH = 123_456_789_012_345
_NOT_PLAIN = frozenset(
    {b"te", b"upgrade", b"expect", b"transfer-encoding", b"proxy-connection", HEADER}
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The last answers, each a value, or False for none."""

    __slots__ = ("_known", "_most", "get")

    def __init__(self, most: int = REMEMBERED_MAX) -> None:
        self._most = most
        self._known: dict[K, V | Literal[False]] = {}
        self.get = self._known.get

    def keep(self, key: K, found: V | None) -> V | Literal[False]:
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        value = self._known[key] = found or False
        return value


class Kind:
    """What all requests of one route have in common."""

    __slots__ = ("ahead", "asks_key", "commits", "delivers", "dialect", "live", "native", "pool",
                 "reserves", "route", "rules", "series", "sizes", "stores")  # fmt: skip

    def __init__(self, route: Route, live: Live, metrics: Metrics) -> None:
        self.live = live
        self.route = route
        self.asks_key = route.account is AccountSource.KEY
        self.reserves = bool(route.reserve)
        self.series = metrics.plain(route.name)
        self.pool = live.pools[route.upstream]
        self.dialect = live.dialects.of(route)
        self.native = isinstance(self.dialect, Native)
        self.rules = wire.ForwardRules(
            self.pool.address.authority,
            keep_host=route.host is HostPolicy.KEEP,
            strip=credential_headers(route),
        )
        self.stores = route.policy is Policy.UPLOAD and route.asset is not None
        self.delivers = route.policy is Policy.DOWNLOAD
        self.ahead = ahead_of_answers(route)
        self.commits = frozenset(status for status in range(1_000) if commits(route, status))
        """The statuses of answers that are charged."""
        self.sizes = {
            meter: source if isinstance(source, int) else None
            for meter, source in route.reserve.items()
        }


class Way:
    """A request line and where it leads."""

    __slots__ = ("bodiless", "forwarded", "kind", "logged", "match", "method", "stored", "target",
                 "verb")  # fmt: skip

    def __init__(self, kind: Kind, method: str, target: str, match: Match) -> None:
        self.kind = kind
        self.method = method
        self.verb = method.encode()
        self.bodiless = method in BODILESS
        self.target = target
        self.match = match
        self.stored = match.asset if kind.stores else None
        self.logged = b""
        """The part of a line in the access log; for who writes it."""
        self.forwarded = b"%b %b HTTP/1.1\r\n" % (self.verb, match.upstream_target.encode())


class Shape:
    """A header block, judged for a kind of request and who sends it. `before` and `after` are what
    the upstream gets around the request's id; `after` has a place for the length, if there is one.
    `key` is the name the credential is looked up by; none is on an open route."""

    __slots__ = ("after", "before", "caller", "inbound_id", "key", "peer", "sized")

    def __init__(self, kind: Kind, head: Head, key: str, sender: Sender) -> None:
        self.caller: Any = None
        """Who has asked by it last; for who finds that out."""
        self.peer = ""
        """The client's address; for who knows whom to believe."""
        self.key = key
        self.inbound_id = head.get(b"x-request-id")
        self.sized = head.length is not None
        forwarded = wire.request_head(
            b"POST",
            b"/",
            head.headers,
            rules=kind.rules,
            sender=sender,
            message=wire.Message(_MARK, length=_LENGTH if self.sized else None),
        )
        _, _, lines = forwarded.partition(b"\r\n")
        self.before, _, after = lines.partition(_MARK)
        self.after = after.replace(b"%", b"%%").replace(b"%d" % _LENGTH, b"%d")


HEEDED = frozenset({
    *("name", "methods", "path", "upstream", "policy", "dialect", "auth", "account", "reserve"),
    *("asset", "subject", "length_required", "host", "strip_credentials", "opaque", "upgrade"),
    *("strip_prefix", "commit_on", "timeout_s", "body_idle_s", "body_rate_min"),
    *("probe", "probe_headers", "on_expiry", "doubt_lease_s", "lease_s", "grow_step"),
})  # fmt: skip
"""What a plain route may say; one that says more, whatever that is, takes the ordinary path."""


_USUAL = {
    field.name: field.default if field.default_factory is MISSING else field.default_factory()
    for field in fields(Route)
    if field.name not in HEEDED
}


def is_plain_route(route: Route, live: Live) -> bool:
    """Whether small requests of this route are forwarded, those that reserve are reserved before
    and charged after, and nothing else."""
    return (
        all(getattr(route, name) == usual for name, usual in _USUAL.items())
        and route.account in (AccountSource.KEY, AccountSource.NONE)
        and CredentialKind.S3 not in route.auth
        and (route.subject is None or route.subject.template is not None)
        and (_is_charged_plainly(route, live) if route.reserve else _only_passes(route, live))
    )


def _is_charged_plainly(route: Route, live: Live) -> bool:
    return (
        live.catalog.events is None
        and isinstance(live.dialects.of(route), Native)
        and (_delivers(route, live) if route.policy is Policy.DOWNLOAD else _stores(route, live))
    )


def _stores(route: Route, live: Live) -> bool:
    return (
        route.policy in (Policy.UPLOAD, Policy.PASS)
        and not live.owners_matter
        and any(is_charged(live.catalog.meters[meter]) for meter in route.reserve)
        and all(
            isinstance(source, int) or source in (Source.BODY, Source.FILES)
            for source in route.reserve.values()
        )
    )


def _delivers(route: Route, live: Live) -> bool:
    """What a reserve and a commit say of the limits is the same then."""
    return all(is_charged(live.catalog.meters[meter]) for meter in route.reserve) and all(
        isinstance(source, int) or source is Source.RESPONSE for source in route.reserve.values()
    )


def _only_passes(route: Route, live: Live) -> bool:
    """Nothing of limits is said in its answers, either."""
    return route.policy is Policy.PASS and not live.dialects.of(route).standing((), None, 0)


def is_charged(meter: Meter) -> bool:
    return meter.kind is not MeterKind.CONCURRENCY


_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"})


class Kinds:
    """The kinds of requests that a configuration has; the routes that have none are not plain."""

    def __init__(self, live: Live, metrics: Metrics) -> None:
        self.live = live
        self._of = {
            route.name: Kind(route, live, metrics)
            for route in live.catalog.routes
            if is_plain_route(route, live)
        }
        listed = {method for kind in self._of.values() for method in kind.route.methods}
        self.methods = _METHODS & (listed | {"HEAD"} if "GET" in listed else listed)
        """Of others none is plain."""

    def of(self, route: Route) -> Kind | None:
        return self._of.get(route.name)


def way_of(line: bytes, kinds: Kinds, limits: HeadLimits) -> Way | None:
    """Read a request line."""
    live = kinds.live
    if len(line) > LINE_BYTES_MAX or line.count(b" ") != 2 or not line.isascii():
        return None
    method, target, version = line.decode().split(" ")
    if version != "HTTP/1.1" or method not in kinds.methods:
        return None
    head = judge(method, target, (1, 1), ((b"Host", b"any"),), limits)
    if isinstance(head, Refusal) or live.pages.find(head.path) is not None:
        return None
    match = live.router.match(head)
    if isinstance(match, Refusal):
        return None
    kind = kinds.of(match.route)
    if kind is None or (kind.delivers and method != "GET"):
        return None
    return Way(kind, method, target, match)


def sized(block: bytes) -> tuple[int | None, bytes] | None:
    """The length that a header block declares, and the block without its digits. The block is lines
    with a line break before and behind them. None: a length that is not for the fast path. Whether
    this is its only length is judged with the block."""
    at = block.find(b"\r\nContent-Length: ")
    if at < 0:
        at = block.find(b"\r\ncontent-length: ")
        if at < 0:
            return None, block
    at += 18
    end = block.find(b"\r\n", at)
    digits = block[at:end]
    if (
        not digits.isdigit()
        or len(digits) > SIZE_DIGITS_MAX
        or (digits[0] == 0x30 and len(digits) > 1)
    ):
        return None
    return int(digits), block[:at] + block[end:]


def shape_of(
    block: bytes, length: int | None, way: Way, sender: Sender, limits: HeadLimits
) -> Shape | None:
    """Judge a header block of which `length` was read."""
    head = head_of(block, way, limits)
    if head is None or head.length != length or not is_plain(head, way.kind.route):
        return None
    if not way.kind.asks_key:
        return Shape(way.kind, head, "", sender)
    given = credential(head, way.kind.route.auth)
    if isinstance(given, Refusal):
        return None
    return Shape(way.kind, head, name_of(given.kind, given.secret), sender)


def head_of(block: bytes, way: Way, limits: HeadLimits) -> Head | None:
    found = split(block)
    if found is None or len(block) > min(BLOCK_BYTES_MAX, limits.header_bytes_max):
        return None
    head = judge(way.method, way.target, (1, 1), found, limits)
    return None if isinstance(head, Refusal) else head


def split(block: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    """Names and values of lines with a line break before and behind them. What is not a field in
    its one spelling is for others to read: line breaks and blanks in odd places become part of a
    name or a value, where `judge` refuses them."""
    found = []
    for line in block[2:-2].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            return None
        found.append((name, value.strip(b" \t")))
    return tuple(found)


def is_plain(head: Head, route: Route) -> bool:
    """Nothing to do but to reserve its length, pass it on, and charge it."""
    return (
        not head.chunked
        and head.connection <= {b"keep-alive"}
        and _NOT_PLAIN.isdisjoint(head.index)
        and not BodyCount.for_head(head, route).reads_bytes
    )
