"""`quota-gateway events …`"""

from typing import Annotated

import typer

from gateway.admin import event_commands as commands
from gateway.admin.event_commands import EventsView
from gateway.admin.record import operator
from gateway.cli.printing import Page, Sheet, tell
from gateway.cli.session import AccountId, Config, Json, run

verbs = typer.Typer(no_args_is_help=True)


@verbs.command()
def show(account: AccountId, config: Config = None, json: Json = False) -> None:
    """Show how many events of usage of an account wait to be delivered."""
    view = run(config, json, lambda desk: commands.show(desk, account))
    tell(view, _page(view), as_json=json)


@verbs.command()
def replay(
    account: AccountId,
    since: Annotated[str, typer.Option(metavar="DATE", help="What was left at or after it.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Deliver an account's events of usage again."""
    hand = operator(reason)
    view = run(config, json, lambda desk: commands.replay(desk, account, since, hand))
    tell(view, _page(view), as_json=json)


def _page(view: EventsView) -> Page:
    row = (view.account, view.cursor, str(view.waiting), str(view.kept))
    return (Sheet(("account", "delivered up to", "waiting", "kept"), (row,)),)
