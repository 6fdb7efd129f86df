"""Rules of the routes that serve an S3 API."""

from collections.abc import Iterator

from gateway.catalog.amounts import Meters
from gateway.catalog.meters import MeterKind
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, CredentialKind, Policy, Protocol, Route, Source
from gateway.catalog.sizes import shown

_STORED = frozenset({Source.BODY})
_DELIVERED = frozenset({Source.RESPONSE, Source.DELIVERY_SECONDS})


def findings(route: Route, broken: frozenset[str], meters: Meters) -> Iterator[Finding]:
    """What is wrong with a route as one that serves S3, or as one that does not."""
    if "protocol" in broken:
        return
    if route.protocol is not Protocol.S3:
        yield from _of_other_protocols(route)
        return
    for finding in (*_all_of_an_api(route), *_nothing_of_its_own(route), *_amounts(route, meters)):
        if finding.at[0] not in broken:
            yield finding
    if "s3_domains" not in broken and not route.s3_domains:
        yield Finding(
            (),
            "protocol s3 has to know which names it is called by",
            'add s3_domains = ["s3.example.com"]: Host is that, or a bucket before it',
        )


def _of_other_protocols(route: Route) -> Iterator[Finding]:
    of_s3 = (
        ("s3_domains", route.s3_domains),
        ("s3_credentials", route.s3_credentials),
        ("copy_max", route.copy_max),
    )
    for key, given in of_s3:
        if given:
            yield Finding(
                (key,),
                f"protocol {route.protocol.value} knows nothing of S3",
                'make it protocol = "s3", or remove it',
            )


def _all_of_an_api(route: Route) -> Iterator[Finding]:
    """One route for every operation: what each does is judged from the request."""
    if route.policy is not Policy.UPLOAD:
        yield Finding(
            ("policy",),
            f"protocol s3 has no policy {route.policy.value}",
            'write policy = "upload": what a request does is told by itself',
        )
    if not route.opaque:
        yield Finding(("opaque",), "keys of S3 may have // and %2F in them", "write opaque = true")
    if CredentialKind.S3 not in route.auth:
        yield Finding(("auth",), "requests to S3 are signed", 'write auth = ["s3"]')
    if route.account is not AccountSource.KEY:
        yield Finding(("account",), "protocol s3 charges who has signed", 'write account = "key"')


def _nothing_of_its_own(route: Route) -> Iterator[Finding]:
    if route.asset is not None:
        yield Finding(("asset",), "protocol s3 names what is stored by bucket and key", "remove it")
    if route.size_from is not None:
        yield Finding(("size_from",), "answers of S3 are not JSON", "remove it")
    if route.probe is not None:
        yield Finding(("probe",), "requests to S3 are signed", "write s3_credentials instead")
    if route.probe_headers:
        yield Finding(("probe_headers",), "requests to S3 are signed", "write s3_credentials")


def _amounts(route: Route, meters: Meters) -> Iterator[Finding]:
    for name, amount in route.reserve.items():
        meter = meters.known.get(name)
        if isinstance(amount, Source) and amount not in _STORED | _DELIVERED:
            yield Finding(
                ("reserve", name),
                f"protocol s3 does not measure {shown(amount.value)}",
                'reserve "body", "response", "delivery_seconds" or a constant',
            )
        elif amount in _DELIVERED and meter is not None and meter.kind is MeterKind.LEVEL:
            yield Finding(
                ("reserve", name),
                f"{name} is a level: what is delivered is held by nobody",
                "reserve a cumulative meter",
            )
