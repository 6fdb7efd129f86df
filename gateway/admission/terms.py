"""Terms: by which limits an account, one of its API keys and a subject are charged."""

from dataclasses import replace

from gateway.admission.subjects import Subject
from gateway.catalog.catalog import Catalog
from gateway.ledger.frame import Terms
from gateway.records.accounts import Account
from gateway.records.api_keys import ApiKey

TERMS_MAX = 50_000


def terms_of(
    account: Account,
    catalog: Catalog,
    key: ApiKey | None = None,
    subject: Subject | None = None,
) -> Terms | None:
    """None: the account is on a plan that the catalog does not have."""
    plan = catalog.plans.get(account.plan)
    if plan is None:
        return None
    return Terms(
        account=account.id,
        meters=catalog.meters,
        plan=plan,
        limits=account.limits,
        anchor_ms=account.anchor_ms,
        key_id=None if key is None else key.id,
        key_limits={} if key is None else key.limits,
        subject=subject,
    )


class TermsMemory:
    """Terms built before, while account, key and catalog are the same: the ledger keeps what it
    derives from terms by their identity."""

    def __init__(self) -> None:
        self._known: dict[
            tuple[str, str | None, Subject | None], tuple[Account, ApiKey | None, Catalog, Terms]
        ] = {}
        self._attributed: dict[tuple[Terms, Subject], Terms] = {}

    def of(
        self, account: Account, catalog: Catalog, key: ApiKey | None, subject: Subject | None
    ) -> Terms | None:
        name = (account.id, None if key is None else key.id, subject)
        known = self._known.get(name)
        if known and known[:2] == (account, key) and known[2] is catalog:
            return known[3]
        terms = terms_of(account, catalog, key, subject)
        if terms is not None:
            if len(self._known) >= TERMS_MAX:
                self._known.clear()
            self._known[name] = (account, key, catalog, terms)
        return terms

    def attributed(self, terms: Terms, subject: Subject) -> Terms:
        """The same terms, of a subject that was named later."""
        known = self._attributed.get((terms, subject))
        if known is None:
            if len(self._attributed) >= TERMS_MAX:
                self._attributed.clear()
            known = self._attributed[terms, subject] = replace(terms, subject=subject)
        return known
