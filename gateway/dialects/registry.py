"""The dialects by the names that a configuration calls them, and which one a route speaks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.catalog.catalog import Catalog
from gateway.catalog.dialects import AccountsMember, BillingDates, CommandsQuota, StorageFull
from gateway.catalog.routes import Protocol, Route
from gateway.dialects.cloudflare import Cloudflare, CloudflareFailure
from gateway.dialects.native import Native
from gateway.dialects.problem import Problem
from gateway.dialects.protocol import Dialect
from gateway.dialects.s3 import S3
from gateway.dialects.stashfyle import StashFyle, StashFyleFailure
from gateway.dialects.tornado import Tornado, TornadoFailure
from gateway.dialects.tus import Tus
from gateway.dialects.wowza import Wowza
from gateway.dialects.wowza_pages import WowzaFailure

NATIVE = Native()

Options = Mapping[str, Any]


def _tornado(options: Options) -> Dialect:
    return Tornado(epoch_dates=options.get("billing_dates") is BillingDates.EPOCH)


def _stashfyle(options: Options) -> Dialect:
    return StashFyle(413 if options.get("storage_full") is StorageFull.TOO_LARGE else 403)


def _cloudflare(options: Options) -> Dialect:
    return Cloudflare(total_quota=options.get("commands_quota") is CommandsQuota.TOTAL)


def _wowza(options: Options) -> Dialect:
    return Wowza(options.get("accounts", AccountsMember.ACCOUNTS).value)


DIALECTS: Mapping[str, Callable[[Options], Dialect]] = MappingProxyType(
    {
        "native": lambda options: NATIVE,
        "tornado": _tornado,
        "stashfyle": _stashfyle,
        "cloudflare": _cloudflare,
        "wowza": _wowza,
    }
)
"""How each is made, from what the configuration says of it."""

FAILURES: Mapping[str, type] = {
    "native": Problem,
    "tornado": TornadoFailure,
    "stashfyle": StashFyleFailure,
    "cloudflare": CloudflareFailure,
    "wowza": WowzaFailure,
}
"""The models that refusals are said by."""


@dataclass(frozen=True, slots=True)
class Dialects:
    """Those of one catalog. `default` is spoken where no route is found."""

    by_name: Mapping[str, Dialect]
    default: Dialect

    def of(self, route: Route) -> Dialect:
        """In which words the requests of a route are refused."""
        named = self.by_name.get(route.dialect or "")
        if route.protocol is Protocol.TUS:
            return Tus(named or self.default)
        if named is None and route.protocol is Protocol.S3:
            return S3()
        return named or self.default


def dialects(catalog: Catalog) -> Dialects:
    by_name = {name: make(catalog.options.get(name, {})) for name, make in DIALECTS.items()}
    return Dialects(by_name, by_name[catalog.dialect])
