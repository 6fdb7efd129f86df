"""`quota-gateway serve|demo|check|schema|version`

What only serve and demo need is imported by them: the other verbs start faster without it.
"""

import asyncio
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import settings
from gateway.admin.command import ExitCode
from gateway.cli.printing import tell, write_json
from gateway.cli.session import Config, Json, told
from gateway.errors import ConfigError

verbs = typer.Typer()

Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=settings.WORKERS_MAX, help="Processes that serve; default: one for each core."
    ),
]


@dataclass(frozen=True, slots=True)
class Checked:
    ok: bool
    file: str
    problems: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    python: str


@verbs.command()
def serve(config: Config = None, workers: Workers = None, json: Json = False) -> None:
    """Run the gateway until SIGTERM; SIGHUP reads the configuration again."""
    with told(json):
        configuration = settings.read(config)
        from gateway.workers.running import run  # noqa: PLC0415

        if workers is not None:
            chosen = configuration.settings.model_copy(update={"workers": workers})
            configuration = replace(configuration, settings=chosen)
        run(configuration, config)


@verbs.command()
def demo() -> None:
    """Run everything on this machine, with an account and a key to try it."""
    from rich.console import Console  # noqa: PLC0415

    from gateway.demo import run  # noqa: PLC0415

    with told(False):
        asyncio.run(run(Console(soft_wrap=True)))


@verbs.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration to check.")],
    json: Json = False,
) -> None:
    """Tell everything that is wrong with a configuration, each with its place and remedy."""
    try:
        settings.read(file)
    except ConfigError as wrong:
        view = Checked(False, str(file), [asdict(problem) for problem in wrong.problems])
        count = len(wrong.problems)
        lines = [str(problem) for problem in wrong.problems]
        tell(view, [*lines, f"{count} problem{'s' if count > 1 else ''}"], as_json=json)
        raise typer.Exit(ExitCode.USAGE) from None
    tell(Checked(True, str(file), []), [f"{file} is right"], as_json=json)


@verbs.command()
def schema() -> None:
    """Print the JSON Schema of a configuration file, for editors."""
    write_json(settings.file_schema())


@verbs.command()
def version(json: Json = False) -> None:
    """Print the version."""
    view = Version(installed("quota-gateway"), sys.version.split()[0])
    tell(view, [f"quota-gateway {view.version} (Python {view.python})"], as_json=json)
