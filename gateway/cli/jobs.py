"""`quota-gateway job …`"""

from typing import Annotated

import typer

from gateway.admin import job_commands as commands
from gateway.admin.job_views import JobList, JobSettledView, JobView
from gateway.admin.record import operator
from gateway.catalog.sizes import duration_text
from gateway.cli.pages import NONE, held
from gateway.cli.printing import Page, Sheet, tell
from gateway.cli.session import AccountId, Config, Json, pairs, run, told

verbs = typer.Typer(no_args_is_help=True)


@verbs.command(name="list")
def list_jobs(
    account: Annotated[
        str | None,
        typer.Argument(metavar="[ACCOUNT]", help="With --stuck, else all.", show_default=False),
    ] = None,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only those that will not end by themselves.")
    ] = False,
    count: Annotated[int, typer.Option(help="How many at most.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """List jobs, newest first: how they are, and what they hold or were charged."""
    view = run(
        config, json, lambda desk: commands.list_jobs(desk, account, stuck=stuck, count=count)
    )
    tell(view, _page(view, stuck=stuck), as_json=json)


@verbs.command()
def settle(
    account: AccountId,
    job: Annotated[str, typer.Argument(metavar="ID", help="The upstream's, or the reservation's.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    actual: Annotated[
        list[str] | None,
        typer.Option(
            "--actual", metavar="METER=AMOUNT", help="What it used; else what it had reserved."
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Charge a job as completed, when nobody will tell of its end any more."""
    with told(json):
        amounts = pairs(actual)
    view = run(
        config,
        json,
        lambda desk: commands.settle(desk, account, job, amounts, operator(reason)),
    )
    tell(view, _settled(view), as_json=json)


def _page(view: JobList, *, stuck: bool) -> Page:
    return (
        Sheet(
            (
                "account",
                "job",
                "reservation",
                "rule",
                "state",
                "opened at",
                "age",
                "lease end",
                "lines",
            ),
            tuple(_row(job) for job in view.jobs),
            "no job is stuck" if stuck else "no jobs",
        ),
    )


def _row(job: JobView) -> tuple[str, ...]:
    state = job.state + (" late" if job.late else "") + (" stuck" if job.stuck else "")
    return (
        job.account,
        job.id or NONE,
        job.reservation,
        job.rule,
        state,
        job.opened_at,
        duration_text(job.age_s * 1_000),
        job.lease_end,
        held(job.lines),
    )


def _settled(view: JobSettledView) -> Page:
    late = " late" if view.late else ""
    over = f"; over the limit: {held(view.overage)}" if view.overage else ""
    return (
        f"charged{late} for {view.job.id or view.job.reservation}: {held(view.job.lines)}{over}",
    )
