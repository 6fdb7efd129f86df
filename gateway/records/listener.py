"""Listener: hears of every changed row, and knows when it might have missed one.

It counts as listening only while the store has answered it within the last seconds: an idle
subscription is pinged, so a connection that died silently is noticed. Each new subscription tells
`on_change(None)`: whatever is remembered may be out of date.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio.client import PubSub

from gateway.clock import monotonic_s
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.records.invalidation import Changed, unpacked
from gateway.records.rows import CHANNEL, RedisClient, store_errors
from gateway.tasks import TaskSet

PING_AFTER_S = 1.0
SILENCE_MAX_S = 3.0
RECONNECT_S = 0.2

_log = logging.getLogger(__name__)


class Listener:
    """`on_change` gets what changed, or None when anything may have."""

    __slots__ = ("_client", "_heard_s", "_on_change", "_subscribed", "_tasks", "_tried")

    def __init__(self, client: RedisClient, on_change: Callable[[Changed | None], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._subscribed = False
        self._heard_s = 0.0
        self._tried = asyncio.Event()
        self._tasks = TaskSet()

    @property
    def listening(self) -> bool:
        return self._subscribed and monotonic_s() - self._heard_s < SILENCE_MAX_S

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
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        with store_errors():
            subscription: PubSub = self._client.pubsub()
            try:
                await subscription.subscribe(CHANNEL)
                self._heard_s = monotonic_s()
                while monotonic_s() - self._heard_s < SILENCE_MAX_S:
                    message = await subscription.get_message(timeout=PING_AFTER_S)
                    if message is None:
                        await subscription.ping()
                    else:
                        self._hear(message)
            finally:
                await subscription.aclose()  # type: ignore[no-untyped-call]
        raise StoreError(STORE_UNAVAILABLE, "the subscription went silent", transient=True)

    def _hear(self, message: dict[str, Any]) -> None:
        self._heard_s = monotonic_s()
        match message["type"]:
            case "subscribe":
                self._subscribed = True
                self._on_change(None)
                self._tried.set()
            case "message":
                self._on_change(unpacked(message["data"]))
