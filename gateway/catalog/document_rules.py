"""Rules of the routes whose requests are judged by their JSON."""

from collections.abc import Iterator

from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, Policy, Protocol, Route, Source
from gateway.catalog.sizes import shown

READ_JSON = frozenset({Protocol.DOCUMENT, Protocol.JOB})


def findings(route: Route, broken: frozenset[str]) -> Iterator[Finding]:
    if "protocol" in broken:
        return
    if "capped" not in broken and route.capped and route.protocol not in READ_JSON:
        yield Finding(
            ("capped",),
            f"protocol {route.protocol.value} does not read the JSON of requests",
            'make it protocol = "document" or "job", or remove it',
        )
    if route.protocol is not Protocol.DOCUMENT:
        return
    if "policy" not in broken and route.policy not in {Policy.UPLOAD, Policy.PASS}:
        yield Finding(
            ("policy",),
            f"protocol document has no policy {route.policy.value}",
            'write policy = "upload", or "pass" where nothing is stored',
        )
    if "account" not in broken and route.account is AccountSource.NONE:
        yield Finding(
            ("account",), "nobody is charged by what is asked for", 'charge account = "key"'
        )
    if "reserve" not in broken:
        for meter, amount in route.reserve.items():
            if isinstance(amount, Source):
                yield Finding(
                    ("reserve", meter),
                    f"protocol document does not measure {shown(amount.value)}",
                    "reserve what the JSON says, or a constant",
                )
