"""Demo: the whole product on one machine, with a small account to try it on.

A gateway with its own Redis, a small upstream that stores what it is sent, an account with 1 MiB of
storage and an API key; two curl commands, one that is accepted and one that is not. Everything
lives in a temporary directory and goes with it.
"""

import contextlib
import shlex
import socket
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from gateway.admin import account_commands
from gateway.admin.account_commands import AccountOrder
from gateway.admin.command import Desk
from gateway.admin.token import TOKEN_FILE
from gateway.app import Gateway
from gateway.clock import StoreClock
from gateway.embedded.file_upstream import FileUpstream
from gateway.embedded.opening import open_store
from gateway.ledger.ledger import Ledger
from gateway.ledger.store import Store
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.serving import serve
from gateway.settings import Configuration, read
from gateway.telemetry.logs import LogForm, Logs

ACCOUNT = "demo"
PORT, ADMIN_PORT = 8080, 8081
FITS_BYTES, TOO_BIG_BYTES = 400_000, 2_000_000

CONFIGURATION = """
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin_port}"
state_dir = {state_dir}
log_format = "console"
drain_timeout = "5s"

[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[meters.egress_bytes]
kind = "cumulative"
unit = "bytes"

[plans.demo]
limits = {{ storage_bytes = "1MiB", uploads = 100, egress_bytes = "1GiB" }}
periods = {{ uploads = "month", egress_bytes = "month" }}

[upstreams.files]
url = "unix:{upstream}"

[[routes]]
name = "upload"
methods = ["PUT", "POST"]
path = "/files/{{name...}}"
upstream = "files"
policy = "upload"
reserve = {{ storage_bytes = "body", uploads = 1 }}
asset = "files/{{name}}"

[[routes]]
name = "download"
methods = ["GET"]
path = "/files/{{name...}}"
upstream = "files"
policy = "download"
reserve = {{ egress_bytes = "response" }}
asset = "files/{{name}}"

[[routes]]
name = "delete"
methods = ["DELETE"]
path = "/files/{{name...}}"
upstream = "files"
policy = "delete"
asset = "files/{{name}}"
"""


async def run(console: Console) -> None:
    """Run until Ctrl-C; raises what opening the store or the listeners raises."""
    with tempfile.TemporaryDirectory(prefix="quota-gateway-demo-") as name:
        directory = Path(name)
        async with contextlib.AsyncExitStack() as stack:
            upstream = directory / "upstream.sock"
            await stack.enter_async_context(FileUpstream(directory / "stored", upstream))
            opened = await open_store("auto", directory, allow_ephemeral=True)
            stack.push_async_callback(opened.close)
            if opened.ephemeral:
                console.print(
                    "EPHEMERAL: no Redis server was found, so the books are kept in memory only",
                    style="bold red",
                )
            configuration = _configuration(directory, upstream)
            logs = Logs(sys.stderr.buffer, LogForm.CONSOLE, level="WARNING", access=True)
            stack.callback(logs.close)
            key = await _customer(opened.store, configuration)

            gateway = Gateway(configuration, opened.store, logs.access)

            async def started() -> None:
                _tell(console, gateway, key, directory, opened.description)

            await serve(lambda: configuration, gateway, started=started)
            console.print("drained and stopped")


def _configuration(directory: Path, upstream: Path) -> Configuration:
    path = directory / "gateway.toml"
    path.write_text(
        CONFIGURATION.format(
            port=_free(PORT),
            admin_port=_free(ADMIN_PORT),
            state_dir=f'"{directory}"',
            upstream=upstream,
        )
    )
    return read(path)


def _free(port: int) -> int:
    """The usual port if nobody has it, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


async def _customer(store: Store, configuration: Configuration) -> str:
    """The account on the demo's plan, and its API key."""
    clock = StoreClock()
    desk = Desk(
        Accounts(store.client),
        ApiKeys(store.client),
        Ledger(store.admission, store.settlement, clock),
        configuration.catalog,
        clock,
    )
    await account_commands.create(desk, AccountOrder(ACCOUNT))
    _, secret = await desk.keys.create(ACCOUNT, KeyPolicy(name="demo"))
    return secret


def _tell(console: Console, gateway: Gateway, key: str, directory: Path, description: str) -> None:
    fits, too_big = directory / "fits.bin", directory / "too-big.bin"
    fits.write_bytes(bytes(FITS_BYTES))
    too_big.write_bytes(bytes(TOO_BIG_BYTES))
    url = f"http://{gateway.public_address}"
    header = shlex.quote(f"X-API-Key: {key}")
    lines = [
        f"quota-gateway {url}   books: {description}",
        f"admin         http://{gateway.admin_address}   token: {directory / TOKEN_FILE}",
        f"account       {ACCOUNT}: 1 MiB of storage   API key: {key}",
        "",
        "# accepted (201)",
        f"curl -sS -i -H {header} -T {fits} {url}/files/fits.bin",
        "# refused (403)",
        f"curl -sS -i -H {header} -T {too_big} {url}/files/too-big.bin",
        "# how the account stands",
        f"curl -sS -H {header} {url}/v1/quota",
        "# Prometheus metrics",
        f'curl -sS -H "Authorization: Bearer $(cat {directory / TOKEN_FILE})" '
        f"http://{gateway.admin_address}/metrics",
        "",
        "Ctrl-C drains and stops everything.",
    ]
    for line in lines:
        console.out(line, highlight=False)
