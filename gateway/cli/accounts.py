"""`quota-gateway account …`"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.admin import account_commands as commands
from gateway.admin.command import misused
from gateway.admin.views import AccountList, AccountView
from gateway.cli.pages import account_page, accounts_page
from gateway.cli.printing import tell
from gateway.cli.session import AccountId, Config, Json, Limits, Now, pairs, run, told

verbs = typer.Typer(no_args_is_help=True)

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="Of one account only.")]
Plan = Annotated[str, typer.Argument(metavar="PLAN", help="A plan of the configuration.")]


@verbs.command()
def create(  # noqa: PLR0913, PLR0917 - an argument for each option
    account: AccountId,
    plan: Annotated[str | None, typer.Option(help="Else the default plan.")] = None,
    name: Annotated[str, typer.Option(help="For people to read.")] = "",
    limit: Limits = None,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Billing months count from here, else from now."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Open an account; repeating the same command is harmless."""
    with told(json):
        order = commands.AccountOrder(account, plan, name, _instant_ms(anchor), pairs(limit))
    view = run(config, json, lambda desk: commands.create(desk, order))
    _tell(view, json)


@verbs.command()
def show(account: AccountId, config: Config = None, json: Json = False) -> None:
    """Show an account: plan, status, limits of its own."""
    _tell(run(config, json, lambda desk: commands.show(desk, account)), json)


@verbs.command("list")
def list_accounts(
    cursor: Annotated[str | None, typer.Option(help="The account after which to go on.")] = None,
    count: Annotated[int, typer.Option(help="Accounts per page.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """List accounts in the order of their creation."""
    view: AccountList = run(config, json, lambda desk: commands.list_page(desk, cursor, count))
    tell(view, accounts_page(view), as_json=json)


@verbs.command("set-plan")
def set_plan(account: AccountId, plan: Plan, config: Config = None, json: Json = False) -> None:
    """Move an account to another plan; it holds from the next request on."""
    _tell(run(config, json, lambda desk: commands.set_plan(desk, account, plan)), json)


@verbs.command("set-limit")
def set_limit(
    account: AccountId,
    meter: Annotated[str, typer.Argument(metavar="METER")],
    limit: Annotated[
        str,
        typer.Argument(
            metavar="LIMIT", help="10GiB, 1000, `unlimited`, or `plan` for the plan's own again."
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Give an account a limit of its own on one meter."""
    _tell(run(config, json, lambda desk: commands.set_limit(desk, account, meter, limit)), json)


@verbs.command("add-alias")
def add_alias(account: AccountId, alias: Alias, config: Config = None, json: Json = False) -> None:
    """Let paths call an account by another name, such as a vendor's id of it."""
    _tell(run(config, json, lambda desk: commands.add_alias(desk, account, alias)), json)


@verbs.command("remove-alias")
def remove_alias(
    account: AccountId, alias: Alias, config: Config = None, json: Json = False
) -> None:
    """Take a name from an account."""
    _tell(run(config, json, lambda desk: commands.remove_alias(desk, account, alias)), json)


@verbs.command("set-subscription")
def set_subscription(
    account: AccountId,
    subscription: Annotated[
        str,
        typer.Argument(metavar="ID", help="Stripe's sub_…, or the customer's cus_…; or none."),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Bill an account by the periods of a subscription."""
    _tell(
        run(config, json, lambda desk: commands.set_subscription(desk, account, subscription)), json
    )


@verbs.command()
def suspend(
    account: AccountId, now: Now = False, config: Config = None, json: Json = False
) -> None:
    """Refuse an account's requests, on every gateway, from the next one on."""
    _tell(run(config, json, lambda desk: commands.suspend(desk, account, cut=now)), json)


@verbs.command()
def resume(account: AccountId, config: Config = None, json: Json = False) -> None:
    """Take an account's requests again."""
    _tell(run(config, json, lambda desk: commands.resume(desk, account)), json)


def _tell(view: AccountView, as_json: bool) -> None:
    tell(view, account_page(view), as_json=as_json)


def _instant_ms(written: str | None) -> int | None:
    """`2026-01-31` or `2026-01-31T12:00:00+01:00`; UTC where no offset is given."""
    if written is None:
        return None
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise misused(f"{written!r} is no date such as 2026-01-31") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    milliseconds = round(instant.timestamp() * 1_000)
    if milliseconds < 0:
        raise misused("an anchor before 1970 is not supported")
    return milliseconds
