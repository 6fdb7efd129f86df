"""Rules of what routes say about subjects: whose usage it is, and what answers tell of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalog.document_rules import READ_JSON
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, Route

_SOURCES = {"template": "id", "header": "header", "json": "json"}
"""Field of the noun → the key in the file."""


def findings(route: Route, broken: frozenset[str], subject: Mapping[str, Any]) -> Iterator[Finding]:
    """`subject` is what could be read of the table."""
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
