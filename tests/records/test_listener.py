"""The listener knows when it might have missed a change."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from gateway.ledger.redispy import no_retry
from gateway.records.invalidation import Changed, packed
from gateway.records.listener import Listener, Patience
from gateway.records.rows import CHANNEL, RedisClient
from tests.records.waiting import until
from tests.redis_server import RedisServer

HASTY = Patience(ping_after_s=0.02, silence_max_s=0.2, reconnect_after_s=0.02)


async def test_changes_are_heard_in_order(client: RedisClient) -> None:
    heard: list[Changed | None] = []
    listener = Listener(client, heard.append, HASTY)
    await listener.start()
    for account in ("acme", "other"):
        await client.publish(CHANNEL, packed(Changed(account)))
    await until(lambda: len(heard) == 3)
    assert heard == [None, Changed("acme"), Changed("other")]
    await listener.stop()
    assert not listener.listening


async def test_pings_keep_an_idle_subscription_alive(client: RedisClient) -> None:
    heard: list[Changed | None] = []
    silence_max_s = 0.8  # a busy machine may itself be silent for a while
    listener = Listener(client, heard.append, replace(HASTY, silence_max_s=silence_max_s))
    await listener.start()
    before = listener.heard_s
    await until(lambda: listener.heard_s > before + 1.5 * silence_max_s)
    assert heard == [None]
    await listener.stop()


async def test_a_connection_that_died_silently_is_noticed(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that stands still says nothing: what is remembered may be out of date."""
    heard: list[Changed | None] = []
    async with Redis(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
        listener = Listener(client, heard.append, HASTY)
        await listener.start()
        assert listener.listening
        with redis_server.paused():
            await until(lambda: "not heard" in caplog.text)
            assert not listener.listening
        await until(lambda: listener.listening)
        assert heard == [None, None]
        await listener.stop()


async def test_a_connection_that_others_have_ended_is_made_anew(redis_server: RedisServer) -> None:
    """failure row 19: as a cluster's client does it; uvloop has no word of its own for it."""
    pings = []

    class Subscription(PubSub):
        async def ping(self, message: Any = None) -> Any:
            pings.append(message)
            if len(pings) == 1:
                raise RuntimeError("unable to perform operation; the handler is closed")
            return await super().ping()

    class Client(Redis):
        def pubsub(self, **options: Any) -> PubSub:
            return Subscription(self.connection_pool, **options)

    heard: list[Changed | None] = []
    async with Client(unix_socket_path=str(redis_server.socket), retry=no_retry()) as client:
        listener = Listener(client, heard.append, HASTY)
        await listener.start()
        await until(lambda: len(pings) > 1)
        assert listener.listening
        assert heard == [None, None]
        await listener.stop()
