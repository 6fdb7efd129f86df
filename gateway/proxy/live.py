"""Live: the catalog in force with what was built from it. A reload replaces it as a whole.

Requests in flight keep the one they began with; its pools serve them to their end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission.pages import Pages
from gateway.admission.routing import Router
from gateway.admission.terms import TermsMemory
from gateway.catalog.catalog import Catalog
from gateway.catalog.routes import AccountSource, Upstream
from gateway.dialects.registry import Dialects, dialects
from gateway.ledger.frame import Terms
from gateway.proxy.pool import UpstreamPool
from gateway.records.identities import Identity


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

    def terms_of(self, identity: Identity, subject: tuple[str, str] | None) -> Terms | None:
        """None: the account is on a plan the catalog does not have."""
        return self._terms.of(identity.account, self.catalog, identity.key, subject)

    def attributed(self, terms: Terms, subject: tuple[str, str]) -> Terms:
        return self._terms.attributed(terms, subject)

    def retired_by(self, other: "Live") -> tuple[UpstreamPool, ...]:
        """The pools that `other` does not use any more."""
        kept = set(other.pools.values())
        return tuple(pool for pool in self.pools.values() if pool not in kept)


def build(catalog: Catalog, before: Live | None) -> Live:
    """Pools of upstreams that did not change are kept, with their connections."""
    known: dict[Upstream, UpstreamPool] = {}
    if before is not None:
        known = {pool.upstream: pool for pool in before.pools.values()}
    pools = {
        name: known.get(upstream) or UpstreamPool(upstream)
        for name, upstream in catalog.upstreams.items()
    }
    owners = any(route.account is AccountSource.ASSET for route in catalog.routes)
    return Live(
        catalog,
        Router(catalog.routes),
        Pages(catalog.usage_paths),
        dialects(catalog),
        pools,
        TermsMemory(),
        owners,
    )
