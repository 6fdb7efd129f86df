"""Running a gateway as its settings have it: in this process, or by workers and a supervisor.

One worker needs no supervisor: it runs in the process that was started, and whoever started that
(systemd, a container's restart policy) starts it again.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop
from pydantic import SecretStr

from gateway import settings
from gateway.admin.token import kept_token
from gateway.app import Gateway
from gateway.embedded.opening import OpenedStore, open_store
from gateway.serving import serve
from gateway.settings import Configuration, Settings
from gateway.telemetry.logs import Logs, Shared
from gateway.workers.channel import Begin
from gateway.workers.doors import Door
from gateway.workers.nursery import Nursery
from gateway.workers.supervisor import Supervisor
from gateway.workers.worker import work
from gateway.workers.written import logs_of, secrets_of


def run(configuration: Configuration, path: Path | None) -> None:
    """Until it is told to stop. `path` is read again at a reload. Raises ConfigError, StoreError
    and OSError."""
    if configuration.settings.workers == 1:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_alone(configuration, path))
        return
    log_turns = os.memfd_create("quota-gateway-log-turns")
    nursery = Nursery.open(work)  # while there is neither a loop nor a thread
    asyncio.run(_supervised(configuration, path, nursery, log_turns))


async def _alone(configuration: Configuration, path: Path | None) -> None:
    logs = logs_of(configuration, None)
    try:
        opened = await _store(configuration.settings)
        try:
            gateway = Gateway(configuration, opened.store, logs.access)
            await serve(_reading(path, logs), gateway)
        finally:
            await opened.close()
    finally:
        logs.close()


async def _supervised(
    configuration: Configuration, path: Path | None, nursery: Nursery, log_turns: int
) -> None:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nursery.close)
        logs = logs_of(configuration, Shared(0, log_turns))
        stack.callback(logs.close)
        opened = await _store(configuration.settings)
        stack.push_async_callback(opened.close)
        # It is there and will do, which is told once; what uses it are the workers.
        await opened.store.close()
        public = Door.public(configuration.settings.listen)
        stack.callback(public.close)
        admin = Door.admin(configuration.settings.admin_listen)
        stack.callback(admin.close)
        begin = Begin(
            number=0,
            count=configuration.settings.workers,
            configuration=_resolved(configuration, public, admin),
            url=opened.url,
            public=len(public.shared),
            log_turns=log_turns,
        )
        await serve(_reading(path, logs), Supervisor(nursery, begin, public, admin))


def _resolved(configuration: Configuration, public: Door, admin: Door) -> Configuration:
    """With the ports that were found, and the token that is kept: the same for all workers."""
    chosen = configuration.settings
    token = chosen.admin_token or SecretStr(kept_token(chosen.state_dir))
    same = {"listen": public.address, "admin_listen": admin.address, "admin_token": token}
    return replace(configuration, settings=chosen.model_copy(update=same))


async def _store(chosen: Settings) -> OpenedStore:
    return await open_store(
        chosen.redis.get_secret_value(),
        chosen.state_dir,
        op_timeout_s=chosen.store_timeout_s,
        wait_replicas=chosen.store_replicas,
    )


def _reading(path: Path | None, logs: Logs) -> Callable[[], Configuration]:
    def read() -> Configuration:
        again = settings.read(path)
        logs.keep_out(secrets_of(again))
        return again

    return read
