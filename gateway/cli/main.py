"""The command line: every verb under one name, and the process's exit code."""

import sys

import typer

from gateway.admin.command import ExitCode
from gateway.cli import (
    accounts,
    events,
    jobs,
    journal,
    keys,
    ledger,
    reservations,
    service,
    subjects,
)
from gateway.cli.printing import tell_error

EXIT_CODES = """
Exit codes: 0 ok · 1 failed · 2 usage or configuration · 3 not found · 4 refused (a conflict) ·
5 store unavailable · 6 the audit found drift
"""

app = typer.Typer(
    name="quota-gateway",
    help="A reverse proxy that enforces storage quotas, and the commands to run it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verbs in (service.verbs, ledger.usage_verbs):
    app.registered_commands.extend(verbs.registered_commands)
app.add_typer(accounts.verbs, name="account", help="Accounts: who is limited and charged.")
app.add_typer(keys.verbs, name="key", help="API keys: the secrets that name an account.")
app.add_typer(
    subjects.verbs, name="subject", help="Subjects: whom an account's usage is attributed to."
)
app.add_typer(jobs.verbs, name="job", help="Jobs: work of upstreams that outlives its request.")
app.add_typer(
    reservations.verbs, name="reservation", help="Reservations: what is open, and ending it."
)
app.add_typer(journal.verbs, name="journal", help="Settlements that wait for the store in files.")
app.add_typer(events.verbs, name="events", help="Events of usage: what waits, and replaying it.")
app.add_typer(ledger.verbs, name="ledger", help="The ledger: audit, corrections, recovery.")

# Typer carries its own copy of click in some versions: the class is found by way of one it exports.
_Misuse: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def main() -> None:
    """The console entry. With `--json`, what was misused is told as JSON too."""
    if "--json" not in sys.argv:
        app()
        return
    try:
        sys.exit(app(standalone_mode=False))
    except _Misuse as misuse:
        tell_error("usage", misuse.format_message(), as_json=True)  # type: ignore[attr-defined]
        sys.exit(ExitCode.USAGE)
    except typer.Abort:
        sys.exit(ExitCode.FAILED)
