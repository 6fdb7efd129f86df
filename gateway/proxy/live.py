"""Live: the catalog in force with what was built from it. A reload replaces it as a whole.

Requests in flight keep the one they began with; its pools serve them to their end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission.routing import Router
from gateway.catalog.catalog import Catalog
from gateway.catalog.routes import AccountSource, Upstream, UsagePath
from gateway.ledger.frame import Terms
from gateway.proxy.pool import UpstreamPool
from gateway.records.identities import Identity

TERMS_MAX = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    catalog: Catalog
    router: Router
    pages: Mapping[str, UsagePath]
    pools: Mapping[str, UpstreamPool]
    terms: "TermsMemory"
    owners_matter: bool
    """Some route charges the owner of an asset: so owners are recorded."""

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
    pages = {page.path: page for page in catalog.usage_paths}
    owners = any(route.account is AccountSource.ASSET for route in catalog.routes)
    return Live(catalog, Router(catalog.routes), pages, pools, TermsMemory(catalog), owners)


class TermsMemory:
    """The terms of accounts and API keys seen under one catalog, so that each is built once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[
            tuple[str, str | None, tuple[str, str] | None], tuple[Identity, Terms]
        ] = {}

    def of(self, identity: Identity, subject: tuple[str, str] | None) -> Terms | None:
        """None: the account is on a plan the catalog does not have."""
        account, key = identity.account, identity.key
        name = (account.id, None if key is None else key.id, subject)
        known = self._known.get(name)
        if known is not None and known[0] is identity:
            return known[1]
        plan = self._catalog.plans.get(account.plan)
        if plan is None:
            return None
        terms = Terms(
            account=account.id,
            meters=self._catalog.meters,
            plan=plan,
            limits=account.limits,
            anchor_ms=account.anchor_ms,
            key_id=None if key is None else key.id,
            key_limits={} if key is None else key.limits,
            subject=subject,
        )
        if len(self._known) >= TERMS_MAX:
            self._known.clear()
        self._known[name] = (identity, terms)
        return terms
