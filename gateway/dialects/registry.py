"""The dialects by the names that a configuration calls them, and which one a route speaks."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.catalog.routes import Protocol, Route
from gateway.dialects.native import Native
from gateway.dialects.protocol import Dialect
from gateway.dialects.s3 import S3
from gateway.dialects.tus import Tus

NATIVE = Native()

DIALECTS: Mapping[str, Dialect] = MappingProxyType({"native": NATIVE})
"""For usage pages."""

_OF_PROTOCOLS: Mapping[Protocol, Dialect] = {Protocol.S3: S3(), Protocol.TUS: Tus()}


def spoken(route: Route) -> Dialect:
    """In which words the requests of a route are refused."""
    return _OF_PROTOCOLS.get(route.protocol, NATIVE)
