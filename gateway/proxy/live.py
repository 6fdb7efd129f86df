"""Live: the catalog in force with what was built from it. A reload replaces it as a whole.

Requests in flight keep the one they began with; its pools serve them to their end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from gateway.admission.pages import Pages
from gateway.admission.routing import Router, pattern_of
from gateway.admission.terms import TermsMemory
from gateway.catalog.catalog import Catalog
from gateway.catalog.routes import AccountSource, Upstream, UsagePath
from gateway.dialects.protocol import Answer
from gateway.dialects.registry import Dialects, dialects
from gateway.errors import METHOD_NOT_ALLOWED, Refusal
from gateway.ledger.frame import Terms
from gateway.openapi.document import JSON, PATH
from gateway.proxy.pool import UpstreamPool
from gateway.records.identities import Identity

Describe = Callable[[Catalog, tuple[UsagePath, ...], Dialects], bytes]
"""The OpenAPI document of these pages."""

_DOCUMENT = UsagePath(PATH, "native", "openapi", auth=())


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    catalog: Catalog
    router: Router
    pages: Pages
    dialects: Dialects
    pools: Mapping[str, UpstreamPool]
    _terms: TermsMemory
    owners_matter: bool
    """Some route charges the owner of an asset: so owners are recorded."""
    document: Callable[[], bytes]
    """The OpenAPI document, made when it is first asked for."""

    def terms_of(self, identity: Identity, subject: tuple[str, str] | None) -> Terms | None:
        """None: the account is on a plan the catalog does not have."""
        return self._terms.of(identity.account, self.catalog, identity.key, subject)

    def attributed(self, terms: Terms, subject: tuple[str, str]) -> Terms:
        return self._terms.attributed(terms, subject)

    def openapi(self, method: str, request_id: str) -> Answer | Refusal:
        if method not in ("GET", "HEAD"):
            allowed = "GET, HEAD"
            return Refusal(METHOD_NOT_ALLOWED, f"allowed: {allowed}", {"Allow": allowed})
        headers = {"Content-Type": JSON, "Cache-Control": "no-store", "X-Request-Id": request_id}
        return Answer(200, self.document(), headers)

    def retired_by(self, other: "Live") -> tuple[UpstreamPool, ...]:
        """The pools that `other` does not use any more."""
        kept = set(other.pools.values())
        return tuple(pool for pool in self.pools.values() if pool not in kept)


def build(catalog: Catalog, before: Live | None, describe: Describe) -> Live:
    """Pools of upstreams that did not change are kept, with their connections."""
    known: dict[Upstream, UpstreamPool] = {}
    if before is not None:
        known = {pool.upstream: pool for pool in before.pools.values()}
    pools = {
        name: known.get(upstream) or UpstreamPool(upstream)
        for name, upstream in catalog.upstreams.items()
    }
    owners = any(route.account is AccountSource.ASSET for route in catalog.routes)
    pages, spoken = _pages(catalog), dialects(catalog)
    return Live(
        catalog,
        Router(catalog.routes),
        Pages(pages),
        spoken,
        pools,
        TermsMemory(),
        owners,
        cache(lambda: describe(catalog, pages, spoken)),
    )


def _pages(catalog: Catalog) -> tuple[UsagePath, ...]:
    """With the document, unless something else is configured where it would be."""
    pages, routes = catalog.usage_paths, catalog.routes
    configured = [*(page.path for page in pages), *(route.path for route in routes)]
    taken = any(pattern_of(path).regex.fullmatch(_DOCUMENT.path) for path in configured)
    return catalog.usage_paths if taken else (*catalog.usage_paths, _DOCUMENT)
