"""The limits of time that a request in flight can pass."""

import pytest

from gateway.errors import REQUEST_TIMEOUT
from gateway.proxy.exchange import Exchange


@pytest.fixture
def exchange() -> Exchange:
    made = Exchange("192.0.2.1", 100.0, 10_000)
    made.body_idle_s = 30.0
    made.body_rate_min = 100
    return made


def test_a_request_without_a_running_body_waits_for_its_deadline_only(exchange: Exchange) -> None:
    assert exchange.overdue(1e9) is None
    exchange.deadline_s = 200.0
    assert exchange.overdue(200.0) is None
    assert exchange.overdue(200.1) is REQUEST_TIMEOUT


def test_a_body_may_pause_for_its_idle_time(exchange: Exchange) -> None:
    exchange.receives(100.0)
    exchange.body_bytes = 1_000_000
    assert exchange.overdue(130.0) is None
    assert exchange.overdue(130.1) is REQUEST_TIMEOUT
    exchange.last_body_s = 130.0
    assert exchange.overdue(160.0) is None
    exchange.received()
    assert exchange.overdue(1e9) is None


def test_a_trickle_is_cut_once_it_had_time_to_begin(exchange: Exchange) -> None:
    """failure row 32"""
    exchange.receives(100.0)
    exchange.body_bytes, exchange.last_body_s = 2_900, 129.0
    assert exchange.overdue(129.0) is None
    exchange.last_body_s = 131.0
    assert exchange.overdue(131.0) is REQUEST_TIMEOUT
    exchange.body_bytes = 3_200
    assert exchange.overdue(131.0) is None


def test_the_time_an_upstream_takes_is_not_the_clients(exchange: Exchange) -> None:
    exchange.receives(100.0)
    exchange.body_bytes = 3_500
    exchange.waits(110.0)
    assert exchange.overdue(1e9) is None
    exchange.goes_on(1_110.0)
    assert exchange.overdue(1_135.0) is None
    assert exchange.overdue(1_135.1) is REQUEST_TIMEOUT
    exchange.last_body_s = 1_130.0
    exchange.received()
    assert exchange.overdue(1e9) is None


def test_a_client_that_takes_nothing_has_twice_as_long(exchange: Exchange) -> None:
    exchange.stalls(100.0, lambda: 5_000)
    assert exchange.overdue(160.0) is None
    assert exchange.overdue(160.1) is REQUEST_TIMEOUT
    exchange.flows()
    assert exchange.overdue(1e9) is None


def test_a_client_that_takes_little_by_little_is_not_cut(exchange: Exchange) -> None:
    """failure row 32"""
    left = iter(range(5_000, 0, -100))
    exchange.stalls(100.0, lambda: next(left))
    assert all(exchange.overdue(100.0 + 20 * n) is None for n in range(1, 40))
