"""Opening the store that the settings name: a URL's, or with `auto` one of the gateway's own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.choosing import OLDEST, Binary, Memory, Url, choose, found_here, has_fakeredis
from gateway.embedded.server import EmbeddedRedis
from gateway.ledger.store import Store, connect
from gateway.ledger.watch import found

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store to keep books in; `close` it, and what was started for it ends too.

    `description` never shows a password. `ephemeral`: the books end with this process.
    """

    store: Store
    description: str
    ephemeral: bool
    closing: Callable[[], Awaitable[None]]

    async def close(self) -> None:
        await self.closing()


async def open_store(
    url: str,
    state_dir: Path,
    *,
    allow_ephemeral: bool = False,
    op_timeout_s: float = 0.25,
    wait_replicas: int = 0,
) -> OpenedStore:
    """Raises `ConfigError` when there is none to use, `StoreError` when it cannot be used."""
    server = EmbeddedRedis(state_dir / "redis")
    choice = await asyncio.to_thread(
        choose,
        url,
        found_here(),
        oldest=max(OLDEST, server.written_by() or OLDEST),
        memory=allow_ephemeral and has_fakeredis(),
    )
    async with AsyncExitStack() as opened:
        match choice:
            case Url(given):
                store = await connect(given, op_timeout_s=op_timeout_s, wait_replicas=wait_replicas)
                description = store.description
            case Binary(path, product, version):
                await server.join(path, version)
                opened.push_async_callback(server.leave)
                store = await connect(server.url, op_timeout_s=op_timeout_s)
                name = f"{product} {'.'.join(map(str, version))}"
                description = f"{name}, own server in {server.directory}"
            case Memory():
                store = Store.fake()
                description = store.description
        opened.push_async_callback(store.close)
        await found(store.client)
        for warning in store.warnings:
            log.warning("%s: %s", store.description, warning)
        closing = opened.pop_all().aclose
    return OpenedStore(store, description, isinstance(choice, Memory), closing)
