"""Rules of routes: what the keys of one route mean together, and routes beside each other.

A rule names the fields that it looks at and yields what it finds; it is not asked when one of those
could not be read, so that a mistake is told once. Adding a rule is adding a function here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.catalog import patterns
from gateway.catalog.amounts import Meters
from gateway.catalog.meters import MeterKind
from gateway.catalog.patterns import Pattern
from gateway.catalog.problems import Place
from gateway.catalog.routes import (
    NAMED_BY_THE_ANSWER,
    AccountSource,
    CredentialKind,
    HostPolicy,
    Policy,
    Protocol,
    Route,
    Source,
)
from gateway.catalog.sizes import shown


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at `at`, a place within the route."""

    at: Place
    problem: str
    remedy: str


Placed = tuple[str, Route]
"""A route with the place it is written at."""

Rule = Callable[[Route, Meters], Iterator[Finding]]
RULES: list[tuple[frozenset[str], Rule]] = []


def rule(*looks_at: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.append((frozenset(looks_at), function))
        return function

    return register


def findings(route: Route, broken: frozenset[str], meters: Meters) -> Iterator[Finding]:
    """Everything wrong with one route, of whose fields `broken` could not be read."""
    for looks_at, function in RULES:
        if not looks_at & broken:
            yield from function(route, meters)


# -- who is charged -------------------------------------------------------------------------------


@rule("auth", "account")
def a_key_is_needed_to_charge_its_account(route: Route, _: Meters) -> Iterator[Finding]:
    if not route.auth and route.account is AccountSource.KEY:
        yield Finding(
            ("auth",),
            "nobody can be charged: requests carry no API key",
            'charge account = "path" or "asset", or list where the key is',
        )


@rule("account", "path")
def account_path_needs_its_parameter(route: Route, _: Meters) -> Iterator[Finding]:
    if route.account is not AccountSource.PATH:
        return
    pattern = _pattern(route)
    single = [segment.name for segment in pattern.segments if not segment.rest]
    if "account" not in single:
        yield Finding(
            ("account",),
            f"the path {shown(route.path)} has no segment {{account}}",
            "name the segment that holds the account's id {account}",
        )


@rule("account", "asset")
def account_asset_needs_an_asset(route: Route, _: Meters) -> Iterator[Finding]:
    if route.account is AccountSource.ASSET and route.asset is None:
        yield Finding(
            ("account",),
            "the route names no asset whose owner could be charged",
            'add asset, as on the route that uploads it: asset = "files/{name}"',
        )


@rule("account", "auth")
def an_open_route_asks_for_no_key(route: Route, _: Meters) -> Iterator[Finding]:
    if route.account is AccountSource.NONE and route.auth:
        yield Finding(
            ("account",),
            "API keys are asked for and nobody is charged",
            'add auth = [] to let everyone in, or charge account = "key"',
        )


@rule("account", "reserve")
def an_open_route_reserves_nothing(route: Route, _: Meters) -> Iterator[Finding]:
    if route.account is AccountSource.NONE and route.reserve:
        yield Finding(
            ("account",),
            "there are amounts to reserve and nobody to charge",
            'charge account = "key", "path" or "asset", or remove reserve',
        )


# -- what is reserved -----------------------------------------------------------------------------

_SOURCES = {
    Policy.UPLOAD: frozenset({Source.BODY, Source.FILES}),
    Policy.DOWNLOAD: frozenset({Source.RESPONSE, Source.DELIVERY_SECONDS}),
    Policy.DELETE: frozenset[Source](),
    Policy.PASS: frozenset[Source](),
}
_UNITS = {
    Source.BODY: "bytes",
    Source.FILES: "bytes",
    Source.RESPONSE: "bytes",
    Source.DELIVERY_SECONDS: "seconds",
}


@rule("policy", "protocol", "reserve")
def the_policy_knows_the_amount(route: Route, _: Meters) -> Iterator[Finding]:
    if route.protocol is Protocol.S3:
        return  # It has all of them: see s3_rules.
    allowed = _SOURCES[route.policy]
    for meter, amount in route.reserve.items():
        if isinstance(amount, Source) and amount not in allowed:
            words = [shown(source.value) for source in sorted(allowed)]
            others = [policy.value for policy in Policy if amount in _SOURCES[policy]]
            yield Finding(
                ("reserve", meter),
                f"policy {route.policy.value} does not measure {shown(amount.value)}",
                f"reserve {' or '.join([*words, 'a constant'])}, "
                f"or make it policy = {shown(others[0])}",
            )


@rule("reserve")
def the_unit_is_what_is_measured(route: Route, meters: Meters) -> Iterator[Finding]:
    for name, amount in route.reserve.items():
        meter = meters.known.get(name)
        if meter is None or not isinstance(amount, Source) or meter.unit == _UNITS[amount]:
            continue
        yield Finding(
            ("reserve", name),
            f"{shown(amount.value)} is counted in {_UNITS[amount]}, {name} in {meter.unit}",
            f"reserve a meter of unit {shown(_UNITS[amount])}, or a constant",
        )


@rule("policy", "reserve")
def only_uploads_add_to_levels(route: Route, meters: Meters) -> Iterator[Finding]:
    if route.policy is Policy.UPLOAD:
        return
    for name in route.reserve:
        meter = meters.known.get(name)
        if meter is not None and meter.kind is MeterKind.LEVEL:
            yield Finding(
                ("reserve", name),
                f"{name} is a level: policy {route.policy.value} stores nothing that it could hold",
                'reserve a cumulative meter, or make it policy = "upload"',
            )


@rule("reserve")
def constants_are_above_zero(route: Route, _: Meters) -> Iterator[Finding]:
    for name, amount in route.reserve.items():
        if amount == 0:
            yield Finding(("reserve", name), "0 reserves nothing", "write 1 or more, or remove it")


# -- paths, assets and subjects -------------------------------------------------------------------


@rule("policy", "asset")
def a_delete_names_its_asset(route: Route, _: Meters) -> Iterator[Finding]:
    if route.policy is Policy.DELETE and route.asset is None:
        yield Finding(
            (),
            "a delete route has to name the asset whose bytes it gives back",
            'add asset, as on the route that uploads it: asset = "files/{name}"',
        )


@rule("policy", "protocol", "asset", "asset_from")
def an_answer_names_what_an_upload_stored(route: Route, _: Meters) -> Iterator[Finding]:
    if route.asset_from is None:
        return
    plain = route.protocol in {Protocol.PLAIN, Protocol.DOCUMENT}
    if route.policy is not Policy.UPLOAD or not plain:
        yield Finding(
            ("asset_from",),
            "only the answers to plain uploads and documents name what was stored",
            "remove it, or name the asset by the path",
        )
    elif NAMED_BY_THE_ANSWER not in patterns.placeholders(route.asset or ""):
        yield Finding(
            ("asset_from",), "no asset is filled from it", 'add asset, such as "files/{id}"'
        )


@rule("path", "asset", "asset_from", "subject", "probe")
def templates_use_parameters_of_the_path(route: Route, _: Meters) -> Iterator[Finding]:
    names = _pattern(route).names
    if route.asset_from is not None:
        names = (*names, NAMED_BY_THE_ANSWER)
    templates: list[tuple[Place, str]] = []
    if route.asset is not None:
        templates.append((("asset",), route.asset))
    if route.subject is not None and route.subject.template is not None:
        templates.append((("subject", "id"), route.subject.template))
    if route.probe is not None:
        templates.append((("probe", "path"), route.probe.path))
    for at, text in templates:
        for name in patterns.placeholders(text):
            if name not in names:
                known = ", ".join(f"{{{name}}}" for name in names) or "none"
                yield Finding(
                    at,
                    f"{{{name}}} is no parameter of the path {shown(route.path)}",
                    f"parameters of the path: {known}",
                )


@rule("probe")
def a_size_stands_in_an_answer_with_a_body(route: Route, _: Meters) -> Iterator[Finding]:
    if route.probe is not None and route.probe.size is not None and route.probe.method == "HEAD":
        yield Finding(
            ("probe", "size"),
            "the answer to HEAD has no JSON",
            'add method = "GET", or leave size out to go by the Content-Length',
        )


@rule("path", "opaque")
def below_an_opaque_prefix_all_is_rest(route: Route, _: Meters) -> Iterator[Finding]:
    segments = _pattern(route).segments
    literal = all(not segment.name for segment in segments[:-1])
    if route.opaque and not (literal and segments[-1].rest):
        yield Finding(
            ("opaque",),
            "an opaque path can only be read up to its literal prefix",
            'write a literal prefix and one {name...}, such as "/s3/{key...}"',
        )


@rule("path", "strip_prefix")
def the_stripped_prefix_begins_the_path(route: Route, _: Meters) -> Iterator[Finding]:
    prefix = route.strip_prefix
    if prefix and (prefix.endswith("/") or "{" in prefix):
        yield Finding(
            ("strip_prefix",),
            f"{shown(prefix)} is not a plain prefix",
            'write it without parameters and without "/" at its end',
        )
    elif prefix and route.path != prefix and not route.path.startswith(f"{prefix}/"):
        yield Finding(
            ("strip_prefix",),
            f"the path {shown(route.path)} does not begin with {shown(prefix + '/')}",
            "strip what the path begins with",
        )


@rule("auth", "host", "strip_prefix")
def signed_requests_are_not_rewritten(route: Route, _: Meters) -> Iterator[Finding]:
    if CredentialKind.S3 not in route.auth:
        return
    if route.host is not HostPolicy.KEEP:
        yield Finding(
            ("host",), "a signature covers the Host that the client sent", 'write host = "keep"'
        )
    if route.strip_prefix:
        yield Finding(
            ("strip_prefix",), "a signature covers the path that the client sent", "remove it"
        )


# -- keys that only some policies have ------------------------------------------------------------


@rule("policy", "size_from", "length_required", "upgrade")
def the_policy_has_the_key(route: Route, _: Meters) -> Iterator[Finding]:
    upload = route.policy is Policy.UPLOAD
    for key, given in (("size_from", route.size_from), ("length_required", route.length_required)):
        if given and not upload:
            yield Finding(
                (key,),
                f"policy {route.policy.value} stores nothing, so {key} has no meaning",
                'remove it, or make it policy = "upload"',
            )
    if route.upgrade and route.policy not in {Policy.PASS, Policy.DOWNLOAD}:
        yield Finding(
            ("upgrade",),
            f"policy {route.policy.value} cannot measure an upgraded connection",
            'make it policy = "pass", or "download" to count its bytes',
        )


# -- routes beside each other ---------------------------------------------------------------------


def collisions(
    route: Route, earlier: Sequence[Placed], all_routes: Sequence[Placed]
) -> Iterator[Finding]:
    """How other routes take this one's requests away.

    Of two patterns the more specific has the request, wherever it stands; what lies below the
    literal prefix of an opaque route is left to opaque routes.
    """
    mine = _pattern(route).shape
    for place, other in earlier:
        shared = sorted(other.methods & route.methods)
        if shared and _pattern(other).shape == mine:
            yield Finding(
                ("path",),
                f"{place} ({other.name}) takes {', '.join(shared)} on the same paths",
                "give each method to one route, or make the paths differ",
            )
            return
    for place, other in all_routes:
        prefix = _literal(other)
        below = _literal(route).startswith(prefix) or (
            other.protocol is Protocol.S3 and f"{route.path}/" == prefix
        )
        if other.opaque and not route.opaque and below:
            yield Finding(
                ("path",),
                f"{place} ({other.name}) is opaque and has all that begins with {shown(prefix)}",
                "make this route opaque too, or choose another path",
            )
            return


def _literal(route: Route) -> str:
    """What stands before the first parameter of a path."""
    return route.path.partition("{")[0]


def _pattern(route: Route) -> Pattern:
    pattern = patterns.parse(route.path)
    assert isinstance(pattern, Pattern)
    return pattern
