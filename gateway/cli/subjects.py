"""`quota-gateway subject …`"""

from typing import Annotated

import typer

from gateway.admin import subject_commands as commands
from gateway.admin.subject_commands import SubjectDeleted, SubjectList, SubjectStanding, SubjectView
from gateway.cli.pages import NONE, quotas_sheet
from gateway.cli.printing import Page, Sheet, tell
from gateway.cli.session import AccountId, Config, Json, run, texts, told

verbs = typer.Typer(no_args_is_help=True)

Kind = Annotated[str, typer.Argument(metavar="KIND", help="Such as creator; routes name it.")]
SubjectId = Annotated[str, typer.Argument(metavar="ID")]


@verbs.command("set")
def set_facts(
    account: AccountId,
    kind: Kind,
    subject: SubjectId,
    facts: Annotated[
        list[str],
        typer.Argument(
            metavar="FACT=VALUE...", help="name=Ann, archived=true; an empty value takes it back."
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Say what a part of an account is called, and the like; it need not have any usage yet."""
    with told(json):
        said = texts(facts)
    _tell(run(config, json, lambda d: commands.set_facts(d, account, kind, subject, said)), json)


@verbs.command()
def show(
    account: AccountId,
    kind: Kind,
    subject: SubjectId,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what is known of a subject, and how it stands."""
    _tell(run(config, json, lambda desk: commands.show(desk, account, kind, subject)), json)


@verbs.command("list")
def list_subjects(
    account: AccountId,
    kind: Kind,
    cursor: Annotated[str | None, typer.Option(help="The id after which to go on.")] = None,
    count: Annotated[int, typer.Option(help="Subjects per page.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """List whom an account's usage was ever attributed to, in the order of their ids."""
    view: SubjectList = run(
        config, json, lambda desk: commands.list_page(desk, account, kind, cursor, count)
    )
    sheet = Sheet(
        ("kind", "id", "facts"), tuple(map(_row, view.subjects)), f"no subjects of kind {kind}"
    )
    page: Page = (sheet,) if view.cursor is None else (sheet, f"more: --cursor {view.cursor}")
    tell(view, page, as_json=json)


@verbs.command()
def delete(
    account: AccountId,
    kind: Kind,
    subject: SubjectId,
    config: Config = None,
    json: Json = False,
) -> None:
    """Forget what is known of a subject; what it has used stays on the books."""
    view: SubjectDeleted = run(
        config, json, lambda desk: commands.delete(desk, account, kind, subject)
    )
    stays = "; it has usage and stays listed" if view.listed else ""
    tell(view, (f"{view.account}: {kind} {subject} is forgotten{stays}",), as_json=json)


def _tell(view: SubjectStanding, as_json: bool) -> None:
    known = Sheet(("kind", "id", "facts"), (_row(view.subject),))
    tell(view, (known, quotas_sheet(view.quotas)), as_json=as_json)


def _row(subject: SubjectView) -> tuple[str, ...]:
    facts = (
        f"{name}={str(fact).lower() if isinstance(fact, bool) else fact}"
        for name, fact in subject.facts.items()
    )
    return subject.kind, subject.id, " ".join(facts) or NONE
