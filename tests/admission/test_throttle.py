"""Failed attempts per address: a few in a row, then one per interval, in bounded memory."""

from gateway.admission.throttle import FailureThrottle


def failing(throttle: FailureThrottle, address: str, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        throttle.failed(address, now_s)


def test_an_address_that_never_failed_does_not_wait() -> None:
    throttle = FailureThrottle()
    assert throttle.wait_s("192.0.2.1", 0.0) == 0
    throttle.failed("192.0.2.2", 0.0)
    assert throttle.wait_s("192.0.2.1", 0.0) == 0


def test_some_failures_are_free_and_then_each_costs_an_interval() -> None:
    """failure row 64"""
    throttle = FailureThrottle(failures_max=3, interval_s=10.0)
    failing(throttle, "192.0.2.1", 2)
    assert throttle.wait_s("192.0.2.1", 0.0) == 0
    throttle.failed("192.0.2.1", 0.0)
    assert throttle.wait_s("192.0.2.1", 0.0) == 10
    assert throttle.wait_s("192.0.2.1", 4.0) == 6
    assert throttle.wait_s("192.0.2.1", 10.0) == 0
    throttle.failed("192.0.2.1", 10.0)
    assert throttle.wait_s("192.0.2.1", 10.0) == 10


def test_the_allowance_comes_back_with_time() -> None:
    throttle = FailureThrottle(failures_max=3, interval_s=10.0)
    failing(throttle, "192.0.2.1", 3)
    failing(throttle, "192.0.2.1", 2, now_s=1000.0)
    assert throttle.wait_s("192.0.2.1", 1000.0) == 0


def test_memory_is_bounded_and_the_oldest_failure_is_forgotten() -> None:
    """failure row 64: a million bad keys from as many addresses."""
    throttle = FailureThrottle(failures_max=1, interval_s=10.0, addresses_max=100)
    throttle.failed("192.0.2.1", 0.0)
    for number in range(99):
        throttle.failed(f"198.51.100.{number}", 0.0)
    throttle.failed("192.0.2.1", 0.0)
    throttle.failed("203.0.113.1", 0.0)
    assert len(throttle) == 100
    assert throttle.wait_s("192.0.2.1", 0.0) == 20
    assert throttle.wait_s("198.51.100.0", 0.0) == 0


def test_one_subscriber_has_one_allowance_however_many_addresses() -> None:
    """failure row 64"""
    throttle = FailureThrottle(failures_max=1, interval_s=10.0)
    throttle.failed("2001:db8:0:1::1", 0.0)
    throttle.failed("::ffff:192.0.2.1", 0.0)
    throttle.failed("nonsense:", 0.0)
    throttle.failed("", 0.0)
    assert throttle.wait_s("2001:db8:0:1:ffff::2", 0.0) == 10
    assert throttle.wait_s("2001:db8:0:2::1", 0.0) == 0
    assert throttle.wait_s("192.0.2.1", 0.0) == 10
    assert throttle.wait_s("nonsense:", 0.0) == 10
    assert throttle.wait_s("", 0.0) == 10
    assert len(throttle) == 4
