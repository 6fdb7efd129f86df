"""API keys: the secrets that name an account, known here by their digests only.

A key has a public id that stays when its secret is rotated, so that its limits and usage go on. The
account's index is written before a key's row: what authenticates can always be listed and revoked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.records.accounts import is_account_id
from gateway.records.failures import asked
from gateway.records.invalidation import Changed, packed
from gateway.records.key_text import KeyKind, digest, new_key_id, new_secret, shown
from gateway.records.rows import RedisClient, Row, Rows, text

_LIMIT = "limit."


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`id` is public. `shown` is what lists and logs may say of the secret. `limits` hold for this
    key alone. `expires_ms` is by the store's clock; None: never."""

    id: str
    account: str
    name: str
    kind: KeyKind
    created_ms: int
    revoked: bool
    expires_ms: int | None
    limits: Mapping[str, int]
    shown: str

    def valid(self, now_ms: int) -> bool:
        return not self.revoked and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What is settled about a key besides its secret."""

    name: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """The text is a key already, and not this one: of another account, revoked, or other terms.

    `account` is for the operator's eyes only.
    """

    account: str


class ApiKeys:
    """The rows of API keys. The caller makes sure that the account exists."""

    __slots__ = ("_client", "_rows")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._rows = Rows(client)

    async def create(self, account: str, policy: KeyPolicy) -> tuple[ApiKey, str]:
        """The key and its secret, which is known to nobody afterwards."""
        secret = new_secret()
        return await self._store(account, new_key_id(), secret, policy), secret

    async def adopt(
        self, account: str, kind: KeyKind, candidate: str, policy: KeyPolicy
    ) -> ApiKey | Taken:
        """Make an existing secret or S3 access key id a key of `account`; repeating is harmless."""
        name = digest(kind, candidate)
        known = await self.find(name)
        if known is None:
            known = await self._store(account, new_key_id(), candidate, policy, kind=kind)
        same = (known.account, known.name, known.limits) == (account, policy.name, policy.limits)
        return Taken(known.account) if known.revoked or not same else known

    async def find(self, name: str) -> ApiKey | None:
        """The key with this digest, also one that is revoked or past its end."""
        row = await self._rows.read(_key(name))
        return _api_key(row) if row else None

    async def get(self, account: str, key_id: str) -> ApiKey | None:
        """The newest key with this id, also one that is revoked or past its end."""
        found = [key for _, key in await self._of(account, key_id)]
        return max(found, key=lambda key: key.created_ms, default=None)

    async def list(self, account: str) -> tuple[ApiKey, ...]:
        """Every key of the account, oldest first; a rotated one twice while both secrets work."""
        found = [key for _, key in await self._of(account)]
        return tuple(sorted(found, key=lambda key: (key.created_ms, key.id)))

    async def rotate(
        self, account: str, key_id: str, *, grace_ms: int = 0
    ) -> tuple[ApiKey, str] | None:
        """A new secret under the same id; the old one works for `grace_ms` more.

        None: the account has no such key, or only a revoked one or an S3 access key id. The new
        secret works before the old one ends: there is no moment without a valid one.
        """
        current = [
            (name, key)
            for name, key in await self._of(account, key_id)
            if not key.revoked and key.kind is KeyKind.SECRET
        ]
        if not current:
            return None
        newest = max((key for _, key in current), key=lambda key: key.created_ms)
        secret = new_secret()
        fresh = await self._store(account, key_id, secret, KeyPolicy(newest.name, newest.limits))
        for name, _ in current:
            message = packed(Changed(account, key_id, (name,)))
            await self._rows.end(_key(name), grace_ms, message)
        return fresh, secret

    async def revoke(self, account: str, key_id: str, *, cut: bool = False) -> tuple[ApiKey, ...]:
        """Every secret of that key stops working at once, on every gateway; empty: no such key.

        `cut`: requests that run under it are aborted and released as well.
        """
        names = [name for name, _ in await self._of(account, key_id)]
        return tuple([await self._revoke(account, key_id, name, cut=cut) for name in names])

    async def revoke_text(
        self, kind: KeyKind, candidate: str, *, cut: bool = False
    ) -> ApiKey | None:
        """Revoke the one secret that was found somewhere; None: it is nobody's."""
        name = digest(kind, candidate)
        key = await self.find(name)
        if key is None:
            return None
        return await self._revoke(key.account, key.id, name, cut=cut)

    async def _store(
        self,
        account: str,
        key_id: str,
        candidate: str,
        policy: KeyPolicy,
        *,
        kind: KeyKind = KeyKind.SECRET,
    ) -> ApiKey:
        name = digest(kind, candidate)
        await asked(self._client.sadd(_index(account), f"{key_id}:{name}"), writes=True)
        fields = {
            "id": key_id,
            "account": account,
            "name": policy.name,
            "kind": kind.value,
            "shown": shown(kind, candidate),
        }
        fields |= {_LIMIT + meter: str(limit) for meter, limit in policy.limits.items()}
        _, row = await self._rows.create(
            _key(name), fields, packed(Changed(account, key_id, (name,)))
        )
        return _api_key(row)

    async def _revoke(self, account: str, key_id: str, name: str, *, cut: bool) -> ApiKey:
        message = packed(Changed(account, key_id, (name,), cut))
        return _api_key(await self._rows.change(_key(name), {"revoked": "1"}, message))

    async def _of(self, account: str, key_id: str | None = None) -> Sequence[tuple[str, ApiKey]]:
        """(digest, key) of the account's keys, those with `key_id` if given.

        An index entry without a row, or whose row is another key's, is left over from a
        creation that broke off or lost a race; it is nobody's key.
        """
        if not is_account_id(account):
            return ()
        members = await asked(self._client.smembers(_index(account)))
        pairs = []
        for member in members:
            entry_id, _, name = text(member).partition(":")
            if key_id in (None, entry_id):
                key = await self.find(name)
                if key is not None and (key.account, key.id) == (account, entry_id):
                    pairs.append((name, key))
        return pairs


def _index(account: str) -> str:
    return f"qg:{{{account}}}:keys"


def _key(name: str) -> str:
    return f"qg:key:{name}"


def _api_key(row: Row) -> ApiKey:
    expires_ms = row.get("expires_ms")
    return ApiKey(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        kind=KeyKind(row["kind"]),
        created_ms=int(row["created_ms"]),
        revoked="revoked" in row,
        expires_ms=None if expires_ms is None else int(expires_ms),
        limits={
            field.removeprefix(_LIMIT): int(value)
            for field, value in row.items()
            if field.startswith(_LIMIT)
        },
        shown=row["shown"],
    )
