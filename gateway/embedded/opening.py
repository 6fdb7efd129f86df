"""Opening the store that the settings name: a URL's, or with `auto` one of the gateway's own."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError

from gateway.clock import monotonic_s
from gateway.embedded.choosing import (
    AUTO,
    Binary,
    Memory,
    Url,
    choose,
    found_here,
    has_fakeredis,
)
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.redispy import no_retry
from gateway.ledger.store import Store


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store to keep books in; `close` it, and what was started for it ends too.

    `description` never shows a password. `ephemeral`: the books end with this process.
    """

    store: Store
    description: str
    ephemeral: bool
    process: "subprocess.Popen[bytes] | None" = None

    async def close(self) -> None:
        if self.process is not None:
            try:
                await self.store.client.shutdown()
            except RedisError:
                self.process.terminate()
            await asyncio.to_thread(self.process.wait)
        await self.store.close()


async def open_store(
    url: str, state_dir: Path, *, allow_ephemeral: bool = False, op_timeout_s: float = 0.25
) -> OpenedStore:
    """Raises `ConfigError` when there is none to use, `StoreError` when it cannot be used."""
    choice = await asyncio.to_thread(
        choose, url, found_here(), memory=allow_ephemeral and has_fakeredis()
    )
    match choice:
        case Url(given):
            client = Redis.from_url(
                given, protocol=2, retry=no_retry(), socket_timeout=op_timeout_s
            )
            return OpenedStore(Store.over(client, "Redis"), "Redis", ephemeral=False)
        case Memory():
            store = Store.fake()
            return OpenedStore(store, store.description, ephemeral=True)
        case Binary():
            return await _own(choice, state_dir.absolute() / "redis")


async def _own(binary: Binary, directory: Path) -> OpenedStore:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = directory / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(directory),
        "logfile": str(directory / "redis.log"),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([binary.path, *words], start_new_session=True)
    client = Redis(unix_socket_path=str(socket), protocol=2, retry=no_retry())
    deadline_s = monotonic_s() + 10.0
    while True:
        try:
            await client.ping()
            break
        except (ConnectionError, BusyLoadingError) as error:
            if monotonic_s() > deadline_s or process.poll() is not None:
                process.kill()
                process.wait()
                raise StoreError(STORE_UNAVAILABLE, str(error), transient=False) from error
            await asyncio.sleep(0.01)
    name = f"{binary.product} {'.'.join(map(str, binary.version))}, own server in {directory}"
    return OpenedStore(Store.over(client, name), name, ephemeral=False, process=process)
