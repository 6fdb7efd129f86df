"""`quota-gateway serve|demo|check|schema|version`

What only serve and demo need is imported by them: the other verbs start faster without it.
"""

import asyncio
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import settings
from gateway.admin.command import ExitCode
from gateway.catalog.secrets import secrets_in
from gateway.cli.printing import tell, write_json
from gateway.cli.session import Config, Json, told
from gateway.embedded.opening import open_store
from gateway.errors import ConfigError
from gateway.settings import Configuration
from gateway.telemetry.logs import LogForm, Logs

verbs = typer.Typer()


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
def serve(config: Config = None, json: Json = False) -> None:
    """Run the gateway until SIGTERM; SIGHUP reads the configuration again."""
    import uvloop  # noqa: PLC0415

    with told(json):
        configuration = settings.read(config)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(configuration, config))


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


async def _serve(configuration: Configuration, path: Path | None) -> None:
    from gateway import app  # noqa: PLC0415

    chosen = configuration.settings
    logs = Logs(
        sys.stderr.buffer,
        LogForm(chosen.log_format),
        level=chosen.log_level.upper(),
        access=chosen.access_log,
        secrets=_secrets(configuration),
    )

    def read() -> Configuration:
        again = settings.read(path)
        logs.keep_out(_secrets(again))
        return again

    try:
        opened = await open_store(
            chosen.redis.get_secret_value(),
            chosen.state_dir,
            op_timeout_s=chosen.store_timeout_s,
            wait_replicas=chosen.store_replicas,
        )
        try:
            await app.serve(read, configuration, opened.store, logs.access)
        finally:
            await opened.close()
    finally:
        logs.close()


def _secrets(configuration: Configuration) -> tuple[str, ...]:
    """What must never be logged, whatever text it turns up in."""
    token = configuration.settings.admin_token
    known = [configuration.settings.redis.get_secret_value(), *secrets_in(configuration.catalog)]
    return tuple(known if token is None else [*known, token.get_secret_value()])
