"""Commands on accounts: create, show, list, set-plan, set-limit, aliases, suspend, resume."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.admin.command import CommandError, Desk, ExitCode, misused, no_account, readable
from gateway.admin.views import AccountList, AccountView, account_view
from gateway.catalog.catalog import Catalog
from gateway.catalog.sizes import Unreadable, amount, shown
from gateway.records.accounts import (
    Account,
    Exists,
    NewAccount,
    Taken,
    is_account_id,
    is_alias,
)

_SUBSCRIPTION = re.compile(r"(?:sub|cus)_[A-Za-z0-9_]{1,120}", re.ASCII)
NO_SUBSCRIPTION = "none"
PLANS_LIMIT = "plan"
UNLIMITED = "unlimited"
LIST_MAX = 1_000


@dataclass(frozen=True, slots=True)
class AccountOrder:
    """`plan` None: the catalog's default. `limits` are meter → text such as `10GiB`."""

    id: str
    plan: str | None = None
    name: str = ""
    anchor_ms: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


async def create(desk: Desk, order: AccountOrder) -> AccountView:
    """Opens the account and its books; repeating it with the same content is harmless."""
    if not is_account_id(order.id):
        raise misused(f"{shown(order.id)} is no account id: 1 to 64 of A-Z a-z 0-9 . _ -")
    plan = desk.catalog.default_plan if order.plan is None else order.plan
    _known_plan(desk.catalog, plan)
    limits = {meter: limit_of(desk.catalog, meter, text) for meter, text in order.limits.items()}
    new = NewAccount(order.id, plan, readable(order.name), order.anchor_ms, limits)
    match await desk.accounts.create(new):
        case Exists(account):
            said = f"account {account.id} exists on plan {account.plan} with other content"
            if account.id != order.id:
                said = f"{order.id} is an alias of account {account.id}"
            raise CommandError("account-exists", said, ExitCode.REFUSED)
        case Account() as account:
            await desk.ledger.open_books(account.id)
            return account_view(account)


async def show(desk: Desk, account_id: str) -> AccountView:
    return account_view(await desk.account(account_id))


async def list_page(desk: Desk, cursor: str | None = None, count: int = 100) -> AccountList:
    if not 1 <= count <= LIST_MAX:
        raise misused(f"a page has 1 to {LIST_MAX} accounts")
    page = await desk.accounts.list(cursor, count)
    if page is None:
        raise misused(f"{shown(cursor)} is no cursor")
    return AccountList(tuple(account_view(account) for account in page.accounts), page.cursor)


async def set_plan(desk: Desk, account_id: str, plan: str) -> AccountView:
    _known_plan(desk.catalog, plan)
    return _changed(account_id, await desk.accounts.set_plan(account_id, plan, desk.clock.now_ms()))


async def set_limit(desk: Desk, account_id: str, meter: str, text: str) -> AccountView:
    """`text` is an amount, `unlimited`, or `plan` for the plan's own limit again."""
    if text == PLANS_LIMIT:
        return _changed(account_id, await desk.accounts.clear_limit(account_id, meter))
    limit = limit_of(desk.catalog, meter, text)
    return _changed(account_id, await desk.accounts.set_limit(account_id, meter, limit))


async def suspend(desk: Desk, account_id: str, *, cut: bool = False) -> AccountView:
    """New requests are refused; `cut`: running ones are aborted and released as well."""
    return _changed(account_id, await desk.accounts.suspend(account_id, cut=cut))


async def resume(desk: Desk, account_id: str) -> AccountView:
    return _changed(account_id, await desk.accounts.resume(account_id))


async def add_alias(desk: Desk, account_id: str, alias: str) -> AccountView:
    """Paths may call the account by this name, too; repeating it is harmless."""
    if not is_alias(alias):
        raise misused(f"{shown(alias)} is no alias: 1 to 64 visible characters without a slash")
    account = await desk.accounts.add_alias(account_id, alias)
    if isinstance(account, Taken):
        raise CommandError("alias-taken", f"{shown(alias)} names another account", ExitCode.REFUSED)
    return _changed(account_id, account)


async def remove_alias(desk: Desk, account_id: str, alias: str) -> AccountView:
    return _changed(account_id, await desk.accounts.remove_alias(account_id, alias))


async def set_subscription(desk: Desk, account_id: str, subscription: str) -> AccountView:
    """`subscription` is one of Stripe's, or a customer's id, or `none`."""
    if subscription != NO_SUBSCRIPTION and not _SUBSCRIPTION.fullmatch(subscription):
        raise misused(f"{shown(subscription)} is no id such as sub_1Abc or cus_1Abc, or none")
    name = "" if subscription == NO_SUBSCRIPTION else subscription
    return _changed(account_id, await desk.accounts.set_subscription(account_id, name))


def limit_of(catalog: Catalog, meter: str, text: str) -> int | None:
    """A limit as an operator writes it; None for `unlimited`."""
    return None if text == UNLIMITED else amount_of(catalog, meter, text)


def amount_of(catalog: Catalog, meter: str, text: str) -> int:
    known = catalog.meters.get(meter)
    if known is None:
        there = ", ".join(sorted(catalog.meters)) or "none"
        raise CommandError(
            "unknown-meter",
            f"{shown(meter)} is not a meter; there are: {there}",
            ExitCode.NOT_FOUND,
        )
    read = amount(text, known.unit)
    if isinstance(read, Unreadable):
        raise misused(f"{meter}: {read.problem}; {read.remedy}")
    return read


def _known_plan(catalog: Catalog, plan: str) -> None:
    if not catalog.plans:
        raise misused("there are no plans: name a configuration by --config or GATEWAY_CONFIG")
    if plan not in catalog.plans:
        there = ", ".join(sorted(catalog.plans)) or "none"
        raise CommandError(
            "unknown-plan", f"{shown(plan)} is not a plan; there are: {there}", ExitCode.NOT_FOUND
        )


def _changed(account_id: str, account: Account | None) -> AccountView:
    if account is None:
        raise no_account(account_id)
    return account_view(account)
