"""`quota-gateway usage …` and `quota-gateway ledger …`"""

from typing import Annotated

import typer

from gateway.admin import ledger_commands as commands
from gateway.admin import reservation_commands
from gateway.admin.command import ExitCode, misused
from gateway.admin.record import operator
from gateway.admin.views import AcceptedView, AuditView
from gateway.cli.pages import (
    accepted_page,
    adjusted_page,
    audit_log_page,
    audit_page,
    doubts_page,
    expired_page,
    usage_page,
)
from gateway.cli.printing import tell
from gateway.cli.session import AccountId, Config, Json, pairs, run, told

verbs = typer.Typer(no_args_is_help=True)
usage_verbs = typer.Typer()


@usage_verbs.command()
def usage(account: AccountId, config: Config = None, json: Json = False) -> None:
    """Show how an account stands on every meter, and what holds its space."""
    view = run(config, json, lambda desk: commands.usage(desk, account))
    tell(view, usage_page(view), as_json=json)


@verbs.command()
def audit(
    account: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="Or --all.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every account.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make books that disagree with themselves agree.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why they are repaired; kept in the audit log.")] = (
        "the books disagreed with themselves"
    ),
    config: Config = None,
    json: Json = False,
) -> None:
    """Prove that the books keep their invariants; exit code 6 if they do not."""
    with told(json):
        if every is (account is not None):
            raise misused("name one ACCOUNT, or give --all")
    hand = operator(reason) if repair else None
    view: AuditView = run(config, json, lambda desk: commands.audit(desk, account, repair=hand))
    tell(view, audit_page(view), as_json=json)
    if view.findings:
        raise typer.Exit(ExitCode.DRIFT)


@verbs.command()
def adjust(
    account: AccountId,
    changes: Annotated[
        list[str], typer.Argument(metavar="METER=±AMOUNT...", help="storage_bytes=-10MiB")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    adjustment: Annotated[
        str | None, typer.Option("--id", help="Repeating an id within a day moves nothing.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Correct what an account has used, without a reservation."""
    with told(json):
        wanted = pairs(changes)
    view = run(
        config,
        json,
        lambda desk: commands.adjust(
            desk, account, wanted, operator(reason), adjustment_id=adjustment
        ),
    )
    tell(view, adjusted_page(view), as_json=json)


@verbs.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = (
        "the store was lost or restored"
    ),
    config: Config = None,
    json: Json = False,
) -> None:
    """Take the store as it is, after a loss or a restore; admission opens again."""
    hand = operator(reason)
    view: AcceptedView = run(config, json, lambda desk: commands.accept(desk, hand))
    tell(view, accepted_page(view), as_json=json)


@verbs.command()
def expire(account: AccountId, config: Config = None, json: Json = False) -> None:
    """End the account's leases that are due now, without waiting for a request."""
    view = run(config, json, lambda desk: commands.expire(desk, account))
    tell(view, expired_page(view), as_json=json)


@verbs.command(name="in-doubt")
def in_doubt(config: Config = None, json: Json = False) -> None:
    """List requests that were sent whole and never answered."""
    view = run(config, json, reservation_commands.in_doubt)
    tell(view, doubts_page(view), as_json=json)


@verbs.command()
def log(
    count: Annotated[int, typer.Option(help="How many at most.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what was done by hand, newest first: by whom and why."""
    view = run(config, json, lambda desk: reservation_commands.log(desk, count))
    tell(view, audit_log_page(view), as_json=json)
