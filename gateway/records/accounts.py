"""Accounts: who is limited and charged, by which plan, and with which limits of their own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.catalog.periods import PeriodKind, PeriodRule, period_at
from gateway.records.failures import asked
from gateway.records.invalidation import Changed, packed
from gateway.records.rows import RedisClient, Row, Rows, text

INDEX = "qg:accounts"
"""Sorted set of account ids by the time they were created."""

ALIASES = "qg:aliases"
"""Hash: alias → the id of the account that it names."""

_ALIAS = re.compile(r"[!-.0-~]{1,64}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LIMIT = "limit."
_ALIASES = "aliases"
_LIFTED = "none"


class AccountStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Account:
    """`limits` are the account's own, over those of its plan; None lifts the plan's limit.

    `anchor_ms` is the instant the account's billing months count from.
    """

    id: str
    plan: str
    name: str
    status: AccountStatus
    created_ms: int
    anchor_ms: int
    limits: Mapping[str, int | None]
    aliases: tuple[str, ...] = ()
    """What vendors' paths may call it besides its id; each is one account's only."""

    subscription: str = ""
    """Of the billing provider, by whose periods it is billed."""
    anchored_ms: int = 0
    """When `anchor_ms` was last changed: months that began before were not counted by it."""
    planned_ms: int = 0
    """The same of `plan`, whose periods may be others."""

    def anchored_to(self, start_ms: int) -> bool:
        """Its billing months begin at this instant, one of them or all."""
        months = PeriodRule(PeriodKind.ANCHOR)
        return period_at(months, start_ms, self.anchor_ms).start_ms == start_ms

    def answers_to(self, name: str) -> bool:
        return name == self.id or name in self.aliases

    @property
    def suspended(self) -> bool:
        return self.status is AccountStatus.SUSPENDED


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What is asked for. `anchor_ms` None: the billing months count from the creation."""

    id: str
    plan: str
    name: str = ""
    anchor_ms: int | None = None
    limits: Mapping[str, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The id is taken: by an account with other content, or as an alias of this one."""

    account: Account


@dataclass(frozen=True, slots=True)
class Taken:
    """The alias names another account, or is another's id."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """In order of creation. `cursor` goes into the next call; None: this is the last page."""

    accounts: tuple[Account, ...]
    cursor: str | None


class Accounts:
    """The rows of accounts. Ids that break the rule are simply unknown; they never reach Redis."""

    __slots__ = ("_rows", "client")

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self._rows = Rows(client)

    async def create(self, new: NewAccount) -> Account | Exists:
        """The account; also when it stands there already with the content that is asked for.

        So a creation that broke off half way is finished by asking again. The ledger's books are
        opened by the caller, after this.
        """
        if not is_account_id(new.id):
            raise ValueError(f"not an account id: {new.id!r}")
        taken = await self.find(new.id)
        if taken is not None and taken.id != new.id:
            return Exists(taken)
        fields = {"plan": new.plan, "name": new.name, "status": AccountStatus.ACTIVE.value}
        if new.anchor_ms is not None:
            fields["anchor_ms"] = str(new.anchor_ms)
        for meter, limit in (new.limits or {}).items():
            fields[_LIMIT + meter] = _limit_text(limit)
        _, row = await self._rows.create(account_key(new.id), fields, packed(Changed(new.id)))
        account = _account(new.id, row)
        if not _same(account, new):
            return Exists(account)
        score = {account.id: account.created_ms}
        await asked(self.client.zadd(INDEX, score, nx=True), writes=True)
        return account

    async def get(self, account_id: str) -> Account | None:
        if not is_account_id(account_id):
            return None
        row = await self._rows.read(account_key(account_id))
        return _account(account_id, row) if row else None

    async def find(self, name: str) -> Account | None:
        """The account of that id, else the one that has this alias."""
        account = await self.get(name)
        if account is not None or not is_alias(name):
            return account
        owner: Any = await asked(self.client.hget(ALIASES, name))
        account = None if owner is None else await self.get(text(owner))
        # The row says which aliases it has: a name that is on its way to or from it is none.
        return account if account is not None and account.answers_to(name) else None

    async def add_alias(self, account_id: str, alias: str) -> Account | Taken | None:
        """Repeating it is harmless."""
        if not is_alias(alias):
            raise ValueError(f"not an alias: {alias!r}")
        account = await self.get(account_id)
        if account is None or account.answers_to(alias):
            return account
        if await self.get(alias) is not None:
            return Taken()
        await asked(self.client.hsetnx(ALIASES, alias, account_id), writes=True)
        owner: Any = await asked(self.client.hget(ALIASES, alias))
        if owner is None or text(owner) != account_id:
            return Taken()
        return await self._change(account_id, {_ALIASES: " ".join((*account.aliases, alias))})

    async def remove_alias(self, account_id: str, alias: str) -> Account | None:
        """The name is then free for another account."""
        account = await self.get(account_id)
        if account is None or alias not in account.aliases:
            return account
        left = " ".join(name for name in account.aliases if name != alias)
        changed = await self._change(account_id, {_ALIASES: left})
        await asked(self.client.hdel(ALIASES, alias), writes=True)
        return changed

    async def list(self, cursor: str | None = None, count: int = 100) -> AccountPage | None:
        """A page after `cursor` (None: the first); None if there is no such cursor."""
        start = 0
        if cursor is not None:
            rank: Any = await asked(self.client.zrank(INDEX, cursor))
            if rank is None:
                return None
            start = int(rank) + 1
        found: Sequence[Any] = await asked(self.client.zrange(INDEX, start, start + count))
        ids = [text(member) for member in found]
        rows = [await self.get(account_id) for account_id in ids[:count]]
        more = len(ids) > count
        return AccountPage(
            tuple(account for account in rows if account is not None),
            ids[count - 1] if more else None,
        )

    async def set_plan(self, account_id: str, plan: str, now_ms: int) -> Account | None:
        """The account after the change; None if there is none. So for all changes."""
        return await self._change(account_id, {"plan": plan, "planned_ms": str(now_ms)})

    async def set_limit(self, account_id: str, meter: str, limit: int | None) -> Account | None:
        """The account's own limit on a meter; None lifts the plan's."""
        return await self._change(account_id, {_LIMIT + meter: _limit_text(limit)})

    async def clear_limit(self, account_id: str, meter: str) -> Account | None:
        """Back to the plan's limit."""
        return await self._change(account_id, {_LIMIT + meter: ""})

    async def set_subscription(self, account_id: str, subscription: str) -> Account | None:
        """By which subscription it is billed; by none if that is empty."""
        return await self._change(account_id, {"subscription": subscription})

    async def set_anchor(self, account_id: str, anchor_ms: int, now_ms: int) -> Account | None:
        """From which instant its billing months count, from now on."""
        fields = {"anchor_ms": str(anchor_ms), "anchored_ms": str(now_ms)}
        return await self._change(account_id, fields)

    async def suspend(self, account_id: str, *, cut: bool = False) -> Account | None:
        """No new requests; `cut`: those that run are aborted and released as well."""
        return await self._change(account_id, {"status": AccountStatus.SUSPENDED.value}, cut=cut)

    async def resume(self, account_id: str) -> Account | None:
        return await self._change(account_id, {"status": AccountStatus.ACTIVE.value})

    async def _change(
        self, account_id: str, fields: Mapping[str, str], *, cut: bool = False
    ) -> Account | None:
        if not is_account_id(account_id):
            return None
        message = packed(Changed(account_id, cut=cut))
        row = await self._rows.change(account_key(account_id), fields, message)
        return _account(account_id, row) if row else None


def is_account_id(candidate: str) -> bool:
    """Account ids stand in Redis key names inside a hash tag: nothing else may be in them."""
    return _ID.fullmatch(candidate) is not None


def is_alias(candidate: str) -> bool:
    """One segment of a path: visible ASCII without a slash."""
    return _ALIAS.fullmatch(candidate) is not None


def account_key(account_id: str) -> str:
    return f"qg:{{{account_id}}}:account"


def _limit_text(limit: int | None) -> str:
    return _LIFTED if limit is None else str(limit)


def _account(account_id: str, row: Row) -> Account:
    created_ms = int(row["created_ms"])
    return Account(
        id=account_id,
        plan=row["plan"],
        name=row["name"],
        status=AccountStatus(row["status"]),
        created_ms=created_ms,
        anchor_ms=int(row.get("anchor_ms", created_ms)),
        limits={
            field.removeprefix(_LIMIT): None if value == _LIFTED else int(value)
            for field, value in row.items()
            if field.startswith(_LIMIT)
        },
        aliases=tuple(row.get(_ALIASES, "").split()),
        subscription=row.get("subscription", ""),
        anchored_ms=int(row.get("anchored_ms", 0)),
        planned_ms=int(row.get("planned_ms", 0)),
    )


def _same(account: Account, new: NewAccount) -> bool:
    return (
        account.plan == new.plan
        and account.name == new.name
        and account.limits == (new.limits or {})
        and new.anchor_ms in (None, account.anchor_ms)
    )
