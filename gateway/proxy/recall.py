"""Recall: the terms by which a reservation was made, for those who settle it later.

By then the request is gone, and the gateway that took it perhaps as well. What is charged are the
same counters: those of the account, of the API key (also one that was revoked since), and of the
subject; by the plan the account is on now.
"""

from collections.abc import Callable

from gateway.ledger.frame import Terms
from gateway.proxy.journal import Settlement
from gateway.proxy.live import Live
from gateway.records.api_keys import ApiKeys
from gateway.records.identities import Identities, Identity


class Recall:
    def __init__(self, identities: Identities, keys: ApiKeys, live: Callable[[], Live]) -> None:
        self._identities = identities
        self._keys = keys
        self._live = live

    async def terms(
        self, account_id: str, key_id: str | None, subject: tuple[str, str] | None
    ) -> Terms | None:
        """None: there is no such account, or its plan is not configured. Raises StoreError."""
        account = await self._identities.account(account_id)
        if account is None:
            return None
        key = None if key_id is None else await self._keys.get(account_id, key_id)
        return self._live().terms_of(Identity(account, key), subject)

    async def of_settlement(self, settlement: Settlement) -> Terms | None:
        return await self.terms(settlement.account, settlement.key_id, settlement.subject)
