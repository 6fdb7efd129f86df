"""A session: one command, from its options to its exit code.

Whatever goes wrong is told once, in the form that was asked for, and becomes an exit code here.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from getpass import getpass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway import settings
from gateway.admin.command import CommandError, Desk, ExitCode, misused
from gateway.catalog.sizes import Unreadable, duration_ms
from gateway.cli.printing import tell_error
from gateway.clock import StoreClock
from gateway.embedded.opening import open_store
from gateway.errors import ConfigError, StoreError
from gateway.ledger.ledger import Ledger
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys

T = TypeVar("T")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Configuration; GATEWAY_CONFIG names one as well."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="METER=AMOUNT", help="A limit of its own; may be repeated."),
]
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
Now = Annotated[
    bool, typer.Option("--now", help="Abort and release the requests that are running, too.")
]


def run(config: Path | None, as_json: bool, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do `work` at an operator's desk. Ends the process where it cannot be done."""

    async def at_desk() -> T:
        async with desk(config) as opened:
            return await work(opened)

    with told(as_json):
        return asyncio.run(at_desk())


@asynccontextmanager
async def desk(config: Path | None) -> AsyncIterator[Desk]:
    """Raises ConfigError and StoreError."""
    configuration = settings.read(config)
    chosen = configuration.settings
    opened = await open_store(
        chosen.redis.get_secret_value(), chosen.state_dir, op_timeout_s=chosen.store_timeout_s
    )
    try:
        store, clock = opened.store, StoreClock()
        yield Desk(
            Accounts(store.client),
            ApiKeys(store.client),
            Ledger(store.admission, store.settlement, clock),
            configuration.catalog,
            clock,
        )
    finally:
        await opened.close()


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Failures as messages and exit codes."""
    try:
        yield
    except CommandError as no:
        tell_error(no.code, str(no), as_json=as_json)
        raise typer.Exit(no.exit_code) from None
    except ConfigError as wrong:
        problems = [asdict(problem) for problem in wrong.problems]
        message = "the configuration is wrong:\n  " + "\n  ".join(str(wrong).splitlines())
        tell_error("configuration", message, as_json=as_json, more={"problems": problems})
        raise typer.Exit(ExitCode.USAGE) from None
    except StoreError as failure:
        tell_error(failure.error.code, f"{failure.error.title}: {failure}", as_json=as_json)
        raise typer.Exit(ExitCode.STORE) from None
    except OSError as failure:
        tell_error("failed", str(failure), as_json=as_json)
        raise typer.Exit(ExitCode.FAILED) from None


def pairs(written: list[str] | None) -> dict[str, str]:
    """`METER=AMOUNT` options by meter."""
    found: dict[str, str] = {}
    for item in written or ():
        meter, equals, amount = item.partition("=")
        if not (meter and equals and amount):
            raise misused(f"{item!r} is not METER=AMOUNT")
        if meter in found:
            raise misused(f"{meter} is given twice")
        found[meter] = amount
    return found


def texts(written: list[str]) -> dict[str, str]:
    """`NAME=TEXT` arguments by name; the text may be empty."""
    found: dict[str, str] = {}
    for item in written:
        name, equals, text = item.partition("=")
        if not (name and equals):
            raise misused(f"{item!r} is not NAME=TEXT")
        if name in found:
            raise misused(f"{name} is given twice")
        found[name] = text
    return found


def milliseconds(written: str) -> int:
    read = duration_ms(written)
    if isinstance(read, Unreadable):
        raise misused(f"{read.problem}; {read.remedy}")
    return read


def secret_from_stdin() -> str:
    """One line; not echoed when someone types it. Process arguments are no place for secrets."""
    line = getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline()
    secret = line.strip()
    if not secret:
        raise misused("give the key as one line on standard input")
    return secret
