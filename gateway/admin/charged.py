"""Whom a call of the decision API is charged to, and by which terms.

`api_key` is what a client presented; `account` (with `key_id`, as the reservation's answer named
it) is for those who know. To open a reservation the key must be valid and the account active; to
go on with one, neither: what was begun is finished and charged.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.admin.reading import Fields, UnfitError
from gateway.admission.subjects import ID_MAX, Subject, is_kind, is_subject_id
from gateway.admission.terms import TermsMemory
from gateway.catalog.catalog import Catalog
from gateway.catalog.routes import CredentialKind
from gateway.errors import (
    ACCOUNT_SUSPENDED,
    INTERNAL,
    UNAUTHENTICATED,
    UNKNOWN_ACCOUNT,
    Refusal,
)
from gateway.ledger.frame import Terms
from gateway.records.api_keys import ApiKey, ApiKeys
from gateway.records.identities import Identities, Identity
from gateway.records.key_text import KeyKind, could_exist, digest

REALM = 'Bearer realm="quota-gateway"'


@dataclass(frozen=True, slots=True)
class Who:
    """As it was asked; exactly one of `secret` and `account` is given."""

    secret: str | None
    account: str | None
    key_id: str | None
    subject: Subject | None


class Charging:
    def __init__(
        self, keys: ApiKeys, identities: Identities, catalog: Callable[[], Catalog]
    ) -> None:
        self._keys = keys
        self._identities = identities
        self._catalog = catalog
        self._terms = TermsMemory()

    async def opening(self, fields: Fields) -> Terms | Refusal:
        """For a new reservation."""
        who = _who(fields)
        if who.secret is not None:
            found = await self._identities.find(CredentialKind.X_API_KEY, who.secret)
            identity = _invalid() if found is None else found
        else:
            identity = await self._named(who, opening=True)
        if isinstance(identity, Identity) and identity.account.suspended:
            return Refusal(ACCOUNT_SUSPENDED, "the account is suspended")
        return self._charged(identity, who)

    async def settling(self, fields: Fields) -> Terms | Refusal:
        """For a reservation that exists, and for questions."""
        who = _who(fields)
        if who.secret is not None:
            identity = await self._presented(who.secret)
        else:
            identity = await self._named(who, opening=False)
        return self._charged(identity, who)

    def _charged(self, identity: Identity | Refusal, who: Who) -> Terms | Refusal:
        if isinstance(identity, Refusal):
            return identity
        terms = self._terms.of(identity.account, self._catalog(), identity.key, who.subject)
        return terms or Refusal(INTERNAL, "the account's plan is not configured")

    async def _presented(self, secret: str) -> Identity | Refusal:
        """Also a key that is revoked or past its end."""
        key: ApiKey | None = None
        if could_exist(KeyKind.SECRET, secret):
            key = await self._keys.find(digest(KeyKind.SECRET, secret))
        account = None if key is None else await self._identities.account(key.account)
        return _invalid() if account is None else Identity(account, key)

    async def _named(self, who: Who, *, opening: bool) -> Identity | Refusal:
        assert who.account is not None
        account = await self._identities.account(who.account)
        if account is None:
            return Refusal(UNKNOWN_ACCOUNT, "there is no such account")
        if who.key_id is None:
            return Identity(account, None)
        key = await self._keys.get(account.id, who.key_id)
        usable = key is not None and not (opening and key.revoked)
        return Identity(account, key) if usable else _invalid()


def _who(fields: Fields) -> Who:
    who = Who(
        secret=fields.secret("api_key"),
        account=fields.text("account"),
        key_id=fields.text("key_id"),
        subject=_subject(fields.object("subject")),
    )
    if (who.secret is None) == (who.account is None):
        raise UnfitError("give either account or api_key")
    if who.key_id is not None and who.account is None:
        raise UnfitError("key_id goes with account")
    return who


def _subject(fields: Fields | None) -> Subject | None:
    if fields is None:
        return None
    kind, name = fields.text("kind"), fields.text("id")
    fields.end()
    if not kind or not name:
        raise UnfitError("subject needs kind and id")
    if not (is_kind(kind) and is_subject_id(name)):
        raise UnfitError(f"subject: kind is a word, id printable text of up to {ID_MAX} characters")
    return kind, name


def _invalid() -> Refusal:
    return Refusal(UNAUTHENTICATED, "the API key is not valid", {"WWW-Authenticate": REALM})
