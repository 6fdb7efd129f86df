"""`quota-gateway reservation …`"""

from typing import Annotated

import typer

from gateway.admin import reservation_commands as commands
from gateway.admin.record import operator
from gateway.cli.pages import released_page, reservations_page
from gateway.cli.printing import tell
from gateway.cli.session import AccountId, Config, Json, run

verbs = typer.Typer(no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]


@verbs.command(name="list")
def list_open(
    account: AccountId,
    count: Annotated[int, typer.Option(help="How many at most.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """List what is open: age, end of the lease, route, and what it holds."""
    view = run(config, json, lambda desk: commands.list_open(desk, account, count))
    tell(view, reservations_page(view), as_json=json)


@verbs.command()
def release(
    account: AccountId,
    reservation: Annotated[str, typer.Argument(metavar="ID", help="The reservation's id.")],
    reason: Reason,
    config: Config = None,
    json: Json = False,
) -> None:
    """Give back what a reservation holds."""
    hand = operator(reason)
    view = run(config, json, lambda desk: commands.release(desk, account, reservation, hand))
    tell(view, released_page(view), as_json=json)
