"""Identities: who a request is, remembered in this process for seconds.

Failure stays closed: what the store cannot be asked about is an error, never an old answer. Every
gateway listens for changes, so a revoked key is forgotten at once; while a gateway cannot be sure
that it hears them, it remembers nothing for longer than a second. Unknown, revoked and ended keys
take the same path and get the same answer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.catalog.routes import CredentialKind
from gateway.clock import StoreClock
from gateway.records.accounts import Account, Accounts
from gateway.records.api_keys import ApiKey, ApiKeys
from gateway.records.invalidation import Changed
from gateway.records.key_text import KeyKind, could_exist, digest
from gateway.records.listener import Listener
from gateway.records.memory import Bounds, Memory
from gateway.records.rows import RedisClient

LISTENING_AGE_MAX_S = 60.0
"""Changes are heard at once, and all is forgotten when the line they come by was broken: this only
bounds what nobody was told of."""
DEAF_AGE_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """`key` None: the account was found by path or asset. The account may be suspended."""

    account: Account
    key: ApiKey | None


class Identities:
    """`on_cut` is called when requests running under a key or account are to be aborted now
    (`Changed.key_id` None: under the whole account)."""

    def __init__(
        self, client: RedisClient, clock: StoreClock, *, bounds: Bounds | None = None
    ) -> None:
        self.on_cut: Callable[[Changed], None] | None = None
        self._clock = clock
        self._accounts = Accounts(client)
        self._keys = ApiKeys(client)
        self._listener = Listener(client, self._changed)
        bounds = bounds or Bounds()
        self._by_digest = Memory(self._identity, lambda found: found.account.id, bounds)
        self._by_id = Memory(self._accounts.find, lambda account: account.id, bounds)

    @property
    def listening(self) -> bool:
        return self._listener.listening

    def __len__(self) -> int:
        """How many answers are remembered."""
        return len(self._by_digest) + len(self._by_id)

    async def start(self) -> None:
        """Begin to listen. A store that is down is no error here: it is tried again and again."""
        await self._listener.start()

    async def stop(self) -> None:
        await self._listener.stop()
        await self._by_digest.stop()
        await self._by_id.stop()

    async def find(self, kind: CredentialKind, secret: str) -> Identity | None:
        """Whose key that is; None for unknown, revoked and ended keys. Raises StoreError."""
        key_kind = _key_kind(kind)
        name, age_max_s = digest(key_kind, secret), self._age_max_s()
        known = self._by_digest.remembered(name, age_max_s)
        if known is not None:
            found = known.value
        elif could_exist(key_kind, secret):
            found = await self._by_digest.get(name, age_max_s)
        else:
            return None
        if found is None or found.key is None or not found.key.valid(self._clock.now_ms()):
            return None
        return found

    def at_hand(self, name: str) -> Identity | None:
        """The same by the `name_of` a key, where it is remembered; None: ask for it."""
        found = self._by_digest.at_hand(name, self._age_max_s())
        if found is None or found.key is None or not found.key.valid(self._clock.now_ms()):
            return None
        return found

    async def account(self, name: str) -> Account | None:
        """By its id or an alias. Raises StoreError."""
        return await self._by_id.get(name, self._age_max_s())

    async def _identity(self, name: str) -> Identity | None:
        key = await self._keys.find(name)
        if key is None or key.revoked:
            return None
        account = await self._accounts.get(key.account)
        return None if account is None else Identity(account, key)

    def _age_max_s(self) -> float:
        return LISTENING_AGE_MAX_S if self._listener.listening else DEAF_AGE_MAX_S

    def _changed(self, changed: Changed | None) -> None:
        if changed is None:
            self._by_digest.forget_all()
            self._by_id.forget_all()
            return
        self._by_digest.forget(changed.digests)
        if changed.key_id is None:
            self._by_digest.forget_account(changed.account)
            self._by_id.forget((changed.account,))
            self._by_id.forget_account(changed.account)
        if changed.cut and self.on_cut is not None:
            self.on_cut(changed)


def name_of(kind: CredentialKind, secret: str) -> str:
    """What a key is known by here: not its secret."""
    return digest(_key_kind(kind), secret)


def _key_kind(kind: CredentialKind) -> KeyKind:
    return KeyKind.S3 if kind is CredentialKind.S3 else KeyKind.SECRET
