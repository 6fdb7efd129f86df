"""The short texts of the configuration other than sizes and paths: URLs, rates, methods, zones."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from typing import Any
from zoneinfo import ZoneInfo

from gateway.catalog import sizes
from gateway.catalog.plans import RateLimit
from gateway.catalog.problems import Place, Problems, suggestion
from gateway.catalog.shapes import WRONG, Amount, Schema
from gateway.catalog.sizes import Unreadable, shown

METHOD_PATTERN = r"^(?!(CONNECT|TRACE)$)[A-Z][A-Z0-9!#$%&'*+.^_`|~-]{0,31}$"
ZONE_PATTERN = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"
RATE_PATTERN = r"^[1-9][0-9]{0,6}/[0-9.]*[dhms][0-9.dhms]*$"
URL_PATTERN = r"^(https?://[^/?#@\s]+/?|unix:/[^?#\s]+)$"

RATE_EXAMPLE = 'requests per duration such as "100/1m"'
URL_EXAMPLE = '"http://host:port", "https://host:port" or "unix:/path/to.sock"'

_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?/?"
)


@dataclass(frozen=True, slots=True)
class SourceOrAmount:
    """What a route reserves of a meter: a word for where the amount is found, or a constant."""

    words: type[StrEnum]

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        known = [word.value for word in self.words]
        if value in known:
            return self.words(value)
        if isinstance(value, str) and value.replace("_", "").isalpha():
            problems.add(place, f"{shown(value)} is no source", suggestion(value, known))
            return WRONG
        return Amount().read(value, place, problems)

    def schema(self) -> Schema:
        words: Schema = {"enum": [word.value for word in self.words]}
        return {"anyOf": [words, *Amount().schema()["anyOf"]]}


def method(text: str) -> str | Unreadable:
    """An upper-case token of RFC 9110. CONNECT and TRACE are never forwarded."""
    if re.fullmatch(METHOD_PATTERN, text):
        return text
    upper = text.upper()
    if upper in {"CONNECT", "TRACE"}:
        return Unreadable(f"{upper} is never forwarded", "remove it")
    if re.fullmatch(METHOD_PATTERN, upper):
        return Unreadable(f"{shown(text)} is not upper-case", f'write "{upper}"')
    return Unreadable(f"{shown(text)} is not a method", 'write a method such as "PUT"')


def rate(text: str) -> RateLimit | Unreadable:
    """`100/1m`: requests per duration, whole seconds, one request per microsecond at the most."""
    if not re.fullmatch(RATE_PATTERN, text):
        return Unreadable(f"{shown(text)} is not a rate", f"write {RATE_EXAMPLE}")
    requests, _, per = text.partition("/")
    per_ms = sizes.duration_ms(per if per[0].isdigit() else f"1{per}")
    if isinstance(per_ms, Unreadable):
        return Unreadable(f"{shown(per)} in a rate is not a duration", f"write {RATE_EXAMPLE}")
    per_s, rest = divmod(per_ms, 1_000)
    if rest or not 1 <= per_s <= 31 * 86_400 or int(requests) > per_s * 1_000_000:
        return Unreadable(
            f"{shown(text)} is out of range",
            "count over whole seconds, up to 31d, and at most 1000000 a second",
        )
    return RateLimit(int(requests), per_s)


def zone(text: str) -> str | Unreadable:
    """The name of an IANA time zone that this machine knows."""
    if text == "UTC":
        return text
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        return Unreadable(
            f"{shown(text)} is not a time zone here", 'write an IANA name such as "Europe/Berlin"'
        )
    return text


def upstream_url(text: str) -> str | Unreadable:
    """`http://host:port`, `https://host:port` or `unix:/path`: no path, query or user in it."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        if re.fullmatch(r"/[^?#\s]+", rest) and not rest.startswith("//"):
            return text
        return Unreadable(f"{shown(text)} has no absolute path", 'write "unix:/path/to.sock"')
    if scheme not in {"http", "https"} or not rest.startswith("//"):
        return Unreadable("this is not a URL of an upstream", f"write {URL_EXAMPLE}")
    if "@" in rest:
        return Unreadable("the URL has a user or password", f"write {URL_EXAMPLE}")
    read = _URL.fullmatch(text)
    if read is None:
        if re.search(r"[/?#]", rest[2:].removesuffix("/")):
            return Unreadable("the URL has a path or query", "write it without; see strip_prefix")
        return Unreadable("the URL has no valid host and port", f"write {URL_EXAMPLE}")
    if read[4] and not 1 <= int(read[4][1:]) <= 65_535:
        return Unreadable(f"{read[4][1:]} is not a port", "write a port from 1 to 65535")
    if read[2].startswith("[") and not _is_ipv6(read[2][1:-1]):
        return Unreadable(f"{read[2]} is not an address", f"write {URL_EXAMPLE}")
    return text.removesuffix("/")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
