"""Listener: hears of every changed row, and knows when it might have missed one.

It counts as listening only while the store has answered it within the last seconds: an idle
subscription is pinged, so a connection that died silently is noticed. Each new subscription tells
`on_change(None)`: whatever is remembered may be out of date.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio.client import PubSub

from gateway.clock import monotonic_s
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.records.failures import store_errors
from gateway.records.invalidation import Changed, unpacked
from gateway.records.rows import CHANNEL, RedisClient
from gateway.tasks import TaskSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    ping_after_s: float = 1.0
    silence_max_s: float = 3.0
    reconnect_after_s: float = 0.2


class Listener:
    """`on_change` gets what changed, or None when anything may have."""

    __slots__ = (
        "_client", "_on_change", "_patience", "_subscribed", "_tasks", "_tried", "heard_s",
    )  # fmt: skip

    def __init__(
        self,
        client: RedisClient,
        on_change: Callable[[Changed | None], None],
        patience: Patience | None = None,
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._patience = patience or Patience()
        self._subscribed = False
        self.heard_s = 0.0
        """When the store last said anything, by the monotonic clock."""
        self._tried = asyncio.Event()
        self._tasks = TaskSet()

    @property
    def listening(self) -> bool:
        return self._subscribed and not self._silent()

    async def start(self) -> None:
        """Return once the first attempt has succeeded or failed; it goes on trying by itself."""
        self._tasks.start(self._keep_listening(), name="listener")
        await self._tried.wait()

    async def stop(self) -> None:
        await self._tasks.stop()
        self._subscribed = False

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except StoreError as failure:
                if self._subscribed or not self._tried.is_set():
                    _log.warning("changes of keys are not heard: %s", failure)
            self._subscribed = False
            self._tried.set()
            await asyncio.sleep(self._patience.reconnect_after_s)

    async def _listen(self) -> None:
        with store_errors():
            subscription: PubSub = self._client.pubsub()
            try:
                await subscription.subscribe(CHANNEL)
                self.heard_s = monotonic_s()
                while not self._silent():
                    message = await subscription.get_message(timeout=self._patience.ping_after_s)
                    if message is None:
                        await subscription.ping()
                    else:
                        self._hear(message)
            except (AttributeError, RuntimeError) as failure:
                # What it was about to write to, a cluster's client has just ended.
                raise StoreError(STORE_UNAVAILABLE, str(failure), transient=True) from failure
            finally:
                await subscription.aclose()  # type: ignore[no-untyped-call]
        raise StoreError(STORE_UNAVAILABLE, "the subscription went silent", transient=True)

    def _silent(self) -> bool:
        return monotonic_s() - self.heard_s >= self._patience.silence_max_s

    def _hear(self, message: dict[str, Any]) -> None:
        self.heard_s = monotonic_s()
        match message["type"]:
            case "subscribe":
                self._subscribed = True
                self._on_change(None)
                self._tried.set()
            case "message":
                self._on_change(unpacked(message["data"]))
