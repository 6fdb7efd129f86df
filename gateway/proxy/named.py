"""Named: one claimed request that its client gave a name, until it is known what became of it."""

import hashlib
import logging

from gateway.errors import StoreError
from gateway.records.idempotency import Idempotency, StoredAnswer

log = logging.getLogger(__name__)


class Named:
    """`told`: the row says what became of the request. `in_doubt`: nobody knows, so the claim is
    left to end by itself. The row helps a repeat only: trouble with it never changes an answer."""

    def __init__(self, rows: Idempotency, account: str, name: str, attempt: int) -> None:
        self._rows = rows
        self._account = account
        self._name = name
        self._attempt = attempt
        self._body = hashlib.sha256()
        self.told = False
        self.in_doubt = False

    @property
    def reservation_id(self) -> str:
        """The same for whoever makes sure later that this attempt is charged."""
        return reservation_id(self._account, self._name, self._attempt)

    @property
    def body_print(self) -> str:
        return self._body.hexdigest()

    def saw(self, data: bytes) -> None:
        """A piece of the request's body."""
        self._body.update(data)

    async def answered(self, answer: StoredAnswer) -> None:
        self.told = True
        try:
            await self._rows.answered(self._account, self._name, self._attempt, answer)
        except StoreError as failure:
            log.warning("an answer could not be kept for repeats: %s", failure)

    async def give_up(self) -> None:
        """A repeat is to be carried out anew."""
        if self.told or self.in_doubt:
            return
        self.told = True
        try:
            await self._rows.give_up(self._account, self._name, self._attempt)
        except StoreError as failure:
            log.warning("a claim could not be given up: %s", failure)

    async def keep(self, pending_ms: int) -> None:
        try:
            await self._rows.keep(self._account, self._name, self._attempt, pending_ms=pending_ms)
        except StoreError as failure:
            log.warning("a claim could not be kept: %s", failure)


def reservation_id(account: str, name: str, attempt: int) -> str:
    digest = hashlib.sha256(f"{account}\n{name}".encode()).hexdigest()
    return f"named-{digest[:32]}-{attempt}"
