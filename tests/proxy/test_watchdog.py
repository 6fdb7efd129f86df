"""One timer watches all requests in flight."""

import asyncio

import pytest

from gateway.errors import DRAINING, REQUEST_TIMEOUT, UNAUTHENTICATED
from gateway.proxy import watchdog
from gateway.proxy.exchange import Exchange
from gateway.proxy.watchdog import Watchdog
from gateway.tasks import StoppedError


def exchange_of(account: str = "", key_id: str = "") -> Exchange:
    exchange = Exchange("", 0.0, 10_000)
    exchange.account, exchange.key_id = account, key_id
    return exchange


async def test_the_overdue_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 0.01)
    dog, late, timely = Watchdog(), exchange_of(), exchange_of()
    late.deadline_s = 0.0
    dog.enter(late)
    dog.enter(timely)
    dog.start()
    with pytest.raises(StoppedError) as stopped, late.stop:
        await asyncio.Event().wait()
    assert stopped.value.reason is REQUEST_TIMEOUT
    assert not timely.stop.stopped
    dog.close()


async def test_the_drain_waits_and_then_stops_all() -> None:
    dog, exchange = Watchdog(), exchange_of()
    assert await dog.idle(0.0)
    dog.enter(exchange)
    assert not await dog.idle(0.01)
    dog.stop_all(DRAINING)
    assert exchange.stop.stopped
    dog.leave(exchange)
    assert await dog.idle(0.01)
    assert len(dog) == 0


async def test_what_runs_under_a_key_or_an_account_can_be_stopped() -> None:
    dog = Watchdog()
    one, two, other = exchange_of("a", "k1"), exchange_of("a", "k2"), exchange_of("b", "k1")
    for exchange in (one, two, other):
        dog.enter(exchange)
    dog.stop_of("a", "k1", UNAUTHENTICATED)
    assert [e.stop.stopped for e in (one, two, other)] == [True, False, False]
    dog.stop_of("a", None, UNAUTHENTICATED)
    assert [e.stop.stopped for e in (one, two, other)] == [True, True, False]
