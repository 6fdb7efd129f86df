"""What every command works on, and how it says no.

Commands are shared by the command line and the API: they take plain values, return views, and
raise CommandError for what the operator got wrong. A store that fails raises StoreError.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import IntEnum

from gateway.catalog.catalog import Catalog
from gateway.clock import StoreClock
from gateway.ledger.ledger import Ledger
from gateway.records.accounts import Account, Accounts
from gateway.records.api_keys import ApiKeys

NAME_MAX = 200
PAGE = 1_000


class ExitCode(IntEnum):
    """What the process ends with; part of the contract with scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    STORE = 5
    DRIFT = 6


class CommandError(Exception):
    """The operator's no: a stable code, a sentence, and the exit code."""

    def __init__(self, code: str, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Desk:
    """An operator's desk: the rows, the ledger, and the catalog in force."""

    accounts: Accounts
    keys: ApiKeys
    ledger: Ledger
    catalog: Catalog
    clock: StoreClock = field(default_factory=StoreClock)

    async def account(self, account_id: str) -> Account:
        account = await self.accounts.get(account_id)
        if account is None:
            raise no_account(account_id)
        return account

    async def names(self, account_id: str | None) -> AsyncIterator[str]:
        """Of the one account, which must exist, or of all of them."""
        if account_id is not None:
            yield (await self.account(account_id)).id
            return
        cursor: str | None = None
        while True:
            page = await self.accounts.list(cursor, PAGE)
            assert page is not None, "accounts are never deleted, so a cursor stays one"
            for account in page.accounts:
                yield account.id
            cursor = page.cursor
            if cursor is None:
                return


def readable(name: str) -> str:
    """A name for people, which may be printed anywhere: no line breaks, no escape sequences."""
    if len(name) > NAME_MAX or not name.isprintable():
        raise misused(f"a name is printable text of {NAME_MAX} characters at most")
    return name


def no_account(account_id: str) -> CommandError:
    return CommandError("unknown-account", f"there is no account {account_id}", ExitCode.NOT_FOUND)


def misused(message: str) -> CommandError:
    return CommandError("usage", message, ExitCode.USAGE)
