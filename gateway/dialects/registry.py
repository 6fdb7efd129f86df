"""The dialects by the names that a configuration calls them."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects.native import Native
from gateway.dialects.protocol import Dialect

DIALECTS: Mapping[str, Dialect] = MappingProxyType({"native": Native()})
