"""Opening the store that the settings name: a URL's, or with `auto` one of the gateway's own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.embedded.choosing import AUTO, Binary, choose, found_here, has_fakeredis
from gateway.embedded.home import settle
from gateway.embedded.server import EmbeddedRedis
from gateway.ledger.store import Store, connect
from gateway.ledger.watch import found

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store to keep books in, with what was started for it.

    `url` is where others find it too ("" if it is ephemeral). `description` is fit to be printed:
    it never has a password. `ephemeral`: the books end with this process.
    """

    store: Store
    url: str
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
    """`url` names a store, or is `auto`. Raises `ConfigError` when there is none that may be used,
    `StoreError` when the one there is cannot be used.
    """
    async with AsyncExitStack() as opened:
        server = None
        if url == AUTO:
            server = EmbeddedRedis(await asyncio.to_thread(settle, state_dir))
            opened.push_async_callback(server.leave)
            if not await _running(server, memory=allow_ephemeral and has_fakeredis()):
                return await _in_memory()
            url = server.url
        store = await connect(url, op_timeout_s=op_timeout_s, wait_replicas=wait_replicas)
        opened.push_async_callback(store.close)
        await found(store.client)
        if server is not None:
            own = f"{server.name}, own server in {server.home.directory}"
            store = replace(store, description=own)
        for warning in store.warnings:
            log.warning("%s: %s", store.description, warning)
        closing = opened.pop_all().aclose
    return OpenedStore(store, url, store.description, ephemeral=False, closing=closing)


async def _running(server: EmbeddedRedis, *, memory: bool) -> bool:
    """Whether there is a server now, one that ran already or one that was started.

    One that runs needs no binary here: it may be of another installation than ours.
    """
    if await server.attach():
        return True
    choice = await asyncio.to_thread(
        choose, found_here(), oldest=server.home.oldest(), memory=memory
    )
    if not isinstance(choice, Binary):
        return False
    await server.start(choice)
    return True


async def _in_memory() -> OpenedStore:
    store = Store.fake()
    await found(store.client)
    return OpenedStore(store, "", store.description, ephemeral=True, closing=store.close)
