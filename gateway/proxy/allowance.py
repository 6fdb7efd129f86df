"""Allowance: how much a plan lets through unreserved while the store cannot be asked.

Bounded per account and gateway, and charged as soon as the store is back; an account has its whole
allowance again once the store has answered for it.
"""

from gateway.catalog.plans import Plan

ACCOUNTS_MAX = 10_000


class Allowance:
    def __init__(self) -> None:
        self._spent: dict[str, int] = {}

    def take(self, account: str, plan: Plan, amount: int) -> bool:
        """True if `amount` bytes may pass; they are then spent."""
        most = plan.store_failure.open_bytes
        if most is None:
            return False
        spent = self._spent.get(account, 0)
        if spent + amount > most or (not spent and len(self._spent) >= ACCOUNTS_MAX):
            return False
        self._spent[account] = spent + amount
        return True

    def restore(self, account: str) -> None:
        """The store has answered for the account."""
        if self._spent:
            self._spent.pop(account, None)
