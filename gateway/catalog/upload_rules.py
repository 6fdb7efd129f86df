"""Rules of the routes of resumable uploads: those that create them, and those of each one."""

from collections.abc import Iterator

from gateway.catalog import patterns
from gateway.catalog.patterns import Pattern
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, Policy, Protocol, Route, Source
from gateway.catalog.sizes import shown

OF_UPLOADS = frozenset({Protocol.TUS, Protocol.RESUMABLE})
PARAMETER = "upload"
"""A path with this parameter is that of one upload."""

_CREATE = {
    Protocol.TUS: frozenset({"POST", "OPTIONS"}),
    Protocol.RESUMABLE: frozenset({"POST", "PUT", "PATCH", "OPTIONS"}),
}
_GO_ON = frozenset({"PATCH", "HEAD", "DELETE", "OPTIONS"})


def findings(route: Route, broken: frozenset[str]) -> Iterator[Finding]:
    """What is wrong with a route as one of resumable uploads, or as one that is not."""
    if not broken & {"protocol", "probe", "probe_headers"}:
        yield from _asks_something(route)
    if "protocol" not in broken and route.protocol in OF_UPLOADS:
        yield from _of_uploads(route, broken)


def _of_uploads(route: Route, broken: frozenset[str]) -> Iterator[Finding]:
    if "policy" not in broken:
        yield from _stores(route)
    if not broken & {"account", "auth"}:
        yield from _belongs_to_its_account(route)
    if "path" in broken:
        return
    pattern = patterns.parse(route.path)
    assert isinstance(pattern, Pattern)
    creates = PARAMETER not in pattern.names
    if not (creates and route.protocol is Protocol.RESUMABLE):
        yield from _declares_by_its_own_rules(route)
    if "methods" not in broken:
        yield from _takes_its_methods(route, creates)
    if "reserve" not in broken:
        yield from _reserves_at_the_creation(route, creates)
    if "asset" not in broken:
        yield from _names_what_is_stored(route, creates)


def _asks_something(route: Route) -> Iterator[Finding]:
    """What became of an upload is asked about at its own path, of others by their probe."""
    asked = route.protocol in {*OF_UPLOADS, Protocol.S3} or route.probe is not None
    if route.probe_headers and not asked:
        yield Finding(
            ("probe_headers",),
            "the gateway asks nothing about this route",
            "add probe, or remove it",
        )


def _stores(route: Route) -> Iterator[Finding]:
    if route.policy is not Policy.UPLOAD:
        yield Finding(
            ("policy",),
            f"protocol {route.protocol.value} has no policy {route.policy.value}",
            'write policy = "upload"',
        )


def _belongs_to_its_account(route: Route) -> Iterator[Finding]:
    if route.account not in {AccountSource.KEY, AccountSource.PATH}:
        yield Finding(
            ("account",),
            "a resumable upload belongs to the account that created it",
            'write account = "key"; requests without an API key, such as those of browsers that '
            'ask what is allowed, are for a route of policy = "pass"',
        )
    elif not route.auth:
        yield Finding(
            ("auth",),
            "anybody could go on with the account's uploads, or end them",
            "list where the API key is",
        )


def _declares_by_its_own_rules(route: Route) -> Iterator[Finding]:
    for key, given in (("size_from", route.size_from), ("length_required", route.length_required)):
        if given:
            yield Finding(
                (key,),
                f"protocol {route.protocol.value} has rules of its own for lengths",
                "remove it",
            )


def _takes_its_methods(route: Route, creates: bool) -> Iterator[Finding]:
    known = _CREATE[route.protocol] if creates else _GO_ON
    for method in sorted(route.methods - known):
        where = "that creates uploads" if creates else "of one upload"
        yield Finding(
            ("methods",),
            f"{method} has no meaning on a route {where}",
            f"list {', '.join(sorted(known))}; a path with {{{PARAMETER}}} or {{{PARAMETER}...}} "
            "is that of one upload",
        )


def _reserves_at_the_creation(route: Route, creates: bool) -> Iterator[Finding]:
    if not creates:
        if route.reserve:
            yield Finding(
                ("reserve",),
                "an upload is reserved when it is created",
                "move it to the route that creates uploads",
            )
        return
    if Source.BODY not in route.reserve.values():
        yield Finding(
            (),
            "an upload that reserves nothing for its bytes cannot be followed",
            'add reserve, such as { storage_bytes = "body" }',
        )
    for meter, amount in route.reserve.items():
        if isinstance(amount, Source) and amount is not Source.BODY:
            yield Finding(
                ("reserve", meter),
                f"protocol {route.protocol.value} does not measure {shown(amount.value)}",
                'reserve "body" or a constant',
            )


def _names_what_is_stored(route: Route, creates: bool) -> Iterator[Finding]:
    if route.protocol is Protocol.RESUMABLE:
        if not creates and route.asset is not None:
            yield Finding(
                ("asset",),
                "what is stored is not the upload, but what was asked for at its creation",
                "name it on the route that creates uploads",
            )
    elif creates and route.asset is not None:
        yield Finding(
            ("asset",),
            "what is stored has no name yet when it is created",
            f'name it on the route of one upload: asset = "uploads/{{{PARAMETER}}}"',
        )
    elif not creates and route.asset is None:
        yield Finding(
            (),
            "a stored upload has no name by which its bytes could be given back",
            f'add asset, such as "uploads/{{{PARAMETER}}}"',
        )
