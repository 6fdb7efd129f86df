"""What is said arrives as it was meant, and failures are what they were."""

import asyncio
import socket

import pytest

from gateway.errors import STORE_UNAVAILABLE, ConfigError, ConfigProblem, StoreError
from gateway.settings import read
from gateway.workers.channel import Begin, Channel, Counted, Failed, Message, Reload, Stop

CONFIGURATION = read(None)


async def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return await Channel.over(one), await Channel.over(other)


async def test_messages_arrive_in_order_and_whole() -> None:
    one, other = await pair()
    sent: list[Message] = [
        Begin(1, 2, CONFIGURATION, "unix:///x", 0, 5),
        Reload(1, CONFIGURATION),
        Counted(2, ()),
        Counted(3, ({"a": "x" * 300_000},)),  # type: ignore[arg-type]  # large is what matters
        Stop(),
    ]
    for message in sent:
        one.send(message)
    assert [await other.receive() for _ in sent] == sent
    await one.close()
    assert await other.receive() is None
    other.send(Stop())  # Nobody hears it, and nothing happens.
    await other.close()
    other.send(Stop())


async def test_half_a_message_is_none() -> None:
    one, other = socket.socketpair()
    channel = await Channel.over(one)
    other.send(b"\x00\x00\x01\x00half")
    other.close()
    async with asyncio.timeout(5):
        assert await channel.receive() is None
    await channel.close()


@pytest.mark.parametrize(
    "failure",
    [
        StoreError(STORE_UNAVAILABLE, "no route", transient=True),
        ConfigError((ConfigProblem("redis", "is odd", "make it even"),)),
        OSError("the disk is full"),
    ],
)
async def test_a_failure_is_the_same_on_the_other_side(failure: Exception) -> None:
    one, other = await pair()
    one.send(Failed.by(failure))
    heard = await other.receive()
    assert isinstance(heard, Failed)
    again = heard.failure()
    assert type(again) is type(failure)
    assert str(again) == str(failure)
    for name in ("error", "problems"):
        assert getattr(again, name, None) == getattr(failure, name, None)
    for each in (one, other):
        await each.close()
