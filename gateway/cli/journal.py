"""`quota-gateway journal …`: settlements that wait in files, and replaying them by hand.

Any gateway on the same directory takes over what a dead one left. By hand it is done for a
directory that none serves any more: that of a machine that was lost, brought to another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from gateway import settings
from gateway.admin.command import CommandError, Desk, ExitCode
from gateway.admin.record import Hand, on_record, operator
from gateway.admission.terms import terms_of
from gateway.cli.pages import NONE, held
from gateway.cli.printing import Page, Sheet, tell
from gateway.cli.session import Config, Json, run, told
from gateway.ledger.frame import Terms
from gateway.proxy.journal import Journal, Left, Settlement, look
from gateway.proxy.settler import Settler
from gateway.records.assets import Owners
from gateway.telemetry.metrics import Metrics

verbs = typer.Typer(no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="The directory of journals; else `journal` in the state directory."),
]


@dataclass(frozen=True, slots=True)
class SettlementView:
    """`file` is the journal it is in; `alive`: a gateway is about to bring it to its end."""

    file: str
    alive: bool
    kind: str
    account: str
    id: str
    amounts: dict[str, int]
    asset: str | None


@dataclass(frozen=True, slots=True)
class JournalView:
    directory: str
    settlements: tuple[SettlementView, ...]


@dataclass(frozen=True, slots=True)
class ReplayedView:
    """`left`: settlements that are still in the directory; the log says why."""

    directory: str
    replayed: int
    left: int


@verbs.command(name="list")
def list_left(directory: Directory = None, config: Config = None, json: Json = False) -> None:
    """List settlements that the store has not taken yet."""
    with told(json):
        where = _directory(directory, config)
        view = JournalView(str(where), tuple(_views(look(where))))
    tell(view, _page(view), as_json=json)


@verbs.command()
def replay(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    directory: Directory = None,
    wait: Annotated[float, typer.Option(help="Seconds to try for at most.")] = 30.0,
    config: Config = None,
    json: Json = False,
) -> None:
    """Bring the settlements of dead gateways to their end; those of living ones are left alone."""
    with told(json):
        where = _directory(directory, config)
    hand = operator(reason)
    view = run(config, json, lambda desk: _replay(desk, where, hand, wait))
    lines = [f"replayed {view.replayed} settlements"]
    tell(view, lines if not view.left else [*lines, f"{view.left} are left"], as_json=json)
    if view.left:
        raise typer.Exit(ExitCode.FAILED)


async def _replay(desk: Desk, directory: Path, hand: Hand, wait_s: float) -> ReplayedView:
    async def terms(settlement: Settlement) -> Terms | None:
        account = await desk.accounts.get(settlement.account)
        if account is None:
            return None
        key_id = settlement.key_id
        key = None if key_id is None else await desk.keys.get(account.id, key_id)
        return terms_of(account, desk.catalog, key, settlement.subject)

    count = sum(len(left.settlements) for left in look(directory) if not left.alive)
    owners, metrics = Owners(desk.accounts.client), Metrics(CollectorRegistry())
    settler = Settler(desk.ledger, owners, metrics, Journal(directory), terms)
    async with on_record(desk, hand, "journal replay", "", str(directory), settlements=count):
        await settler.start()
        left = await settler.close(wait_s)
    return ReplayedView(str(directory), count - left, left)


def _directory(given: Path | None, config: Path | None) -> Path:
    directory = given or settings.read(config).settings.state_dir / "journal"
    if not directory.is_dir():
        raise CommandError("no-journal", f"there is no directory {directory}", ExitCode.NOT_FOUND)
    return directory


def _views(found: list[Left]) -> list[SettlementView]:
    return [
        SettlementView(
            left.path.name,
            left.alive,
            each.kind.value,
            each.account,
            each.id,
            dict(each.amounts or {}),
            each.asset,
        )
        for left in found
        for each in left.settlements
    ]


def _page(view: JournalView) -> Page:
    return (
        Sheet(
            ("file", "gateway", "what", "account", "id", "amounts", "asset"),
            tuple(
                (
                    each.file,
                    "lives" if each.alive else "is gone",
                    each.kind,
                    each.account,
                    each.id or NONE,
                    held(each.amounts),
                    each.asset or NONE,
                )
                for each in view.settlements
            ),
            "nothing waits",
        ),
    )
