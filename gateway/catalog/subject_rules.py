"""Rules of what routes say about subjects: whose usage it is, and what answers tell of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalog.document_rules import READ_JSON
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, Policy, Protocol, Route

_SOURCES = {"template": "id", "header": "header", "json": "json"}
"""Field of the noun → the key in the file."""
_LEARNING = frozenset({Protocol.PLAIN, Protocol.DOCUMENT})


def findings(route: Route, broken: frozenset[str], subject: Mapping[str, Any]) -> Iterator[Finding]:
    """`subject` is what could be read of the table."""
    if "learn" not in broken and route.learn is not None:
        yield from _learns(route, broken)
    if "subject" in broken or route.subject is None:
        return
    given = [key for field, key in _SOURCES.items() if field in subject]
    if len(given) != 1:
        yield Finding(
            ("subject", given[1]) if given else ("subject",),
            "says twice where the id is" if given else "does not say where the id is",
            'write one of id = "{creator}", header = "Upload-Creator" and json = "creator"',
        )
    elif route.account is AccountSource.NONE and "account" not in broken:
        yield Finding(
            ("subject",), "nobody is charged whose part it could be", 'charge account = "key"'
        )
    elif given == ["json"] and "protocol" not in broken and route.protocol not in READ_JSON:
        yield Finding(
            ("subject", "json"),
            f"protocol {route.protocol.value} does not read the JSON of requests",
            'make it protocol = "document" or "job", or let a header or the path name it',
        )
    if subject.get("required") and given == ["id"]:
        yield Finding(("subject", "required"), "the path always names it", "remove it")


def _learns(route: Route, broken: frozenset[str]) -> Iterator[Finding]:
    if "account" not in broken and route.account is AccountSource.NONE:
        problem = "nobody is charged whose subjects they are"
        yield Finding(("learn",), problem, 'charge account = "key"')
    if "protocol" not in broken and route.protocol not in _LEARNING:
        yield Finding(
            ("learn",),
            f"protocol {route.protocol.value} does not listen to answers",
            'make it protocol = "plain" or "document", or remove it',
        )
    if "policy" not in broken and route.policy not in {Policy.UPLOAD, Policy.PASS}:
        yield Finding(
            ("learn",),
            f"policy {route.policy.value} does not listen to answers",
            'make it policy = "pass", or "upload" where something is stored',
        )
